"""A function for a Batcher, which remembers what it was asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from conduit_lab.runtime.batching.batcher import Batcher

PATIENCE = 30.0  # seconds until a test that hangs fails


class Batches:
    """Doubles numbers. Negative ones are bad. Uses `seconds` of CPU time; while `held()`, it waits inside."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[list[int]] = []
        self.threads: list[int] = []
        self._gate = threading.Condition()
        self._held = False
        self._passes = 0

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.threads.append(threading.get_ident())
        self.seen.append(list(items))
        with self._gate:
            assert self._gate.wait_for(lambda: not self._held or self._passes, PATIENCE)
            self._passes = max(0, self._passes - 1)
        end = time.thread_time() + self.seconds
        while self.seconds and time.thread_time() < end:
            pass
        if bad := [item for item in items if item < 0]:
            raise ValueError(f"{bad} are negative")
        return [2 * item for item in items]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no run end."""
        self._held = True
        try:
            yield
        finally:
            with self._gate:
                self._held = False
                self._gate.notify_all()

    def pass_one(self) -> None:
        """Let one run end."""
        with self._gate:
            self._passes += 1
            self._gate.notify()

    def forget(self) -> None:
        """Begin to remember again."""
        self.seen.clear()
        self.threads.clear()


def measured(batches: Batches, max_rows: int = 256, queue_rows: int = 8192) -> Batcher[int, int]:
    """Return a batcher that knows that runs of any size are short."""
    batcher = Batcher("doubles", batches, max_rows=max_rows, queue_rows=queue_rows)
    for rows in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256):  # what it knows is by the power of two
        batcher.call(0, rows)
    batches.forget()
    return batcher


def until(ready: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "it never came"
        time.sleep(1e-3)


async def soon(ready: Callable[[], object]) -> None:
    """Let others go on until it is so."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0)


async def waiting(
    batcher: Batcher[int, int], batches: Batches, items: Sequence[int]
) -> list[asyncio.Task[int]]:
    """Let a task run with 100 and others wait behind it, in the queue."""
    tasks = [asyncio.create_task(batcher.acall(100))]
    await soon(lambda: batches.seen)
    tasks += [asyncio.create_task(batcher.acall(item)) for item in items]
    await soon(lambda: batcher.waiting == len(items))
    return tasks


def script(code: str) -> str:
    """Run Python in a process of its own, and return what it prints; it must end well and say nothing else."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()
