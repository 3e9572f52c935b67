"""Values: endpoints that answer with one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces.binding import call_of_whole, read_call
from conduit_lab.serving.faces.direct_call import DirectCall
from conduit_lab.serving.faces.value_answer import send_value
from conduit_lab.serving.gate.direct_request import DirectRequest
from conduit_lab.serving.plan import Plan


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return a route per endpoint that answers with a value."""
    return [
        Route(endpoint.path, _ValueFace(app, endpoint), methods=endpoint.methods)
        for endpoint in endpoints
        if endpoint.shape == "value"
    ]


class _ValueFace:
    """An ASGI app that serves one endpoint.

    Every request takes this path, so it has few, longer functions.
    """

    def __init__(self, app: EndpointHost, endpoint: Endpoint[..., Any]) -> None:
        self._app = app
        self._endpoint = endpoint
        self._signature = endpoint.signature
        self._has_body = endpoint.method != "GET"
        if endpoint.plan is None:  # shared by all servers of the app
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
        await send_value(plan.threads, result, small, record, scope, receive, send)

    def begin(self, request: DirectRequest, body: bytes) -> bool:
        """Answer a request, if possible without a task; return False if it needs `__call__`."""
        plan, scope = self._plan, request.scope
        if self._has_body:
            size = len(body)
            if not (plan.is_async or plan.is_direct(size)):
                return False
            call = call_of_whole(self._endpoint, scope, request.context, body)
        else:
            size = len(scope["query_string"])
            if body or not (plan.is_async or plan.is_direct(size)):
                return False
            call = self._signature.from_http(scope, b"")
        if call is None or not plan.skips_trace():
            return False
        DirectCall(plan, call, request).begin(size)
        return True
