"""Request bodies: read up to a limit, decompressed, and checked for a JSON content type."""

from __future__ import annotations

import anyio.to_thread
import numpy as np
import numpy.typing as npt
from starlette.types import Message, Receive, Scope

from conduit_lab.core.errors import InputError
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.gate.inflate import inflate

_NOT_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
_BLOCK_MARKS = 2**16
_FLAT_ROUNDS = 4  # each removes one or two levels
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
SHORT_BYTES = 256  # too short for harmful nesting
_LONG_BYTES = 2**12  # from here on NumPy finds brackets faster than `bytes.count`
_INLINE_BYTES = 2**16  # longer bodies are checked on a thread

JSON_TYPE = b"application/json"
# JSON bodies and forms, as listed in the OpenAPI document
BODY_TYPES = (JSON_TYPE.decode(), "multipart/form-data")


async def read_json_body(
    scope: Scope,
    receive: Receive,
    limit: int,
    *,
    required: bool,
    any_type: bool = False,
    content_type: bytes | None = None,
    checks_depth: bool = True,
) -> bytes:
    """Read the whole body; 413 as soon as its declared or actual length exceeds `limit` bytes.

    Raises 415 for any content type but JSON, even on an empty body: browsers send other types
    cross-site without a preflight. Raises `InputError` for an empty body that is `required`, and
    for JSON nested too deeply unless the caller checks that. With `any_type` the caller checks
    content type, encoding and content too.
    """
    headers = context_of(scope).headers
    kind = content_type_of(scope) if content_type is None else content_type
    is_json = kind == JSON_TYPE
    if not is_json:
        kind = kind.partition(b";")[0].strip().lower()
        is_json = kind == JSON_TYPE or kind.endswith(b"+json")
        if kind and not is_json and not any_type:
            raise _no_json(kind)
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body") or message["type"] == "http.disconnect":
        body = await _read_rest(message, receive, limit)
    elif len(body) > limit:
        raise _too_large(limit)
    if any_type:
        return body
    encoding = headers.get(b"content-encoding", b"")
    if encoding and encoding != b"identity":
        coding = encoding.decode("latin-1").strip().lower()
        body = await anyio.to_thread.run_sync(inflate, body, coding, limit)
    if not body:
        if required:
            raise InputError("the body is empty: expected JSON")
        return body
    if not is_json:
        raise _no_json(kind)
    if checks_depth and len(body) > SHORT_BYTES:
        most = context_of(scope).app.limits.json_depth
        if len(body) <= _INLINE_BYTES:
            check_json_depth(body, most)
        else:
            await anyio.to_thread.run_sync(check_json_depth, body, most)
    return body


async def _read_rest(message: Message, receive: Receive, limit: int) -> bytes:
    """Return the whole body of a request, given its first message."""
    parts: list[bytes] = []
    length = 0
    while True:
        if message["type"] == "http.disconnect":
            raise HttpError(
                400, "client_left", "the client disconnected before the body was complete"
            )
        if part := message.get("body", b""):
            parts.append(part)
            length += len(part)
            if length > limit:
                raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def content_type_of(scope: Scope) -> bytes:
    """Return the request's content type, the first if the header is repeated."""
    values, headers = context_of(scope).headers, scope["headers"]
    if len(values) == len(headers):
        return values.get(b"content-type", b"")
    return next((value for name, value in headers if name == b"content-type" and value), b"")


def check_json_depth(body: bytes, most: int) -> None:
    """Raise `InputError` for JSON text nested more than `most` levels deep.

    Most bodies take one pass in C; the rest also take a byte of memory per byte of text.
    """
    if len(body) > _LONG_BYTES and b'"' not in body and b"{" not in body:  # arrays of numbers
        codes = np.frombuffer(body, np.uint8)
        _check_depth(codes[codes >= ord("[")], most)
        return
    if body.count(b"[") + body.count(b"{") <= most:
        return
    marks = body.translate(None, _NOT_MARKS)
    if len(marks) <= 2 * most:
        return
    escaped = b"\\" in body
    if not escaped:
        rest = marks.replace(b'""', b"")  # keys, and strings without brackets
        if b'"' not in rest:
            for _ in range(_FLAT_ROUNDS):
                rest = rest.replace(b"[]", b"").replace(b"{}", b"")
            if len(rest) <= 2 * (most - 2 * _FLAT_ROUNDS):
                return
    else:  # remove escaped quotes
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = body.translate(None, _NOT_MARKS)
    _check_depth(np.frombuffer(marks, np.uint8), most)


def _check_depth(marks: npt.NDArray[np.uint8], most: int) -> None:
    """Raise `InputError` if the brackets in `marks` are nested too deeply."""
    if _depth(marks, most) > most:
        raise InputError(f"the body is nested too deeply: expected at most {most} levels")


def _depth(marks: npt.NDArray[np.uint8], most: int) -> int:
    """Return the nesting depth of brackets outside strings; stop counting above `most`."""
    depth = deepest = 0
    in_string = np.uint8(0)
    for start in range(0, len(marks), _BLOCK_MARKS):
        block = marks[start : start + _BLOCK_MARKS]
        inside = (np.cumsum(block == ord('"'), dtype=np.uint8) + in_string) & 1
        depths = depth + np.cumsum(_STEPS[block] * (1 - inside.astype(np.int8)), dtype=np.int32)
        deepest = max(deepest, int(depths.max()))
        if deepest > most:
            break
        depth, in_string = int(depths[-1]), inside[-1]
    return deepest


def _no_json(kind: bytes) -> HttpError:
    return HttpError(
        415,
        "unsupported_media_type",
        f"the body is declared as {kind.decode('latin-1') or 'nothing'}: "
        "send JSON with the header content-type: application/json",
    )


def _too_large(limit: int) -> HttpError:
    return HttpError(413, "body_too_large", f"the body is larger than the limit of {limit} bytes")
