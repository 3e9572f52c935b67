"""The protocols of an app by name, imported on demand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.server_state import ServerState

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

# The module of each protocol. It has `routes(app)`, which returns the protocol's routes, and
# optionally `lifespan(app, state)`, an async context manager entered by each server.
PROTOCOLS: dict[str, str] = {
    "openai": "conduit_lab.serving.faces.openai.openai_routes",
    "anthropic": "conduit_lab.serving.faces.anthropic_messages",
    "rerank": "conduit_lab.serving.faces.rerank",
    "aisdk": "conduit_lab.serving.faces.dialects.ai_sdk",
    "agui": "conduit_lab.serving.faces.dialects.ag_ui",
    "inference": "conduit_lab.serving.faces.inference",
    "mcp": "conduit_lab.serving.faces.mcp",
    "stores": "conduit_lab.serving.faces.store_search",
}


def check_protocols(names: Sequence[str]) -> tuple[str, ...]:
    """Return unique protocol names; raise `EndpointError` for an unknown one."""
    for name in names:
        if name not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise EndpointError(
                f"no protocol {name!r}; there are {known}{did_you_mean(name, PROTOCOLS)}"
            )
    return tuple(dict.fromkeys(names))


def protocol_routes(app: EndpointHost) -> list[BaseRoute]:
    """Return the routes of an app's protocols, in the order of its protocol names."""
    return [route for name in app.spoken for route in _module(name).routes(app)]


def protocol_lifespans(
    app: EndpointHost, state: ServerState
) -> list[AbstractAsyncContextManager[None]]:
    """Return the lifespans of an app's protocols, to be entered by one server."""
    modules = [_module(name) for name in app.spoken]
    return [module.lifespan(app, state) for module in modules if hasattr(module, "lifespan")]


def _module(name: str) -> ModuleType:
    return import_module(PROTOCOLS[name])
