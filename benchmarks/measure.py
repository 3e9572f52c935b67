"""How the benchmarks measure: two ways in turn in one run (A, B, A, B, …), since this machine's speed drifts."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

ROUNDS = 7
Row = tuple[str, str, str, str, str]  # what, ours, beside it, ratio, against what


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows as `docs/benchmarks.md` keeps them."""
    print("| what | ours | beside it | ratio, median (min – max) | against |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def in_turn(ours: Callable[[], float], other: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float, str]:
    """Return the medians of two measurements taken in turn, and their ratio round by round, in words."""
    return compared([(ours(), other()) for _ in range(rounds)])


def compared(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, str]:
    """Return what `in_turn` does, for measurements that were taken in turn already."""
    ratios = [a / b for a, b in pairs]
    words = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), words


def per_call(call: Callable[[], object], calls: int) -> float:
    """Return the mean seconds of one call."""
    begin = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - begin) / calls


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core; does nothing where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
