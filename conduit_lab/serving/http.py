"""The HTTP face of an endpoint, and the form of every error."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import InputError
from conduit_lab.core.stream import Stream
from conduit_lab.core.trace import Trace
from conduit_lab.flow.combinators import Fallback
from conduit_lab.serving import codec, sse
from conduit_lab.serving.endpoint import Endpoint, Request
from conduit_lab.serving.limits import HttpError, read_body, require_json

log = logging.getLogger("conduit_lab")
RawHeaders = list[tuple[bytes, bytes]]


class HttpFace:
    """An ASGI app that answers one endpoint: JSON in, JSON or events out."""

    def __init__(self, endpoint: Endpoint, body_limit: int, streams: set[Stream[Any]]) -> None:
        self.endpoint = endpoint
        self.body_limit = body_limit
        self.streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = uuid.uuid4().hex[:16]
        try:
            result, headers = await self._run(scope, receive)
            headers.append((b"x-request-id", request_id.encode()))
            if not isinstance(result, Stream):
                await send_json(send, 200, codec.dumps(result), headers)
                return
        except Exception as error:
            await send_error(send, error, request_id)
            return
        self.streams.add(result)
        try:
            await sse.send_stream(result, receive, send, headers)
        finally:
            self.streams.discard(result)
            if result.error is not None:
                log.error("request %s: stream %r failed", request_id, result.name, exc_info=result.error)

    async def _run(self, scope: Scope, receive: Receive) -> tuple[Any, RawHeaders]:
        endpoint = self.endpoint
        body = b""
        if endpoint.method != "GET":
            body = await read_body(scope, receive, self.body_limit)
            if body:
                require_json(scope)
            elif endpoint.signature.takes_body:
                raise InputError("the body is empty: wanted JSON")
        request = Request(
            body,
            query=dict(QueryParams(scope.get("query_string", b""))),
            path_params={key: str(value) for key, value in scope.get("path_params", {}).items()},
            headers=dict(Headers(scope=scope)),
        )
        call = endpoint.signature.from_request(request)
        if endpoint.is_async:
            result = await endpoint.invoke(call)
        else:
            result = await anyio.to_thread.run_sync(endpoint.invoke, call)
        return result, _stand_ins(call.trace)


def _stand_ins(trace: Trace | None) -> RawHeaders:
    """Return the headers that tell what stood in for what failed: another model, the CPU for a device."""
    headers: RawHeaders = []
    for span in trace or ():
        if isinstance(span.target, Fallback) and span.children and span.children[0].error is not None:
            headers.append((b"x-conduit-fallback", span.children[-1].name.encode("ascii", "replace")))
        elif span.note:  # "cpu: " and the reason, which stays on the server
            device = f"{span.name}: {span.note.partition(':')[0]}"
            headers.append((b"x-conduit-device", device.encode("ascii", "replace")))
    return headers


async def send_json(send: Send, status: int, body: bytes, headers: RawHeaders) -> None:
    """Send one whole JSON answer."""
    base = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*base, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(status: int, kind: str, message: str, request_id: str) -> bytes:
    """Return the JSON of an error: status, a short type, a message for people, the id to find it in the log."""
    error = {"status": status, "type": kind, "message": message, "request_id": request_id}
    return json.dumps({"error": error}).encode()


async def send_error(send: Send, error: Exception, request_id: str) -> None:
    """Send the answer for an exception: bad input is told, anything else is logged and stays on the server."""
    headers: RawHeaders = [(b"x-request-id", request_id.encode())]
    if isinstance(error, HttpError):
        headers += [(key.encode(), value.encode()) for key, value in error.headers.items()]
        status, kind, message = error.status, error.kind, str(error)
    elif isinstance(error, InputError):
        status, kind, message = 400, "bad_input", str(error)
    else:
        log.error("request %s failed", request_id, exc_info=error)
        status, kind, message = 500, "internal", "the endpoint failed; the server's log has the reason under this id"
    await send_json(send, status, error_body(status, kind, message, request_id), headers)
