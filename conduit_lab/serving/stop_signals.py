"""StopSignals: drain an app when its server receives a stop signal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from conduit_lab.core.errors import ServeError

GRACE_SECONDS = 5.0  # for open requests on shutdown
GRACE_VARIABLE = "CONDUIT_LAB_GRACE"
PRE_STOP_VARIABLE = "CONDUIT_LAB_PRE_STOP"
CUT_SECONDS = 0.25  # after the grace period, for requests that are not streams or have slow clients

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def seconds_from(variable: str, default: float) -> float:
    """Return the seconds in an environment variable; raise `ServeError` if invalid."""
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ServeError(f"{variable} expected seconds of at least 0, got {text!r}")
    return seconds


class StopSignals:
    """Chains the server's stop signal handlers while an app's lifespan runs.

    On the first signal `begin` is called with the seconds until open streams end. The server's own
    handler runs at once, or after the pre-stop seconds, in which the port stays open while a load
    balancer that checks /readyz moves away. A second signal skips the wait. Signals that the server
    does not handle are left alone, as is everything outside the main thread.
    """

    def __init__(self, begin: Callable[[float], object]) -> None:
        self._begin = begin
        self._grace = seconds_from(GRACE_VARIABLE, GRACE_SECONDS)
        self._pre_stop = seconds_from(PRE_STOP_VARIABLE, 0.0)
        self._loop = asyncio.get_running_loop()
        self._chained: dict[int, Any] = {}
        self._begun = self._ended = False

    def chain(self) -> None:
        """Replace the server's handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for each in _SIGNALS:
            handler = signal.getsignal(each)
            if _is_of_server(handler):
                self._chained[each] = handler
                signal.signal(each, self._handle)

    def restore(self) -> None:
        """Restore the server's handlers.

        If another app has chained these meanwhile, they stay installed and only forward signals.
        """
        self._ended = True
        for each, handler in self._chained.items():
            if threading.current_thread() is threading.main_thread():
                current = signal.getsignal(each)
                if current == self._handle:
                    signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        handler = self._chained[number]
        if self._ended:
            handler(number, frame)
            return
        first, self._begun = not self._begun, True
        if first:
            _bound_shutdown(handler, self._grace)
            wait = self._pre_stop + self._grace
            self._loop.call_soon_threadsafe(self._begin, wait)
        if first and self._pre_stop > 0:
            later = (self._pre_stop, handler, number, None)
            self._loop.call_soon_threadsafe(self._loop.call_later, *later)
        else:
            handler(number, frame)


def _is_of_server(handler: Any) -> bool:
    """Return whether a handler was set by a server, not by Python or `asyncio.run`."""
    if not callable(handler) or handler is signal.default_int_handler:
        return False
    own = getattr(handler, "func", None)  # the Ctrl-C handler of `asyncio.run`
    return not isinstance(getattr(own, "__self__", None), asyncio.Runner)


def _bound_shutdown(handler: Any, grace: float) -> None:
    """Make uvicorn cancel requests that are still running after the grace period.

    Without `--timeout-graceful-shutdown` it waits forever, for example for the rest of a body that
    a client never sends.
    """
    config: Any = getattr(getattr(handler, "__self__", None), "config", None)
    if getattr(config, "timeout_graceful_shutdown", 0) is None:
        config.timeout_graceful_shutdown = grace + CUT_SECONDS
