"""Values: endpoints that answer a request with one JSON value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.core.streams.backpressure import awaiting_reader
from conduit_lab.serving import codec
from conduit_lab.serving.answer import fallback_headers
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces import transport
from conduit_lab.serving.faces.binding import INLINE_BODY_BYTES, bind_on_thread
from conduit_lab.serving.gate.body import read_json_body
from conduit_lab.serving.gate.context import context_of


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return a route per endpoint that answers with a value."""
    return [
        Route(endpoint.path, _ValueFace(app, endpoint), methods=endpoint.methods)
        for endpoint in endpoints
        if endpoint.shape == "value"
    ]


class _ValueFace:
    """An ASGI app that answers one endpoint.

    Few, longer functions: every request takes this path.
    """

    def __init__(self, app: EndpointHost, endpoint: Endpoint[..., Any]) -> None:
        self._app = app
        self._endpoint = endpoint
        self._signature = endpoint.signature
        self._has_body = endpoint.method != "GET"
        self._needs_body = endpoint.signature.takes_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, endpoint = self._app, self._endpoint
        body = b""
        if self._has_body:
            body = await read_json_body(
                scope, receive, app.limits.body_bytes, required=self._needs_body
            )
        if len(body) <= INLINE_BODY_BYTES:
            call = self._signature.from_http(scope, body)
        else:
            call = await bind_on_thread(self._signature, scope, body)
        # a stream that the handler makes and reads later keeps its chunks
        with awaiting_reader(transport.SEND_SECONDS):
            if endpoint.is_async:
                result = await endpoint.ainvoke(call)
            else:
                result = await anyio.to_thread.run_sync(
                    endpoint.invoke, call, abandon_on_cancel=app.limits.deadline is not None
                )
        answer = codec.dumps(result)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(answer)),
        ]
        span = call.span
        if span is not None and (span.record.fallbacks or span.record.on_cpu):
            headers += fallback_headers(span)
            context_of(scope).server.fallbacks += bool(span.record.fallbacks)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
