"""HandlerPace: decide whether a handler's calls are short enough for the event loop."""

from __future__ import annotations

SHORT_CALL_SECONDS = 300e-6  # a thread round trip costs 50-100 µs, more under load
LONG_CALL_SECONDS = 0.1  # the longest acceptable delay of a health check
FIRST_SHORT_CALLS = 8  # on threads, before calls move to the loop

# On a thread: a longer wait may be for a file, a lock or a server.
_SHORT_WAIT_SECONDS = 150e-6
# On the loop: seconds of slow calls, less an allowance per short call since. Other threads of the
# process occasionally delay any call by milliseconds; a handler that blocks is slow repeatedly.
_MAX_DELAY_SECONDS = 30e-3
_MAX_SHORT_CALLS = 8192  # upper bound of the doubling below
_CALM_CALLS = 8  # this multiple of them on the loop halves the number again
_SIZES = 64


class HandlerPace:
    """Classifies the calls of one handler as short or long, by request size.

    Requests of 2ⁿ to 2ⁿ⁺¹ bytes form one class, since a small body does not predict a large one.
    Calls of a class start on threads, and move to the event loop after `FIRST_SHORT_CALLS` that
    took little CPU time and did not block. They move back when they delay the loop. One call of 0.1
    s, on a thread or the loop, keeps its class and all larger ones on threads permanently. Only the
    event loop's thread writes.
    """

    __slots__ = ("_calm", "_delay", "_limit", "_needed", "_on_loop", "_short")

    def __init__(self) -> None:
        self._on_loop = [False] * _SIZES
        self._short = [0] * _SIZES  # calls on threads
        self._needed = [FIRST_SHORT_CALLS] * _SIZES
        self._delay = [0.0] * _SIZES  # seconds
        self._calm = [0] * _SIZES  # short calls since moving to the loop
        self._limit = _SIZES  # this class and all above stay on threads

    def is_short(self, size: int) -> bool:
        """Return whether a call for a request of `size` bytes runs on the event loop."""
        return self._on_loop[size.bit_length()]

    def ran_on_thread(self, size: int, cpu: float, seconds: float) -> None:
        """Record the CPU time of a call on a thread, and how long it occupied the thread."""
        place, waited = size.bit_length(), seconds - cpu
        if cpu >= LONG_CALL_SECONDS or waited >= LONG_CALL_SECONDS:
            self._keep_on_threads(place)
        elif cpu >= SHORT_CALL_SECONDS:
            self._short[place] = 0
        elif waited < _SHORT_WAIT_SECONDS and place < self._limit:
            self._short[place] += 1
            if self._short[place] >= self._needed[place]:
                self._on_loop[place] = True
                self._delay[place] = 0.0
                self._calm[place] = 0

    def ran_on_loop(self, size: int, seconds: float) -> None:
        """Record for how many seconds a call occupied the event loop: see `occupied_seconds`."""
        place = size.bit_length()
        if seconds < SHORT_CALL_SECONDS:
            if self._delay[place] > 0.0:
                self._delay[place] -= SHORT_CALL_SECONDS
            self._calm[place] += 1
            if self._calm[place] > _CALM_CALLS * self._needed[place]:
                self._calm[place] = 0
                self._needed[place] = max(FIRST_SHORT_CALLS, self._needed[place] // 2)
        elif seconds >= LONG_CALL_SECONDS:
            self._keep_on_threads(place)
        else:
            self._delay[place] += seconds
            if self._delay[place] >= _MAX_DELAY_SECONDS:
                self._on_loop[place] = False
                self._short[place] = 0
                self._needed[place] = min(_MAX_SHORT_CALLS, 2 * self._needed[place])

    def _keep_on_threads(self, place: int) -> None:
        self._limit = min(self._limit, place)
        self._on_loop[place:] = [False] * (_SIZES - place)
