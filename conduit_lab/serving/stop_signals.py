"""StopSignals: the drain of an app, begun by the signal that stops its server."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from conduit_lab.core.errors import ServeError

GRACE_SECONDS = 5.0  # for open requests at the stop
GRACE_VARIABLE = "CONDUIT_LAB_GRACE"
PRE_STOP_VARIABLE = "CONDUIT_LAB_PRE_STOP"
CUT_SECONDS = 0.25  # after the grace, for requests that are no stream, or whose client is slow

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def seconds_from(variable: str, default: float) -> float:
    """Return the seconds in an environment variable; `ServeError` where it has no number."""
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ServeError(f"{variable} expected seconds from 0 on, got {text!r}")
    return seconds


class StopSignals:
    """Chains the stop signals of the server that runs an app, while its lifespan runs.

    `begin` gets the seconds until open streams end, as soon as the first signal arrives. The
    server's own handler follows at once, or after the pre-stop seconds: until then a load balancer
    that checks /readyz sends its requests elsewhere, while the port is open. A second signal does
    not wait. A signal without a handler of the server is left alone, and so is every signal outside
    of the main thread; `restore` puts the server's handlers back.
    """

    def __init__(self, begin: Callable[[float], object]) -> None:
        self._begin = begin
        self._grace = seconds_from(GRACE_VARIABLE, GRACE_SECONDS)
        self._pre_stop = seconds_from(PRE_STOP_VARIABLE, 0.0)
        self._loop = asyncio.get_running_loop()
        self._chained: dict[int, Any] = {}
        self._begun = self._ended = False

    def chain(self) -> None:
        """Handle the signals that the server handles."""
        if threading.current_thread() is not threading.main_thread():
            return
        for each in _SIGNALS:
            handler = signal.getsignal(each)
            if _is_of_server(handler):
                self._chained[each] = handler
                signal.signal(each, self._handle)

    def restore(self) -> None:
        """Put the server's handlers back.

        Where another app has chained this one's meanwhile, they stay and only pass signals on.
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
    """Return whether a server has set a handler: neither Python nor `asyncio.run` did."""
    if not callable(handler) or handler is signal.default_int_handler:
        return False
    own = getattr(handler, "func", None)  # of Ctrl-C in `asyncio.run`, which is no server
    return not isinstance(getattr(own, "__self__", None), asyncio.Runner)


def _bound_shutdown(handler: Any, grace: float) -> None:
    """Make uvicorn cancel the requests that still run after the grace.

    Without `--timeout-graceful-shutdown` it waits for them for ever, such as for the rest of a body
    that a client never sends.
    """
    config: Any = getattr(getattr(handler, "__self__", None), "config", None)
    if getattr(config, "timeout_graceful_shutdown", 0) is None:
        config.timeout_graceful_shutdown = grace + CUT_SECONDS
