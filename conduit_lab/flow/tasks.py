"""Await several stages concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.ownership import CallScope


async def gather_stages(stages: Sequence[Stage], value: Any) -> list[Any]:
    """Return each stage's result for `value`, in order; the first failure cancels the others.

    That failure is raised itself, not in an `ExceptionGroup`. Streams and generations that the
    stages started are cancelled too, and a function on a worker thread is abandoned: it runs until
    it returns, and its result is dropped. The same happens if this task is cancelled.
    """
    results: list[Any] = [None] * len(stages)
    failures: list[BaseException] = []
    tasks: list[asyncio.Task[None]] = []

    async def run(place: int, stage: Stage) -> None:
        this = asyncio.current_task()
        try:
            results[place] = await stage.acall(value)
        except BaseException as error:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            if this is None or (is_cancelled and this.cancelling()):
                raise
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
            failures.append(error)
            for task in tasks:
                if task is not this:
                    task.cancel()

    with CallScope():
        async with asyncio.TaskGroup() as group:
            for place, stage in enumerate(stages):
                if failures:  # an eager task has already run
                    break
                tasks.append(group.create_task(run(place, stage)))
        if failures:
            try:
                raise failures[0]
            finally:
                failures.clear()  # break the reference cycle between an error and this frame
    return results
