"""A call that has ended keeps no value alive until the garbage collector runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest

from conduit_lab.core.stage import Function, Stage
from conduit_lab.flow.deadline import call_within
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route import Route
from tests.flow.test_parallel import in_order, on_threads

SECONDS = 20.0


class Value:
    """An input that can be referred to weakly."""


def fail(value: Any) -> Any:
    raise RuntimeError("no power")


def give(value: Any) -> Any:
    return 1


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def run(stage: Stage, value: Any) -> Any:
    return stage(value)


def within(stage: Stage, value: Any) -> Any:
    return call_within(stage, value, SECONDS)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("call", [run, within])
@pytest.mark.parametrize(
    "stage",
    [
        Function(fail),
        Fallback(fail, give),
        Fallback(fail, fail),
        Fallback(fail, fail, retries=1, open_after=2, timeout=SECONDS),
        Fallback(give, timeout=SECONDS),
        Parallel({"a": give, "b": fail}),
        in_order({"a": give, "b": fail}),
        on_threads({"a": give, "b": fail}),
        Route(lambda value: "b", {"a": give}),
    ],
    ids=str,
)
def test_its_value_is_freed_at_once(stage: Stage, call: Callable[..., Any]) -> None:
    value = Value()
    freed = ref(value)
    try:
        call(stage, value)
    except Exception as error:
        assert error.__traceback__ is not None
    del value
    if freed() is not None:  # the thread that ran it lets go of it a moment later
        asyncio.run(asyncio.sleep(0.05))
    assert freed() is None
