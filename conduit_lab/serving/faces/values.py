"""Values: endpoints that answer a request with one JSON value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.serving import codec
from conduit_lab.serving.answer import record_headers
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces.binding import read_call
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.gate.departure import while_connected
from conduit_lab.serving.plan import Plan

_JSON = (b"content-type", b"application/json")


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
        if endpoint.plan is None:  # measured from its first request on, in each server
            endpoint.plan = Plan(app, endpoint)
        self._plan: Plan = endpoint.plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, plan = self._app, self._plan
        if self._has_body:
            call, size = await read_call(self._endpoint, scope, receive, app.limits.body_bytes)
        else:
            call = self._signature.from_http(scope, b"")
            size = len(scope.get("query_string", b""))
        result, small, record = await plan.run(call, size, receive)
        if small:
            answer = codec.dumps(result)
        else:
            answer = await while_connected(receive, plan.threads.run(codec.dumps, result))
        headers = [_JSON, (b"content-length", b"%d" % len(answer))]
        if record.fallbacks or record.on_cpu:
            headers += record_headers(record)
            context_of(scope).server.fallbacks += bool(record.fallbacks)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
