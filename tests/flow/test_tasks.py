"""Awaiting several stages at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conduit_lab.core.stage import Function, Stage
from conduit_lab.flow.tasks import gather_stages

SECONDS = 20.0


def stages(*functions: Any) -> list[Stage]:
    return [Function(function) for function in functions]


async def fail(value: Any) -> Any:
    raise RuntimeError("no power")


async def give(value: Any) -> Any:
    return value


def test_results_are_in_order_and_none_gives_none() -> None:
    async def late(value: Any) -> Any:
        await asyncio.sleep(0.001)
        return "late"

    assert asyncio.run(gather_stages(stages(late, give), 1)) == ["late", 1]
    assert asyncio.run(gather_stages([], 1)) == []


def test_of_two_failures_the_first_in_time_is_raised() -> None:
    async def fail_later(value: Any) -> Any:
        try:
            await asyncio.sleep(SECONDS)
        finally:
            raise OSError("while it was cancelled")

    with pytest.raises(RuntimeError, match="no power"):
        asyncio.run(gather_stages(stages(fail_later, fail), 1))


def test_a_stage_that_ends_as_cancelled_by_itself_is_not_lost() -> None:
    async def cancel_itself(value: Any) -> Any:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await gather_stages(stages(give, cancel_itself), 1)

    asyncio.run(main())


def test_an_interrupt_passes_through() -> None:
    async def interrupt(value: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(gather_stages(stages(give, interrupt), 1))


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has it")
def test_eager_tasks_are_not_begun_after_a_failure() -> None:
    asked: list[Any] = []

    async def ask(value: Any) -> Any:
        asked.append(value)

    async def main() -> None:
        factory = getattr(asyncio, "eager_task_factory")  # noqa: B009
        asyncio.get_running_loop().set_task_factory(factory)
        await gather_stages(stages(fail, ask), 1)

    with pytest.raises(RuntimeError, match="no power"):
        asyncio.run(main())
    assert asked == []
