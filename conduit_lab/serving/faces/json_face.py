"""The HTTP face of an endpoint, and the form of every error."""

from __future__ import annotations

import gc
import json
import logging
import uuid
from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import InputError
from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.span import Span
from conduit_lab.serving import codec
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.faces import events
from conduit_lab.serving.gate.body import INLINE_BYTES, HttpError, clipped, read_body, require_json
from conduit_lab.serving.request import Request
from conduit_lab.serving.signature import Signature

log = logging.getLogger("conduit_lab")
RawHeaders = list[tuple[bytes, bytes]]
STAND_INS = 20  # headers of an answer that name them
MESSAGE_CHARACTERS = 4000  # of an error, which may quote the request


class HttpFace:
    """An ASGI app that answers one endpoint: JSON in, JSON or events out."""

    def __init__(
        self, endpoint: Endpoint[..., Any], body_limit: int, streams: set[Stream[Any]]
    ) -> None:
        self.endpoint = endpoint
        self.body_limit = body_limit
        self.streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = uuid.uuid4().hex[:16]
        try:
            if self.endpoint.shape == "stream":
                if scope["method"] == "HEAD":  # of a GET, without its generation
                    await send_empty(
                        send, 200, [*events.HEADERS, (b"x-request-id", request_id.encode())]
                    )
                    return
                if last_event_id := Headers(scope=scope).get("last-event-id"):
                    await self._resume(last_event_id, request_id, scope, receive, send)
                    return
            call, result = await self._run(scope, receive)
            headers = _stand_ins(call.span)
            headers.append((b"x-request-id", request_id.encode()))
            body = b"" if isinstance(result, Stream) else codec.dumps(result)
            if not isinstance(result, Stream):
                await send_json(send, 200, body, headers)
            self.endpoint.app.observe(self.endpoint, call, result, body)
            if not isinstance(result, Stream):
                return
        except Exception as error:
            await send_error(send, error, request_id)
            forget_frames(error)
            return
        self.endpoint.resumes.hold(request_id, result)
        await self._stream(result, (request_id, 0), request_id, headers, scope, receive, send)

    async def _resume(
        self, last_event_id: str, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Go on where a client that comes back has stopped; 204 tells a browser that there is no more."""
        headers: RawHeaders = [(b"x-request-id", request_id.encode())]
        found = self.endpoint.resumes.find(last_event_id)
        if found is None:
            await send_empty(send, 204, headers)
            return
        stream_id, stream, start = found
        await self._stream(stream, (stream_id, start), request_id, headers, scope, receive, send)

    async def _stream(
        self,
        stream: Stream[Any],
        place: tuple[str, int],
        request_id: str,
        headers: RawHeaders,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        stream_id, start = place
        reader = stream.hold(start)
        self.endpoint.resumes.arrive(stream_id)
        self.streams.add(stream)
        try:
            await events.send_stream(
                reader,
                receive,
                send,
                headers,
                stream_id=stream_id,
                leave=lambda reader: self.endpoint.resumes.leave(stream_id, reader),
                browser=scope["method"] == "GET",
                resumable=self.endpoint.resumes.seconds is not None,
            )
        finally:
            if stream.readers == 0:
                self.streams.discard(stream)
            if stream.error is not None:
                log.error(
                    "request %s: stream %r failed", request_id, stream.name, exc_info=stream.error
                )
                forget_frames(stream.error)

    async def _run(self, scope: Scope, receive: Receive) -> tuple[Call, Any]:
        endpoint = self.endpoint
        body = b""
        if scope["method"] == "GET" and endpoint.shape == "stream":
            body = _query_as_body(scope)
            if not body and endpoint.signature.takes_body:
                raise InputError(
                    "the query is empty: wanted the fields of the JSON body as ?name=value"
                )
        elif endpoint.method != "GET":
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
        if len(body) > INLINE_BYTES:
            call = await anyio.to_thread.run_sync(_call_of_large, endpoint.signature, request)
        else:
            call = endpoint.signature.from_request(request)
        with awaiting_reader(events.SEND_SECONDS):
            if endpoint.is_async:
                result = await endpoint.ainvoke(call)
            elif endpoint.starts_at_once:
                result = endpoint.invoke(call)
            else:
                result = await anyio.to_thread.run_sync(endpoint.invoke, call)
        return call, result


def _call_of_large(signature: Signature, request: Request) -> Call:
    """Return the call for a request with a large body.

    The garbage collector pauses: each of its passes over the new values, which have no cycles,
    would hold the GIL for seconds. They are freed before it goes on where they do not fit.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        try:
            return signature.from_request(request)
        except InputError as error:
            problem = str(error)
        raise InputError(problem)
    finally:
        if collecting:
            gc.enable()


def _stand_ins(span: Span | None) -> RawHeaders:
    """Return a header per fallback that answered and per stage that ran on the CPU."""
    if span is None:
        return []
    record = span.record
    texts = [("fallback", name) for name in record.fallbacks]
    texts += [("device", f"{name}: cpu") for name in record.on_cpu]
    return [
        (f"x-conduit-{what}".encode(), text.encode("ascii", "replace"))
        for what, text in texts[:STAND_INS]
    ]


def forget_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of an error that was answered, and of those before it.

    Their frames hold the values of the call, and futures that hold the error: a cycle.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _query_as_body(scope: Scope) -> bytes:
    """Return the query as the JSON object that a POST would have: an EventSource can send no body."""
    values: dict[str, list[str]] = {}
    for key, value in QueryParams(scope.get("query_string", b"")).multi_items():
        values.setdefault(key, []).append(value)
    return (
        codec.dumps({key: v[0] if len(v) == 1 else v for key, v in values.items()})
        if values
        else b""
    )


async def send_empty(send: Send, status: int, headers: RawHeaders) -> None:
    """Send an answer without a body."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def send_json(send: Send, status: int, body: bytes, headers: RawHeaders) -> None:
    """Send one whole JSON answer."""
    base = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*base, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(status: int, kind: str, message: str, request_id: str) -> bytes:
    """Return the JSON of an error: status, a short type, a message for people, the id to find it in the log."""
    message = clipped(message, MESSAGE_CHARACTERS)
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
        status, kind, message = (
            500,
            "internal",
            "the endpoint failed; the server's log has the reason under this id",
        )
    await send_json(send, status, error_body(status, kind, message, request_id), headers)
