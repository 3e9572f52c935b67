"""CircuitBreaker: skip a stage that keeps failing, and probe it periodically."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from weakref import WeakSet

from conduit_lab.core.forking import in_forked_child

_log = logging.getLogger("conduit_lab")

_breakers: WeakSet[CircuitBreaker] = WeakSet()


class CircuitBreaker:
    """Opens after `open_after` failures in a row; then one probe per `reset_after` seconds.

    A successful probe closes the circuit. If a probe has no outcome, for example because it hangs,
    the next one follows after the same interval. Thread-safe; closed in a forked child. Opening and
    closing are logged.
    """

    def __init__(self, name: str, open_after: int, reset_after: float) -> None:
        self.name = name
        self.open_after = open_after
        self.reset_after = reset_after
        self._failures = 0  # consecutive; changed under _lock, like _next_probe
        self._next_probe: float | None = None  # on the monotonic clock, while the circuit is open
        self._lock = threading.Lock()
        _breakers.add(self)

    @property
    def is_open(self) -> bool:
        """Whether calls are skipped."""
        return self._next_probe is not None

    def admit(self) -> bool:
        """Return whether a call may run: the circuit is closed, or the call is its probe."""
        if self._next_probe is None:
            return True
        with self._lock:
            now = monotonic()
            if self._next_probe is None or now < self._next_probe:
                return self._next_probe is None
            self._next_probe = now + self.reset_after
            return True

    def succeed(self) -> None:
        """Record that an admitted call succeeded."""
        if not self._failures:
            return
        with self._lock:
            was_open, self._next_probe, self._failures = self.is_open, None, 0
        if was_open:
            _log.warning("%s succeeded again, its circuit is closed", self.name)

    def fail(self) -> None:
        """Record that an admitted call failed."""
        with self._lock:
            self._failures += 1
            if self._failures < self.open_after:
                return
            was_open, self._next_probe = self.is_open, monotonic() + self.reset_after
        if not was_open:
            _log.warning(
                "%s failed %d times in a row, its circuit is open: skipped for %g s, then probed",
                self.name,
                self.open_after,
                self.reset_after,
            )

    def withdraw(self) -> None:
        """Record that an admitted call ended without an outcome; the next one may probe."""
        with self._lock:
            if self.is_open:
                self._next_probe = monotonic()

    def close(self) -> None:
        """Reset all failures."""
        self._lock = threading.Lock()
        self._next_probe, self._failures = None, 0


def _close_all() -> None:
    """Close the circuits in a forked child, where another thread may have held a lock."""
    for breaker in list(_breakers):
        breaker.close()


in_forked_child(_close_all)
