"""The routes of an app behind its gate: those of every face, and of the protocols it speaks.

An app imports them at its first connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, Router

from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.faces import (
    docs,
    events,
    health,
    metrics,
    openapi,
    passage_links,
    usage,
    values,
)
from conduit_lab.serving.faces.protocols import protocol_routes
from conduit_lab.serving.gate.gate import Gate

# the first route of a path and method answers: a value endpoint's GET precedes that of a stream
# of an endpoint that precedes those of the package
_FACES = (health, metrics, usage, values, events, passage_links, openapi, docs)


def gated_routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> Gate:
    """Return the ASGI app that serves these endpoints of an app."""
    routes: list[BaseRoute] = [route for face in _FACES for route in face.routes(app, endpoints)]
    router = Router([*routes, *protocol_routes(app)], redirect_slashes=False)
    return Gate(app, router)
