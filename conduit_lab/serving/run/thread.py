"""Server: an app served by uvicorn on a background thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from time import monotonic, sleep
from types import TracebackType
from typing import Any

import uvicorn

from conduit_lab.core import views
from conduit_lab.core.errors import ServeError
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.serving.app import App
from conduit_lab.serving.gate.bind_rules import check_bind
from conduit_lab.serving.gate.http_protocol import BoundedHttp
from conduit_lab.serving.server_state import ServerState
from conduit_lab.serving.stop_signals import CUT_SECONDS

THREAD_GRACE_SECONDS = 5  # for open requests on shutdown
_MAX_START_SECONDS = 60.0
_MAX_STOP_SECONDS = 10.0


class Server(Viewed):
    """A running server, stopped with `stop()` or at the end of a `with` block.

    Listens on `host` and `port`; port 0 picks a free one. Raises `ServeError` if the port is taken
    or the app fails to start, and for a non-loopback host if the app has no keys, unless
    `insecure`.
    """

    def __init__(
        self,
        app: App,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        insecure: bool = False,
    ) -> None:
        check_bind(app, host, insecure=insecure)
        self.app = app
        listener = listen(host, port)
        self.host, self.port = listener.getsockname()[:2]
        config: Any = uvicorn.Config(
            app, http=BoundedHttp, ws="none", log_level="warning", lifespan="on", access_log=False
        )
        config.timeout_graceful_shutdown = THREAD_GRACE_SECONDS + CUT_SECONDS
        self._uvicorn = _ThreadServer(config)
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name=f"server :{self.port}", daemon=True
        )
        self._thread.start()
        try:
            self._wait_started()
        except BaseException:
            listener.close()
            raise
        app.servers.add(self)

    @property
    def url(self) -> str:
        """The address, such as `http://127.0.0.1:8000`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it is accepting requests."""
        return self._uvicorn.started and self._thread.is_alive()

    def _run(self, listener: socket.socket) -> None:
        with suppress(SystemExit):  # raised by uvicorn if the app fails to start
            self._uvicorn.run(sockets=[listener])

    def _wait_started(self) -> None:
        deadline = monotonic() + _MAX_START_SECONDS
        while not self._uvicorn.started:
            if not self._thread.is_alive():
                raise ServeError(f"{self.app.name!r} failed to start: the log above has the reason")
            if monotonic() > deadline:
                self.stop()
                raise ServeError(
                    f"{self.app.name!r} did not start within {_MAX_START_SECONDS:.0f} s"
                )
            sleep(0.01)

    def stop(self) -> None:
        """Finish open requests within 5 s, cut the remaining streams with an error, free the port.

        /readyz answers 503 meanwhile. Idempotent.
        """
        self._uvicorn.drain()
        self._thread.join(_MAX_STOP_SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def state(self) -> ServerState | None:
        """Its request counts; None until it has started."""
        return self._uvicorn.state

    @property
    def facts(self) -> list[str]:
        """Its status, the name of its app and the number of endpoints."""
        return [
            "● running" if self.running else "■ stopped",
            self.app.name,
            figures.plural(len(self.app.endpoints), "endpoint"),
        ]

    def _view(self) -> views.View:
        from conduit_lab.serving.traffic import Traffic, traffic_pieces

        state, app = self.state, self.app
        pieces = [] if state is None else traffic_pieces(app, state, Traffic.of(app, state))
        return views.View("Server", self.url, self.facts, pieces=pieces)


class _ThreadServer(uvicorn.Server):
    """A server that another thread can stop."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Store the event loop and start."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    @property
    def state(self) -> ServerState | None:
        """The app's state on this server; None until it has started."""
        values = self.lifespan.state.values() if self.started else ()
        return next((each for each in values if isinstance(each, ServerState)), None)

    def drain(self) -> None:
        """Stop accepting requests; cut streams after the grace period."""
        if (state := self.state) is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(state.begin_drain, THREAD_GRACE_SECONDS)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; raise `ServeError` for a port that is in use or invalid."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:  # OverflowError: port out of range
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ServeError(
            f"cannot listen on {host}:{port} ({reason}): "
            "stop the program that uses it, or pass port=0 for a free port"
        ) from error
    return listener
