"""The body of a request: read within its limit, and declared as JSON."""

from __future__ import annotations

from starlette.types import Receive, Scope

from conduit_lab.core.errors import InputError
from conduit_lab.serving.errors import HttpError

BODY_TYPES = ("application/json",)  # that a body may have, as the OpenAPI document lists them


async def read_json_body(scope: Scope, receive: Receive, limit: int, *, required: bool) -> bytes:
    """Read the whole body; 413 as soon as its declared or its real length exceeds `limit` bytes.

    415 unless it is declared as JSON: a browser sends any other content type across sites without
    a preflight. `InputError` for an empty body that is `required`.
    """
    content_type = declared_length = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = content_type or value
        elif name == b"content-length":
            declared_length = value
    if declared_length.isdigit() and int(declared_length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(
                400, "client_left", "the client disconnected before the body was complete"
            )
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
        length += len(parts[-1])
        if length > limit:
            raise _too_large(limit)
    body = b"".join(parts)
    if not body:
        if required:
            raise InputError("the body is empty: expected JSON")
        return body
    kind = content_type.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise HttpError(
            415,
            "unsupported_media_type",
            f"the body is declared as {kind.decode('latin-1') or 'nothing'}: "
            "send JSON with the header content-type: application/json",
        )
    return body


def _too_large(limit: int) -> HttpError:
    return HttpError(413, "body_too_large", f"the body is larger than the limit of {limit} bytes")
