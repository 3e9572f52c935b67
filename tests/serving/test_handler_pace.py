"""HandlerPace: which calls run on the event loop, by what their like have taken."""

from __future__ import annotations

from conduit_lab.serving.handler_pace import (
    FIRST_SHORT_CALLS,
    LONG_CALL_SECONDS,
    SHORT_CALL_SECONDS,
    HandlerPace,
)

SHORT, SLOW, LONG = SHORT_CALL_SECONDS / 3, 5e-3, LONG_CALL_SECONDS
SIZE = 1000  # bytes of a request


def calls_on_threads(pace: HandlerPace, cpu: float, waited: float = 0.0, size: int = SIZE) -> int:
    """Return how many calls on threads it takes until one runs on the loop, at most 1,000."""
    for count in range(1000):
        if pace.is_short(size):
            return count
        pace.ran_on_thread(size, cpu, cpu + waited)
    return 1000


def test_short_calls_move_to_the_loop_once_measured() -> None:
    assert calls_on_threads(HandlerPace(), SHORT) == FIRST_SHORT_CALLS
    assert calls_on_threads(HandlerPace(), SLOW) == 1000
    assert calls_on_threads(HandlerPace(), SHORT, waited=SLOW) == 1000


def test_a_small_request_says_nothing_about_a_large_one() -> None:
    pace = HandlerPace()
    calls_on_threads(pace, SHORT)
    assert pace.is_short(SIZE)
    assert not pace.is_short(100 * SIZE)
    assert not pace.is_short(0)


def test_one_long_call_keeps_its_size_and_larger_ones_on_threads() -> None:
    for on_loop in (True, False):
        for cpu in (LONG, 0.0):
            pace = HandlerPace()
            calls_on_threads(pace, SHORT)
            calls_on_threads(pace, SHORT, size=1)
            if on_loop:
                pace.ran_on_loop(SIZE, LONG)
            else:
                pace.ran_on_thread(SIZE, cpu, LONG)
            assert calls_on_threads(pace, SHORT) == 1000
            assert calls_on_threads(pace, SHORT, size=100 * SIZE) == 1000
            assert pace.is_short(1)


def test_a_handler_that_is_slow_again_and_again_leaves_the_loop() -> None:
    pace = HandlerPace()
    calls_on_threads(pace, SHORT)
    slow = 0
    while pace.is_short(SIZE):
        slow += 1
        pace.ran_on_loop(SIZE, SLOW)
        for _ in range(3):
            pace.ran_on_loop(SIZE, SHORT)
    assert slow < 10
    assert calls_on_threads(pace, SHORT) == 2 * FIRST_SHORT_CALLS


def test_a_busy_machine_does_not_move_a_short_handler() -> None:
    pace = HandlerPace()
    calls_on_threads(pace, SHORT)
    for _ in range(50):
        pace.ran_on_loop(SIZE, SLOW)  # the process was not scheduled
        for _ in range(100):
            pace.ran_on_loop(SIZE, SHORT)
    assert pace.is_short(SIZE)


def test_calls_that_stay_short_count_as_at_first_again() -> None:
    pace = HandlerPace()
    for _ in range(4):
        calls_on_threads(pace, SHORT)
        while pace.is_short(SIZE):
            pace.ran_on_loop(SIZE, SLOW)
    assert calls_on_threads(pace, SHORT) == 16 * FIRST_SHORT_CALLS
    for _ in range(10_000):
        pace.ran_on_loop(SIZE, SHORT)
    while pace.is_short(SIZE):
        pace.ran_on_loop(SIZE, SLOW)
    assert calls_on_threads(pace, SHORT) == 2 * FIRST_SHORT_CALLS
