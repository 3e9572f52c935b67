"""Binding: decode a request body by its content type and bind it to an endpoint call."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.types import Receive, Scope

from conduit_lab.core.collector import age_objects
from conduit_lab.core.errors import InputError
from conduit_lab.serving.array_text import MIN_ARRAY_TEXT_BYTES, array_arguments
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.decoding import BodyDecoder, decoder_of
from conduit_lab.serving.faces.form_fields import FormFields
from conduit_lab.serving.file import FORM_TYPE
from conduit_lab.serving.gate.body import (
    JSON_TYPE,
    SHORT_BYTES,
    check_json_depth,
    content_type_of,
    read_json_body,
)
from conduit_lab.serving.gate.context import RequestContext, context_of
from conduit_lab.serving.gate.inflate import inflate
from conduit_lab.serving.json_pieces import LARGE_BYTES
from conduit_lab.serving.limits import MAX_JSON_DEPTH
from conduit_lab.serving.signature import Signature

INLINE_BODY_BYTES = 2**16  # parsed and checked on the event loop

_FORM = FORM_TYPE.encode()


async def read_call(
    endpoint: Endpoint[..., Any], scope: Scope, receive: Receive, limit: int
) -> tuple[Call, int]:
    """Read a body of at most `limit` bytes; return the call of `endpoint` and the body size.

    The content type is JSON or one of the `DECODERS`; any other is a 415. So is an empty body
    without a content type, unless the endpoint takes no body and no browser sent it.
    """
    signature = endpoint.signature
    content_type = content_type_of(scope)
    if content_type != JSON_TYPE and (decoder := decoder_of(content_type)) is not None:
        return await _decoded(decoder, content_type, endpoint, scope, receive, limit)
    body = await read_json_body(
        scope,
        receive,
        limit,
        required=False,
        content_type=content_type,
        checks_depth=False,
    )
    size = len(body)
    if not size:
        _check_empty(endpoint, scope, content_type.strip() != b"")
    if size <= SHORT_BYTES:
        return signature.from_http(scope, body), size
    depth = context_of(scope).app.limits.json_depth
    if size <= INLINE_BODY_BYTES:
        return _bound(signature, scope, body, depth), size
    return await bind_on_thread(signature, scope, body, depth), size


def call_of_whole(
    endpoint: Endpoint[..., Any], scope: Scope, context: RequestContext, body: bytes
) -> Call | None:
    """Bind a complete body that can be decoded at once: small JSON or an array; else return None.

    `read_call` handles the rest: large, empty and compressed bodies, and forms.
    """
    headers, limits, signature = context.headers, context.app.limits, endpoint.signature
    if (
        not 0 < len(body) <= limits.body_bytes
        or b"content-encoding" in headers
        or len(headers) < len(scope["headers"])  # repeated names
    ):
        return None
    content_type = headers.get(b"content-type", b"")
    if content_type == JSON_TYPE:
        if len(body) > INLINE_BODY_BYTES:
            return None
        if len(body) <= SHORT_BYTES:
            return signature.from_http(scope, body)
        return _bound(signature, scope, body, limits.json_depth)
    decoder = decoder_of(content_type)
    if decoder is None or len(body) > decoder.inline_bytes or signature.request is not None:
        return None
    value = decoder.decode(body, content_type, endpoint, limits.body_bytes)
    return signature.from_value(value, scope.get("path_params") or {})


def _check_empty(endpoint: Endpoint[..., Any], scope: Scope, is_declared: bool) -> None:
    """Reject an empty body if one is required, or if another site's page may have sent it.

    Browsers send an empty body without a content type cross-site, without a preflight.
    """
    signature = endpoint.signature
    if is_declared:
        if signature.takes_body:
            raise InputError("the body is empty: expected JSON")
    elif signature.may_have_body or any(
        name == b"origin" or name.startswith(b"sec-fetch-") for name, _ in scope["headers"]
    ):
        path = scope["path"]
        raise HttpError(
            415,
            "unsupported_media_type",
            "the body is empty and has no content type: send JSON with the header "
            "content-type: application/json",
            hint=f"curl -X POST -H 'content-type: application/json' -d '{{}}' http://…{path}",
        )


async def _decoded(
    decoder: BodyDecoder,
    content_type: bytes,
    endpoint: Endpoint[..., Any],
    scope: Scope,
    receive: Receive,
    limit: int,
) -> tuple[Call, int]:
    if endpoint.signature.request is not None:
        raise HttpError(
            415, "unsupported_media_type", "this endpoint takes the request itself: send JSON"
        )
    if content_type.startswith(_FORM) and not endpoint.signature.takes_files:
        raise HttpError(  # pages of other sites can send a form without a preflight
            415, "unsupported_media_type", "this endpoint takes no files: send JSON"
        )
    body = await read_json_body(scope, receive, limit, required=False, any_type=True)
    size = len(body)
    encoding = _encoding(scope)
    work = partial(_bind_decoded, decoder, content_type, endpoint, scope, body, encoding, limit)
    if size <= decoder.inline_bytes and not encoding:
        return work(), size
    return await anyio.to_thread.run_sync(work), size


def _bind_decoded(
    decoder: BodyDecoder,
    content_type: bytes,
    endpoint: Endpoint[..., Any],
    scope: Scope,
    body: bytes,
    encoding: str,
    limit: int,
) -> Call:
    signature, path_params = endpoint.signature, scope.get("path_params") or {}
    value = decoder.decode(
        inflate(body, encoding, limit) if encoding else body, content_type, endpoint, limit
    )
    if isinstance(value, FormFields):
        return signature.from_form(value, path_params)
    return signature.from_value(value, path_params)


def _encoding(scope: Scope) -> str:
    """Return the content encoding of a body, or ""."""
    encoding = context_of(scope).headers.get(b"content-encoding", b"")
    text = encoding.decode("latin-1").strip().lower()
    return "" if text == "identity" else text


async def bind_on_thread(
    signature: Signature, scope: Scope, body: bytes, depth: int = MAX_JSON_DEPTH
) -> Call:
    """Bind a large JSON body, nested at most `depth` levels, on a worker thread."""
    return await anyio.to_thread.run_sync(_bind, signature, scope, body, depth)


def _bound(signature: Signature, scope: Scope, body: bytes, depth: int) -> Call:
    """Return the call for a JSON body nested at most `depth` levels deep."""
    if len(body) >= MIN_ARRAY_TEXT_BYTES and signature.arrays:
        fields = array_arguments(body, signature.arrays, depth)
        if fields is not None:
            return signature.from_value(fields, scope.get("path_params") or {}, body)
    check_json_depth(body, depth)
    return signature.from_http(scope, body)


def _bind(signature: Signature, scope: Scope, body: bytes, depth: int = MAX_JSON_DEPTH) -> Call:
    """Bind with the garbage collector paused.

    Each pass over the new values, which have no cycles, would hold the GIL for seconds. Invalid
    values are freed before the collector resumes; valid ones are moved out of its way.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        try:
            call = _bound(signature, scope, body, depth)
            if len(body) >= LARGE_BYTES:
                age_objects()
            return call
        except InputError as error:
            problem = str(error)
        raise InputError(problem)
    finally:
        if collecting:
            gc.enable()
