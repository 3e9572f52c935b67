"""Threads, deadlines and fallbacks: their cost over a bare call, and the gain of Parallel.

Run it with `.venv/bin/python benchmarks/threads.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter, sleep
from typing import Any

from measure import CORES, Row, in_turn, per_call, print_table

from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.views.figures import rate, seconds
from conduit_lab.flow.deadline import call_within
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.thread_plan import TRIAL_RUNS

CALLS = 20_000
CHUNKS = 200_000
DOCUMENT = bytes(3_000_000)


def rows() -> Iterator[Row]:
    """Yield the table's rows."""
    plus = Function(lambda value: value + 1, "plus")
    yield beside("Fallback, the first stage answers", Fallback(plus, abs), plus, CALLS)
    options = Fallback(plus, abs, retries=1, open_after=3)
    yield beside("the same with retries and a circuit breaker", options, plus, CALLS)
    yield beside("a call within 5 s", lambda value: call_within(plus, value, 5.0), plus, 2_000)
    three = dict.fromkeys("abc", plus)
    parallel = Parallel(three)
    in_order = {"a": plus, "b": plus, "c": plus}
    yield beside("Parallel of three additions, in order", parallel, calls(in_order), CALLS)
    on_threads = Parallel(three)
    yield beside(
        "the same on three threads (hop)",
        lambda value: on_threads._on_threads(value, on_threads._plan),
        calls(in_order),
        2_000,
    )
    for what, function in (
        ("three waits of 10 ms", lambda value: sleep(0.01)),
        (f"three SHA-256 of 3 MB on {CORES} cores", lambda value: hashlib.sha256(DOCUMENT)),
        ("three sums in Python", lambda value: sum(range(200_000))),
    ):
        members = {name: Function(function, name) for name in "abc"}
        chosen = Parallel(members)
        for _ in range(TRIAL_RUNS + 1):
            chosen(1)
        way = "on threads" if chosen.decision.threaded else "in order"
        yield beside(f"Parallel of {what}: {way}", chosen, calls(members), 10)
    yield streamed()


def calls(members: Mapping[str, Stage]) -> Callable[[Any], Any]:
    """Return a function that calls the members sequentially."""
    return lambda value: {name: stage(value) for name, stage in members.items()}


def beside(what: str, ours: Callable[[Any], Any], other: Callable[[Any], Any], count: int) -> Row:
    """Measure a call compared with a bare call."""
    mine, bare, ratio = in_turn(
        lambda: per_call(lambda: ours(1), count), lambda: per_call(lambda: other(1), count)
    )
    return what, seconds(mine), seconds(bare), ratio, "the bare calls"


class Numbers(Stage):
    """A stage that streams numbers."""

    name = "numbers"

    def run(self, value: Any) -> Any:
        """Return all of them."""
        return list(range(CHUNKS))

    def stream(self, value: Any, /) -> Stream[int]:
        """Stream them."""
        return Stream(iter(range(CHUNKS)))


def streamed() -> Row:
    """Measure the stream of a Fallback compared with its stage's stream."""

    def read(stage: Stage) -> float:
        begin = perf_counter()
        assert sum(1 for _ in stage.stream(1).hold()) == CHUNKS
        return CHUNKS / (perf_counter() - begin)

    bare = Numbers()
    mine, other, ratio = in_turn(lambda: read(Fallback(bare)), lambda: read(bare))
    what = "the stream of a Fallback"
    return what, rate(mine, "chunks"), rate(other, "chunks"), ratio, "the stage's stream"


if __name__ == "__main__":
    print_table(rows())
