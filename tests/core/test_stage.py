from __future__ import annotations

import asyncio
import functools
import threading

import pytest

from conduit_lab.core.errors import InputError
from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.stage import Function, Stage, as_stage
from conduit_lab.core.trace import recorder


def double(value: int) -> int:
    return value * 2


def test_function_is_a_stage_with_its_own_name() -> None:
    stage = Function(double)
    assert isinstance(stage, Stage)
    assert (stage.name, stage(4), stage.run(4)) == ("double", 8, 8)
    assert repr(stage) == "Function('double')"


def test_a_stage_shows_its_class_and_name() -> None:
    class Doubled(Stage):
        name = "twice"

        def run(self, value: int) -> int:
            return 2 * value

    assert repr(Doubled()) == "Doubled('twice')"


def test_values_are_known_where_the_specs_are() -> None:
    class Doubled(Stage):
        name = "twice"
        inputs = (TensorSpec("x", "float32", ("batch", 2)),)

        def run(self, value: int) -> int:
            return 2 * value

    assert (Doubled().takes, Doubled().gives) == (Doubled.inputs, None)


def test_name_can_be_given() -> None:
    assert Function(double, name="twice").name == "twice"


def test_callable_without_a_name_is_called_by_its_type() -> None:
    assert Function(functools.partial(double)).name == "partial"


def test_batch_gives_one_result_a_value_in_order() -> None:
    assert Function(double).batch([1, 2, 3]) == [2, 4, 6]
    assert Function(double).batch([]) == []


def test_acall_gives_the_same_result() -> None:
    assert asyncio.run(Function(double).acall(4)) == 8


def test_acall_raises_what_the_stage_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Function(lambda value: 1 / value).acall(0))


def test_specs_are_empty_where_any_value_is_taken() -> None:
    assert Function(double).inputs == () == Function(double).outputs


def test_as_stage_keeps_a_stage_and_wraps_a_callable() -> None:
    stage = Function(double)
    assert as_stage(stage) is stage
    assert as_stage(double)(1) == 2


def test_as_stage_refuses_what_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="got int"):
        as_stage(5)


def test_an_async_function_is_awaited_on_the_callers_loop() -> None:
    async def here(value: int) -> tuple[int, object]:
        await asyncio.sleep(0)
        return value, asyncio.get_running_loop()

    async def call() -> bool:
        value, loop = await Function(here).acall(3)
        return value == 3 and loop is asyncio.get_running_loop()

    assert asyncio.run(call())


def test_a_leaf_has_no_children_and_does_not_stream() -> None:
    stage = Function(double)
    assert stage.children == ()
    with pytest.raises(InputError, match=r"'double' does not stream.*Use double\(value\)"):
        stage.stream(1)


def test_handing_on_is_a_plain_call_by_default() -> None:
    stage = Function(double)
    assert stage.hand_on(2, stage) == 4
    assert asyncio.run(stage.ahand_on(2, stage)) == 4


def test_an_acall_is_one_span() -> None:
    async def call() -> list[str]:
        with recorder.record("all") as recorded:
            await Function(double).acall(2)
        return [span.name for span in recorded]

    assert asyncio.run(call()) == ["all", "double"]


def test_a_stage_without_arun_of_its_own_runs_on_a_worker_thread() -> None:
    class Where(Stage):
        name = "where"

        def run(self, value: int) -> tuple[int, int]:
            return value, threading.get_ident()

    value, thread = asyncio.run(Where().acall(4))
    assert value == 4
    assert thread != threading.get_ident()


def test_a_stage_that_calls_itself_without_end_says_so() -> None:
    again = Function(lambda value: again(value), name="again")
    with pytest.raises(RecursionError, match=r"again\(\) calls itself without an end"):
        again(1)


def test_functions_of_one_function_and_name_are_equal() -> None:
    assert Function(double) == Function(double)
    assert hash(Function(double)) == hash(Function(double))
    assert Function(double) != Function(double, name="twice")
    assert Function(double) != Function(abs, name="double")


def test_a_batch_counts_its_values(jobs: list[Progress]) -> None:
    assert Function(len, name="length").batch(["a", "bc"]) == [1, 2]
    assert [(job.name, job.done, job.total) for job in jobs] == [("length.batch", 2, 2)]
