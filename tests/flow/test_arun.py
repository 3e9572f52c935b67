"""Combinators in an event loop: they await their stages, and take no thread for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Function, Stage
from conduit_lab.core.trace import recorder
from conduit_lab.flow.ensemble import Ensemble
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from tests.runtime import graphs


class Meeting(Stage):
    """A stage that ends only once `parties` of them run at the same time."""

    name = "meeting"

    def __init__(self, parties: int) -> None:
        self.barrier = asyncio.Barrier(parties)

    def run(self, value: Any) -> Any:
        raise AssertionError("no thread is needed")

    async def arun(self, value: Any) -> Any:
        await asyncio.wait_for(self.barrier.wait(), 20)
        return value


async def plus(value: int) -> int:
    await asyncio.sleep(0)
    return value + 1


async def fail(value: Any) -> Any:
    await asyncio.sleep(0)
    raise RuntimeError("no power")


async def refuse(value: Any) -> Any:
    raise InputError("no such kettle")


def acall(stage: Stage, value: Any) -> Any:
    async def call() -> Any:
        return await stage.acall(value)

    return asyncio.run(call())


def test_a_sequential_awaits_one_stage_after_the_other() -> None:
    assert acall(Sequential(plus, str, plus_text), 1) == "2!"
    assert acall(Sequential(), 1) == 1


async def plus_text(value: str) -> str:
    return f"{value}!"


def test_the_stages_of_a_parallel_run_at_the_same_time() -> None:
    async def call() -> Any:
        meeting = Meeting(3)
        return await Parallel({"a": meeting, "b": meeting, "c": meeting}).acall(5)

    assert asyncio.run(call()) == {"a": 5, "b": 5, "c": 5}


def test_the_models_of_an_ensemble_run_at_the_same_time() -> None:
    async def call() -> Any:
        meeting = Meeting(2)
        return await Ensemble([meeting, meeting], sum).acall(5)

    assert asyncio.run(call()) == 10


def test_the_first_failure_cancels_the_others_and_is_raised_as_it_is() -> None:
    cancelled = []

    async def wait(value: Any) -> Any:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    with pytest.raises(RuntimeError, match="no power"):
        acall(Parallel({"a": wait, "b": fail, "c": wait}), 1)
    assert cancelled == [1, 1]


def test_a_fallback_awaits_the_next_stage() -> None:
    async def call() -> Any:
        with recorder.record("call") as recorded:
            answer = await Fallback(fail, plus, name="price").acall(1)
        return answer, list(recorded.record.fallbacks), recorded["price"].attributes

    assert asyncio.run(call()) == (2, ["plus"], {"fallback": "plus"})
    with pytest.raises(InputError):
        acall(Fallback(refuse, plus), 1)
    with pytest.raises(RuntimeError):
        acall(Fallback(plus_text, fail).stages[1], 1)


def test_an_awaited_fallback_logs_the_failure_and_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("WARNING", "conduit_lab"):
        assert acall(Fallback(fail, plus, name="price"), 1) == 2
    assert caplog.messages == ["price: fail failed, trying the next: no power"]


def test_the_first_stage_of_a_fallback_is_no_fallback() -> None:
    with recorder.record("call") as recorded:
        Fallback(str, repr)(1)
    assert not recorded.record.fallbacks


def test_a_route_awaits_the_chosen_stage() -> None:
    route = Route(lambda value: "odd" if value % 2 else "even", {"odd": plus, "even": fail})
    assert acall(route, 1) == 2


def test_concurrent_calls_of_a_sequential_are_one_run_of_its_models(tmp_path: Path) -> None:
    weight = np.eye(4, dtype=np.float32)
    first = Model(graphs.linear(tmp_path / "a.onnx", weight)).open()
    second = Model(graphs.linear(tmp_path / "b.onnx", weight * 2)).open()
    sequential = Sequential(first, second)
    samples = np.random.default_rng(0).standard_normal((64, 4), np.float32)

    async def call() -> list[Any]:
        return await asyncio.gather(*(sequential.acall(sample) for sample in samples))

    for _ in range(9):  # the first batched runs are compared with runs of single rows
        asyncio.run(call())
    before = first.shared.calls, second.shared.calls
    answers = asyncio.run(call())
    runs = first.shared.calls - before[0], second.shared.calls - before[1]
    assert max(runs) <= 8, runs
    np.testing.assert_allclose(np.stack(answers), samples * 2, rtol=1e-6)


def test_children_are_the_stages_in_order() -> None:
    a, b, c = (Function(str, name=name) for name in "abc")
    assert Sequential(a, b).children == (a, b)
    assert Parallel({"x": a, "y": b}).children == (a, b)
    assert Ensemble([a, b], c).children == (a, b, c)
    assert Fallback(a, b).children == (a, b)
    assert Route(str, {"x": a, "y": b}).children == (a, b)


def test_the_last_stage_of_a_sequential_streams() -> None:
    class Chars(Function):
        def stream(self, value: Any, /) -> Any:
            from conduit_lab.core.streams.stream import Stream

            return Stream(iter(value))

    chars = Chars(str)
    assert list(Sequential(str, chars).stream(12)) == ["1", "2"]
    assert list(Route(lambda value: "one", {"one": chars}).stream("ab")) == ["a", "b"]
    with pytest.raises(InputError, match="not stream"):
        Sequential(chars, str).stream(12)
