"""Awaiting several stages at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from conduit_lab.core.stage import Stage


async def gather_stages(stages: Sequence[Stage], value: Any) -> list[Any]:
    """Return each stage's result for `value`, in order; the first failure cancels the others.

    That failure is raised as it is, not in an `ExceptionGroup`.
    """
    results: list[Any] = [None] * len(stages)
    failed: list[Exception] = []

    async def run(place: int, stage: Stage) -> None:
        try:
            results[place] = await stage.acall(value)
        except Exception as error:
            failed.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for place, stage in enumerate(stages):
            group.start_soon(run, place, stage)
    if failed:
        raise failed[0]
    return results
