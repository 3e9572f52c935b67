"""HandlerPace: whether the calls of a handler are short enough for the event loop."""

from __future__ import annotations

SHORT_CALL_SECONDS = 300e-6  # a thread and back costs 50-100 µs, and more under load
LONG_CALL_SECONDS = 0.1  # as long as a health check may wait
FIRST_SHORT_CALLS = 8  # on a thread, before a call runs on the loop

# On a thread: any longer wait may be one for a file, a lock or a server.
_SHORT_WAIT_SECONDS = 150e-6
# On the loop: the seconds of slow calls, each short one since counted off. A busy machine stops
# any call for some milliseconds now and then; a handler that waits is slow again and again.
_MAX_DELAY_SECONDS = 30e-3
_MAX_SHORT_CALLS = 8192  # asked for after several delays
_CALM_CALLS = 8  # times as many on the loop halve that number again
_SIZES = 64


class HandlerPace:
    """Sorts the calls of one handler into short and long ones, by the size of their requests.

    Requests of 2ⁿ to 2ⁿ⁺¹ bytes are one class: a small body says nothing about a large one. The
    calls of a class start on threads, and move to the event loop after `FIRST_SHORT_CALLS` that
    took little CPU time and did not wait. They move back when they delay the loop. A call that
    takes 0.1 s, on a thread or on the loop, keeps its class and all larger ones on threads for
    good. Only the event loop's thread writes.
    """

    __slots__ = ("_calm", "_delay", "_limit", "_needed", "_on_loop", "_short")

    def __init__(self) -> None:
        self._on_loop = [False] * _SIZES
        self._short = [0] * _SIZES  # calls on threads
        self._needed = [FIRST_SHORT_CALLS] * _SIZES
        self._delay = [0.0] * _SIZES  # seconds
        self._calm = [0] * _SIZES  # calls on the loop since they moved there
        self._limit = _SIZES  # this class and all above stay on threads

    def is_short(self, size: int) -> bool:
        """Return whether a call for a request of `size` bytes runs on the event loop."""
        return self._on_loop[size.bit_length()]

    def ran_on_thread(self, size: int, cpu: float, wall: float) -> None:
        """Record the CPU seconds and the seconds of a call on a thread."""
        place, waited = size.bit_length(), wall - cpu
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

    def ran_on_loop(self, size: int, wall: float) -> None:
        """Record the seconds of a call on the event loop."""
        place = size.bit_length()
        if wall < SHORT_CALL_SECONDS:
            if self._delay[place] > 0.0:
                self._delay[place] -= SHORT_CALL_SECONDS
            self._calm[place] += 1
            if self._calm[place] > _CALM_CALLS * self._needed[place]:
                self._calm[place] = 0
                self._needed[place] = max(FIRST_SHORT_CALLS, self._needed[place] // 2)
        elif wall >= LONG_CALL_SECONDS:
            self._keep_on_threads(place)
        else:
            self._delay[place] += wall
            if self._delay[place] >= _MAX_DELAY_SECONDS:
                self._on_loop[place] = False
                self._short[place] = 0
                self._needed[place] = min(_MAX_SHORT_CALLS, 2 * self._needed[place])

    def _keep_on_threads(self, place: int) -> None:
        self._limit = min(self._limit, place)
        self._on_loop[place:] = [False] * (_SIZES - place)
