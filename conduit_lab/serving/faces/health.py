"""Health: `/healthz` reports that the process is alive, `/readyz` that it accepts requests."""

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
    """Return the routes of the health checks; `endpoints` is unused."""
    return [
        Route("/healthz", _Healthz(), methods=["GET"]),
        Route("/readyz", _Readyz(), methods=["GET"]),
    ]


class _Healthz:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, 200, codec.dumps({"status": "ok"}))


class _Readyz:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, code = ("ready", 200) if context_of(scope).server.ready else ("draining", 503)
        await send_json(send, code, codec.dumps({"status": status}))
