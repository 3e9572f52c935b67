"""Events: endpoints that answer with resumable streams of server-sent events."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.errors import InputError
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.answer import RawHeaders, record_headers, send_empty
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.errors import drop_tracebacks, http_error
from conduit_lab.serving.faces import transport
from conduit_lab.serving.faces.binding import read_call
from conduit_lab.serving.faces.formats import SseFormat
from conduit_lab.serving.faces.stream_start import begin_stream
from conduit_lab.serving.failures import log_failure
from conduit_lab.serving.gate.admission import admit_stream
from conduit_lab.serving.gate.context import context_of


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return a route per endpoint that answers with a stream."""
    return [
        Route(endpoint.path, _EventFace(app, endpoint), methods=endpoint.methods)
        for endpoint in endpoints
        if endpoint.shape == "stream"
    ]


class _EventFace:
    """An ASGI app that serves one endpoint: POST with a JSON body, or GET with a query."""

    def __init__(self, app: EndpointHost, endpoint: Endpoint[..., Any]) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":  # the headers of a GET, without running it
            await send_empty(send, 200, SseFormat.headers)
            return
        endpoint = self._endpoint
        admit_stream(context_of(scope))
        if last_event_id := _last_event_id(scope):
            found = endpoint.resumes.find(last_event_id)
            if found is None:  # the client has everything; 204 stops a browser from reconnecting
                await send_empty(send, 204)
                return
            stream_id, stream, start = found
            await self._send(stream, start, stream_id, [], scope, receive, send)
            return
        call, size = await self._bind(scope, receive)
        stream, record = await begin_stream(self._app, endpoint, call, size, receive)
        headers = record_headers(record) if record.fallbacks or record.on_cpu else []
        stream_id = token_hex(16)  # secret, unlike the logged request ID
        endpoint.resumes.hold(stream_id, stream)
        if endpoint.resumes.seconds is not None:
            context_of(scope).server.held_streams.add(stream)
        await self._send(stream, 0, stream_id, headers, scope, receive, send)

    async def _bind(self, scope: Scope, receive: Receive) -> tuple[Call, int]:
        signature = self._endpoint.signature
        if scope["method"] == "GET":
            query = scope.get("query_string", b"")
            if not query and signature.takes_body:
                raise InputError(
                    "the query is empty: expected the fields of the JSON body as ?name=value"
                )
            return signature.from_http(scope, b""), len(query)
        return await read_call(self._endpoint, scope, receive, self._app.limits.body_bytes)

    async def _send(
        self,
        stream: Stream[Any],
        start: int,
        stream_id: str,
        headers: RawHeaders,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        resumes = self._endpoint.resumes
        open_streams = context_of(scope).server.open_streams
        reader = stream.hold(start)
        resumes.arrive(stream_id)
        open_streams.add(stream)
        try:
            await transport.send_stream(
                reader,
                SseFormat(stream_id, browser=scope["method"] == "GET"),
                receive,
                send,
                headers=headers,
                name=self._endpoint.name,
                leave=lambda reader: resumes.leave(stream_id, reader),
                resumable=resumes.seconds is not None,
            )
        finally:
            context_of(scope).server.stream_chunks += reader.index - start
            if stream.readers == 0:
                open_streams.discard(stream)
            context = context_of(scope)
            if stream.error is not None and context.started:  # else the gate answers
                log_failure(stream.error, http_error(stream.error), context)
                drop_tracebacks(stream.error)


def _last_event_id(scope: Scope) -> str:
    """Return the last event ID of a reconnecting client; empty for a new one."""
    values = (value for name, value in scope["headers"] if name == b"last-event-id")
    return next(values, b"").decode("latin-1")
