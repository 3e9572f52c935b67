"""ServerState: the state of one running server of an app, and the counts of its requests."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from time import monotonic, time
from typing import Any, NamedTuple
from weakref import WeakSet

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.gate.deadline import Deadlines
from conduit_lab.serving.gate.slots import Slots

# upper bounds of the latency histogram, in seconds; the last bucket has none
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_RECENT_REQUESTS = 4096
MAX_FAILURES = 20
CLIENT_LEFT = 499  # the status of a request that was not answered, as in nginx
UNMATCHED = "unmatched"  # in place of the route of a request that no route took

_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


class Failure(NamedTuple):
    """One request that failed by the server's fault: Unix time, request ID, route and error."""

    at: float
    request_id: str
    route: str
    status: int
    error: str


class Latency:
    """A histogram of seconds; `counts` per bucket of `LATENCY_BOUNDS`, the last without a bound."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.seconds = 0.0


class ServerState:
    """One running server of an app; two servers of one `Lab` share nothing of it.

    `ready` says whether it takes new requests: a load balancer asks /readyz. `open_streams` are
    being sent now. Only its event loop writes; other threads read copies.
    """

    def __init__(self, *, ready: bool = False) -> None:
        self.ready = ready
        self.started_at = monotonic()
        self.open_streams: set[Stream[Any]] = set()
        self.held_streams: WeakSet[Stream[Any]] = WeakSet()  # wait for their client to return
        self._drain: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.slots = Slots()
        self.deadlines = Deadlines()
        self.requests: dict[tuple[str, str, int], int] = {}  # by method, route and status
        self.latencies: dict[tuple[str, str], Latency] = {}  # by method and route
        # of ended requests: when, by the monotonic clock, and the seconds to the answer
        self.recent: deque[tuple[float, float]] = deque(maxlen=MAX_RECENT_REQUESTS)
        self.failures: deque[Failure] = deque(maxlen=MAX_FAILURES)
        self.stream_chunks = self.fallbacks = 0
        self.prompt_tokens = self.generated_tokens = 0

    def begin_drain(self, seconds: float) -> None:
        """Report not ready from now on, and end the open streams after `seconds`; on its loop."""
        self.ready = False
        if self._drain is None:
            loop = asyncio.get_running_loop()
            self._drain = loop.call_later(seconds, self.end_streams)

    def end_streams(self) -> None:
        """End the streams of this server now; each client gets a last event that reports it."""
        self.ready = False
        if self._drain is not None:
            self._drain.cancel()
        for stream in (*self.open_streams, *self.held_streams):
            stream.cancel()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one ended request, whose answer started after `seconds`."""
        key = method, route, status
        try:
            self.requests[key] += 1
            latency = self.latencies[method, route]
        except KeyError:  # the first such request, or one under another name
            if method not in _METHODS:  # a client may send any
                method = "OTHER"
            key = method, route or UNMATCHED, status or CLIENT_LEFT
            self.requests[key] = self.requests.get(key, 0) + 1
            latency = self.latencies.setdefault(key[:2], Latency())
        latency.counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        latency.seconds += seconds
        self.recent.append((monotonic(), seconds))

    def fail(self, request_id: str, route: str, status: int, error: BaseException) -> None:
        """Keep one failure among the newest; its text stays in the log."""
        kind = type(error).__name__
        self.failures.append(Failure(time(), request_id, route, status, kind))
