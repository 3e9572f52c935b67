"""Measuring for the benchmarks: calls alternate (A, B, A, B, …), since machine speed drifts."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

ROUNDS = 7
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Row = tuple[str, str, str, str, str]  # the columns of `print_table`


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows in the form used in `docs/benchmarks.md`."""
    print(
        "| what | ours | beside it | ratio, median (min – max) | against |\n|---|---|---|---|---|"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def in_turn(
    ours: Callable[[], float], other: Callable[[], float], rounds: int = ROUNDS
) -> tuple[float, float, str]:
    """Return the medians of two alternating measurements, and their ratio per round as text."""
    return compared([(ours(), other()) for _ in range(rounds)])


def compared(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, str]:
    """Return the result of `in_turn` for existing measurements."""
    ratios = [a / b for a, b in pairs]
    text = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), text


def per_call(call: Callable[[], object], calls: int) -> float:
    """Return the mean seconds of one call."""
    begin = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - begin) / calls


@contextmanager
def on_one_core() -> Iterator[None]:
    """Pin this thread and the threads that it starts to one core, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Peer:
    """Another library in a separate process: prints its name, then a JSON answer per line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.name = self._answer()

    def ask(self, job: object) -> Any:
        """Return the answer to a job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the peer process ended: its error is printed above")
        return line


@contextmanager
def started_peer(
    program: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator[Peer | None]:
    """Run a program with `PEER_PYTHON` during the block; yield None if that is not set."""
    python = os.environ.get("PEER_PYTHON")
    if python is None:
        yield None
        return
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "text": True,
        "encoding": "utf-8",
    }
    command = [python, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, env=os.environ | (environment or {}), **pipes) as process:
        yield Peer(process)
        assert process.stdin is not None
        process.stdin.close()
