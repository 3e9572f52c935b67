"""Batcher: each of thousands of interleaved calls of a model gets its own answer or error."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import DeadlineExceeded, InputError, Overloaded
from conduit_lab.core.spec import FloatArray
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.batching.run_times import SHORT_RUN_SECONDS
from conduit_lab.runtime.sessions.session import Session
from tests.runtime import graphs
from tests.runtime.batching.batches import PATIENCE, wait_until

# small integers: float32 is exact, in any batch
WEIGHT = np.array([[1, 2], [3, 5], [7, 11]], np.float32)
LOOPS = [asyncio.run, asyncio.run, uvloop.run]
TASKS, THREADS, CALLS = 30, 8, 6


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(graphs.linear(tmp_path_factory.mktemp("batching") / "linear.onnx", WEIGHT))


class Callers:
    """The callers of one example, and their outcomes."""

    def __init__(self, session: Session, max_rows: int, queue_rows: int, slow: float) -> None:
        self.batcher = Batcher("linear", self.run, max_rows=max_rows, queue_rows=queue_rows)
        self.session = session
        self.max_rows = max_rows
        self.slow = slow  # the share of long runs
        self.ends: list[str] = []
        self.faults: list[Any] = []

    def run(self, items: Sequence[FloatArray]) -> Sequence[FloatArray]:
        if len(items) > 1 and sum(len(item) for item in items) > self.max_rows:
            self.faults.append("a batch has too many rows")
        if Random().random() < self.slow:
            end = time.thread_time() + 2 * SHORT_RUN_SECONDS
            while time.thread_time() < end:
                pass
        outputs = self.session.run({"input": np.concatenate(items)})[0]
        return np.split(outputs, np.cumsum([len(item) for item in items])[:-1])

    def note(self, kind: str, item: FloatArray, outcome: Any) -> None:
        """Record the outcome of a call, and a wrong one as a fault."""
        self.ends.append(type(outcome).__name__)
        if isinstance(outcome, np.ndarray):
            right = kind != "bad" and np.array_equal(outcome, item @ WEIGHT)
        elif kind == "bad":
            right = isinstance(outcome, InputError | Overloaded)
        else:
            allowed = {"late": DeadlineExceeded, "leaves": asyncio.CancelledError}.get(
                kind, Overloaded
            )
            right = isinstance(outcome, allowed | Overloaded)
        if not right:
            self.faults.append((kind, item, outcome))

    def thread(self, seed: int) -> None:
        random = Random(seed)
        for _ in range(CALLS):
            kind, item, timeout = plan(random)
            try:
                outcome: Any = self.batcher.call(item, len(item), timeout)
            except Exception as error:
                outcome = error
            self.note(kind, item, outcome)

    async def task(self, seed: int) -> None:
        random = Random(seed)
        for _ in range(CALLS):
            kind, item, timeout = plan(random)
            call = self.batcher.acall(item, len(item), timeout)
            if kind == "leaves":
                leaver = asyncio.create_task(call)
                for _ in range(random.randrange(5)):
                    await asyncio.sleep(0)
                leaver.cancel()
                (outcome,) = await asyncio.gather(leaver, return_exceptions=True)
            else:
                try:
                    outcome = await call
                except Exception as error:
                    outcome = error
            self.note(kind, item, outcome)
            if random.random() < 0.2:
                await asyncio.sleep(0)

    async def tasks(self, seed: int) -> None:
        await asyncio.gather(*(self.task(seed + number) for number in range(TASKS)))


def plan(random: Random) -> tuple[str, FloatArray, float | None]:
    """Return the kind of a call, its item float32 `[rows, 3]` and its timeout."""
    kind = random.choices(["good", "bad", "late", "leaves"], [80, 4, 8, 8])[0]
    width = 4 if kind == "bad" else 3
    rows = random.choice([1, 2]) if kind == "bad" else random.choice([0, 1, 1, 1, 2, 5, 17])
    item = np.array(
        [[random.randrange(1000) for _ in range(width)] for _ in range(rows)], np.float32
    )
    return (
        kind,
        item.reshape(rows, width),
        random.choice([0, 1e-5, 1e-4, 1e-3]) if kind == "late" else None,
    )


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    max_rows=st.sampled_from([1, 8, 64, 256]),
    queue_rows=st.sampled_from([40, 8192]),
    slow=st.sampled_from([0.0, 0.1, 0.6]),
)
def test_every_caller_gets_its_own_answer(
    session: Session, seed: int, max_rows: int, queue_rows: int, slow: float
) -> None:
    before = set(threading.enumerate())
    callers = Callers(session, max_rows, queue_rows, slow)
    random = Random(seed)
    workers = [
        threading.Thread(target=callers.thread, args=(random.randrange(2**32),))
        for _ in range(THREADS)
    ]
    for run in LOOPS:
        work = random.randrange(2**32)
        workers.append(threading.Thread(target=lambda run=run, work=work: run(callers.tasks(work))))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert callers.faults == []
    assert len(callers.ends) == CALLS * (THREADS + TASKS * len(LOOPS))
    assert "ndarray" in callers.ends
    assert callers.batcher.waiting == 0
    wait_until(lambda: set(threading.enumerate()) <= before)
