"""Usage: `/v1/usage`, the requests and tokens of the caller's key or tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from conduit_lab.serving import codec
from conduit_lab.serving.answer import send_json
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.gate.context import context_of


def routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> list[Route]:
    """Return the route of the usage if the app has keys; `endpoints` is unused."""
    return [Route("/v1/usage", _Usage(), methods=["GET"])] if app.keys else []


class _Usage:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        # no caller if the path is open
        known = {} if context.caller is None else context.app.metering.usage(context.caller)
        await send_json(send, 200, codec.dumps(known))
