"""Batches: a function for a Batcher, which records its batches."""

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

PATIENCE = 30.0  # seconds until a hanging test fails


class Batches:
    """Doubles numbers in `seconds` of CPU time; refuses negative ones, blocks while `held()`."""

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
        """Block every run."""
        self._held = True
        try:
            yield
        finally:
            with self._gate:
                self._held = False
                self._gate.notify_all()

    def pass_one(self) -> None:
        """Let one run finish."""
        with self._gate:
            self._passes += 1
            self._gate.notify()

    def reset(self) -> None:
        """Clear the record."""
        self.seen.clear()
        self.threads.clear()


def measured(batches: Batches, max_rows: int = 256, queue_rows: int = 8192) -> Batcher[int, int]:
    """Return a batcher that has measured runs of every size as short."""
    batcher = Batcher("doubles", batches, max_rows=max_rows, queue_rows=queue_rows)
    for rows in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256):  # run times are measured per power of two
        batcher.call(0, rows)
    batches.reset()
    return batcher


def wait_until(ready: Callable[[], object]) -> None:
    """Wait for another thread."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "timed out"
        time.sleep(1e-3)


async def wait_async(ready: Callable[[], object]) -> None:
    """Yield to other tasks until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "timed out"
        await asyncio.sleep(0)


async def queue_tasks(
    batcher: Batcher[int, int], batches: Batches, items: Sequence[int]
) -> list[asyncio.Task[int]]:
    """Start a task with 100, and others that wait in the queue behind it."""
    tasks = [asyncio.create_task(batcher.acall(100))]
    await wait_async(lambda: batches.seen)
    tasks += [asyncio.create_task(batcher.acall(item)) for item in items]
    await wait_async(lambda: batcher.waiting == len(items))
    return tasks


def script(code: str) -> str:
    """Run Python in a new process; return its output, with nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()
