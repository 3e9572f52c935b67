"""The routes of an app behind its gate: those of every face and of its protocols.

Imported by an app on its first connection.
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

# The first matching route wins. Routes of the package and its protocols precede endpoints at
# patterns such as "/{name}", and a value endpoint's GET precedes a stream's.
_FACES = (health, metrics, usage, passage_links, values, events, openapi, docs)


def gated_routes(app: EndpointHost, endpoints: Sequence[Endpoint[..., Any]]) -> Gate:
    """Return the ASGI app that serves these endpoints of an app."""
    routes: list[BaseRoute] = [*protocol_routes(app)]
    routes += [route for face in _FACES for route in face.routes(app, endpoints)]
    return Gate(app, Router(routes, redirect_slashes=False))
