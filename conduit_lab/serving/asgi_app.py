"""AsgiApp: the ASGI interface of an app, with its models and stores open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.combinator import check_composition
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.endpoint_path import check_path
from conduit_lab.serving.endpoints import Endpoints
from conduit_lab.serving.gate.access_log import hide_queries
from conduit_lab.serving.life import Lives, Resource, serve_lifespan
from conduit_lab.serving.optional import OptionalModels
from conduit_lab.serving.resource import AppResources
from conduit_lab.serving.server_state import ServerState

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from conduit_lab.serving.gate.gate import Gate


class AsgiApp(EndpointHost):
    """An ASGI app that serves the endpoints, models and stores registered by a subclass.

    If `_lazy`, they are opened when a server starts, and resources built by handlers are closed
    with the last server.
    """

    endpoints: Endpoints
    resources: AppResources
    _lazy = True
    _lives: Lives
    _optional: OptionalModels
    _gate: tuple[list[Endpoint[..., Any]], Gate] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; endpoints registered while serving take effect immediately."""
        built = self._gate
        if built is None or built[0] is not self.endpoints:
            from conduit_lab.serving.routes import gated_routes

            endpoints = self.endpoints
            self._gate = built = endpoints, gated_routes(self, endpoints)
        if scope["type"] == "lifespan":
            await serve_lifespan(self.lifespan(), scope, receive, send)
            return
        if scope["type"] == "http" and self._lives.key not in scope.get("state", ()):
            await self._lives.enter(self, self._resources, scope)
        await built[1](scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, parent: Any = None) -> AsyncIterator[dict[str, ServerState]]:
        """Open the models and stores, serve, and end open streams.

        Pass it to an outer app that mounts this one, as in `FastAPI(lifespan=app.lifespan)`, to
        open them at startup instead of on the first request. Raises `ModelLoadError` or
        `StoreError` if one cannot be opened.
        """
        await anyio.to_thread.run_sync(self.open_resources)
        state = ServerState()
        hide_queries()
        try:
            async with self._lives.run(self, state):
                yield {self._lives.key: state}
        finally:
            if self._lazy and not self._lives.states:  # a session outlives its servers
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self.resources.close)

    def server_of(self, scope: Scope) -> ServerState:
        """Return the state of the server that received a request."""
        state: ServerState = scope["state"][self._lives.key]
        return state

    @property
    def open_streams(self) -> set[Stream[Any]]:
        """The streams that its servers are currently sending."""
        return set().union(*(state.open_streams for state in list(self._lives.states)))

    def open_resources(self) -> None:
        """Open every declared model and store; warn if a model with a fallback fails."""
        for resource in self._resources():
            resource.open()
        for endpoint in self.endpoints:
            check_path(endpoint)  # again: protocols may have been added since
            check_composition(endpoint)

    def _resources(self) -> list[Resource]:
        return [*self.models.in_use, *self.stores.values(), self._optional]

    def drain(self) -> None:
        """End the open streams of all its servers; each client gets a final event."""
        for state in list(self._lives.states):
            state.end_streams()
