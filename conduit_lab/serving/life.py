"""Lives: the running servers of one app, with or without a lifespan."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from traceback import format_exc
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

import anyio
import anyio.to_thread

from conduit_lab.core.collector import tuned_for_requests
from conduit_lab.core.errors import ConduitError
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.protocols import protocol_lifespans
from conduit_lab.serving.server_state import ServerState
from conduit_lab.serving.stop_signals import StopSignals

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

ALONE_VARIABLE = "CONDUIT_LAB_ALONE"  # set in processes that only serve an app

_log = logging.getLogger("conduit_lab")


class Resource(Protocol):
    """A model or store, opened before the first request; `open` is idempotent."""

    def open(self) -> object:
        """Open it."""


class Lives:
    """The running servers of one app, each with its own `ServerState`.

    A server that runs the app's lifespan has its state in ASGI's lifespan state under `key`. For
    any other, such as that of an app that mounts this one, a state is created on the first request
    of its event loop.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.states: WeakSet[ServerState] = WeakSet()
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def run(self, app: EndpointHost, state: ServerState) -> AsyncIterator[None]:
        """Be ready while the body runs, then end the streams of this server."""
        self.states.add(state)
        signals = StopSignals(state.begin_drain)
        try:
            async with AsyncExitStack() as stack:
                for each in protocol_lifespans(app, state):
                    await stack.enter_async_context(each)
                signals.chain()
                if ALONE_VARIABLE in os.environ:
                    stack.enter_context(tuned_for_requests())
                state.ready = True
                try:
                    yield
                finally:
                    state.end_streams()
        finally:
            signals.restore()
            self.states.discard(state)

    async def enter(
        self, app: EndpointHost, resources: Callable[[], list[Resource]], scope: Scope
    ) -> None:
        """Put the state of a server without a lifespan into a request's scope.

        The first request opens the models and stores on a thread; failures are logged, and their
        endpoints answer 503. /healthz does not wait.
        """
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            state = ServerState()
            found = self._by_loop[loop] = state, asyncio.Event()
            task = asyncio.ensure_future(self._live(app, resources(), *found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        state, opened = found
        if opened is not None and not scope["path"].endswith("/healthz"):
            await opened.wait()
        scope["state"] = {**scope.get("state", {}), self.key: state}

    async def _live(
        self,
        app: EndpointHost,
        resources: list[Resource],
        state: ServerState,
        opened: asyncio.Event,
    ) -> None:
        """Open everything; with protocols, run their lifespans until the event loop ends."""
        loop = asyncio.get_running_loop()
        try:
            await anyio.to_thread.run_sync(_open_each, resources)
            self._by_loop[loop] = state, None  # an event would keep the loop alive
            if not app.protocols:
                self.states.add(state)
                StopSignals(state.begin_drain).chain()
                state.ready = True
                return
            async with self.run(app, state):
                opened.set()
                await anyio.sleep_forever()
        except Exception:
            self._by_loop.pop(loop, None)
            _log.exception("%r failed to start", app.name)
        finally:
            opened.set()


def _open_each(resources: list[Resource]) -> None:
    for each in resources:
        try:
            each.open()
        except ConduitError as error:
            _log.error("%s", error)


async def serve_lifespan(
    lifespan: AbstractAsyncContextManager[dict[str, ServerState]],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Run a lifespan for an ASGI server; report the package's own errors in one line."""
    started = False
    await receive()
    try:
        async with lifespan as state:
            scope.get("state", {}).update(state)  # without it, servers are found by loop
            await send({"type": "lifespan.startup.complete"})
            started = True
            await receive()
    except BaseException as error:
        text = str(error) if isinstance(error, ConduitError) else format_exc()
        await send(
            {"type": f"lifespan.{'shutdown' if started else 'startup'}.failed", "message": text}
        )
        raise
    await send({"type": "lifespan.shutdown.complete"})
