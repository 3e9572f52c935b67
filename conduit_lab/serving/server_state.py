"""ServerState: the state and request counts of one running server of an app."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from time import monotonic, time
from typing import Any, NamedTuple
from weakref import WeakSet

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.gate.deadline_timer import Deadlines
from conduit_lab.serving.gate.slots import Slots

# upper bounds of the latency histogram in seconds; the last bucket is unbounded
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_RECENT_REQUESTS = 4096
MAX_FAILURES = 20
CLIENT_LEFT = 499  # status of a request without a response, as in nginx
UNMATCHED = "unmatched"  # route label of requests that match no route

_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


class Failure(NamedTuple):
    """A request that failed on the server's side: Unix time, request ID, route and error."""

    at: float
    request_id: str
    route: str
    status: int
    error: str


class Latency:
    """A histogram of seconds; `counts` has a bucket per `LATENCY_BOUNDS` and an unbounded one."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.seconds = 0.0


class ServerState:
    """The state of one running server of an app; servers of the same `Lab` share none of it.

    `ready` is true while it accepts requests, as reported at /readyz. `open_streams` are currently
    being sent. Only its event loop writes; other threads read copies.
    """

    def __init__(self, *, ready: bool = False) -> None:
        self.ready = ready
        self.started_at = monotonic()
        self.open_streams: set[Stream[Any]] = set()
        self.held_streams: WeakSet[Stream[Any]] = WeakSet()  # waiting for their client to reconnect
        self._drain: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.slots = Slots()
        self.deadlines = Deadlines()
        self.requests: dict[tuple[str, str, int], int] = {}  # by method, route and status
        self.latencies: dict[tuple[str, str], Latency] = {}  # by method and route
        # finished requests: monotonic end time, and seconds to the response
        self.recent: deque[tuple[float, float]] = deque(maxlen=MAX_RECENT_REQUESTS)
        self.failures: deque[Failure] = deque(maxlen=MAX_FAILURES)
        self.stream_chunks = self.fallbacks = 0
        self.prompt_tokens = self.generated_tokens = 0

    def begin_drain(self, seconds: float) -> None:
        """Report not ready, and end open streams after `seconds`; call it on the server's loop."""
        self.ready = False
        if self._drain is None:
            loop = asyncio.get_running_loop()
            self._drain = loop.call_later(seconds, self.end_streams)

    def end_streams(self) -> None:
        """End the streams of this server now; each client gets a final event."""
        self.ready = False
        if self._drain is not None:
            self._drain.cancel()
        for stream in (*self.open_streams, *self.held_streams):
            stream.cancel()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one finished request, whose response started after `seconds`."""
        key = method, route, status
        try:
            self.requests[key] += 1
            latency = self.latencies[method, route]
        except KeyError:  # the first such request, or one that needs another label
            if method not in _METHODS:  # bounds the number of labels
                method = "OTHER"
            key = method, route or UNMATCHED, status or CLIENT_LEFT
            self.requests[key] = self.requests.get(key, 0) + 1
            latency = self.latencies.setdefault(key[:2], Latency())
        latency.counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        latency.seconds += seconds
        self.recent.append((monotonic(), seconds))

    def fail(self, request_id: str, route: str, status: int, error: BaseException) -> None:
        """Add a failure to the recent ones, without its message, which is only logged."""
        kind = type(error).__name__
        self.failures.append(Failure(time(), request_id, route, status, kind))
