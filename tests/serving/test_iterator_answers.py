"""Answers that are iterators: the same list for the caller, over HTTP and in the example."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from conduit_lab import App, Lab
from conduit_lab.core import paths
from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Function
from conduit_lab.core.trace.span import current
from conduit_lab.serving import codec
from tests.serving.conftest import Ask


@dataclass(frozen=True)
class Answer:
    items: Any
    name: str = "a"


@dataclass(slots=True)
class Slotted:
    items: Any


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    items: Any


def numbers() -> Iterator[int]:
    yield from range(3)


ANSWERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "generator": (numbers, [0, 1, 2]),
    "expression": (lambda: (n * n for n in range(3)), [0, 1, 4]),
    "empty": (lambda: iter(()), []),
    "map": (lambda: map(str, [1, 2]), ["1", "2"]),
    "zip": (lambda: zip([1, 2], "ab", strict=True), [[1, "a"], [2, "b"]]),
    "filter": (lambda: filter(None, [0, 1]), [1]),
    "enumerate": (lambda: enumerate("ab"), [[0, "a"], [1, "b"]]),
    "reversed": (lambda: reversed([1, 2]), [2, 1]),
    "chain": (lambda: itertools.chain([1], numbers()), [1, 0, 1, 2]),
    "islice": (lambda: itertools.islice(itertools.count(), 3), [0, 1, 2]),
    "lines": (lambda: io.StringIO("a\nb\n"), ["a\n", "b\n"]),
    "keys": (lambda: {"a": 1}.keys(), ["a"]),
    "values": (lambda: {"a": numbers()}.values(), [[0, 1, 2]]),
    "items": (lambda: {"a": 1}.items(), [["a", 1]]),
    "dict": (lambda: {"n": numbers(), "m": 1}, {"n": [0, 1, 2], "m": 1}),
    "ordered": (lambda: OrderedDict(n=numbers()), {"n": [0, 1, 2]}),
    "list": (lambda: [1, numbers(), None], [1, [0, 1, 2], None]),
    "tuple": (lambda: (numbers(), "x"), [[0, 1, 2], "x"]),
    "deque": (lambda: deque([numbers()]), [[0, 1, 2]]),
    "deep": (lambda: {"a": [{"b": (numbers(),)}]}, {"a": [{"b": [[0, 1, 2]]}]}),
    "of iterators": (lambda: (numbers() for _ in range(2)), [[0, 1, 2], [0, 1, 2]]),
    "dataclass": (lambda: Answer(numbers()), {"items": [0, 1, 2], "name": "a"}),
    "dataclass with slots": (lambda: Slotted(map(str, [1])), {"items": ["1"]}),
    "model": (lambda: Model(items=numbers()), {"items": [0, 1, 2]}),
    "in a model": (
        lambda: [Answer(Model(items=[numbers()]))],
        [{"items": {"items": [[0, 1, 2]]}, "name": "a"}],
    ),
}


def same(value: Any) -> Any:
    """Return the JSON value of an answer."""
    return codec.loads(codec.dumps(value))


@pytest.mark.parametrize("name", ANSWERS)
def test_every_reader_gets_the_same_list(lab: Lab, app: App, asking: Ask, name: str) -> None:
    make, expected = ANSWERS[name]
    for host in (lab, app):

        @host.post("/plain")
        def plain() -> Any:
            return make()

        @host.get("/awaited")
        async def awaited() -> Any:
            return make()

        client = asking(host)
        assert client.post("/plain").json() == expected
        assert client.get("/awaited").json() == expected
        answer = plain()
        assert (same(answer), same(answer)) == (expected, expected)
    assert [example.answer for example in lab.examples] == [expected]


async def numbers_async() -> AsyncIterator[Any]:
    for n in range(3):
        await asyncio.sleep(0)
        yield map(str, [n])


async def returned() -> AsyncIterator[Any]:
    await asyncio.sleep(0)
    return numbers_async()


@pytest.mark.parametrize("handler", [numbers_async, returned])
def test_an_async_generator_is_a_list_too(lab: Lab, asking: Ask, handler: Any) -> None:
    endpoint = lab.post("/async")(handler)
    assert asking(lab).post("/async").json() == [["0"], ["1"], ["2"]] == asyncio.run(endpoint())
    assert [example.answer for example in lab.examples] == [[["0"], ["1"], ["2"]]]


def test_an_answer_without_iterators_stays_the_same_object(app: App) -> None:
    values = [
        {"a": [1, {"b": (2,)}]},
        [Answer([1])],
        Model(items=[1]),
        deque([1]),
        range(3),
        {1, 2},
    ]
    app.get("/values/{n}")(lambda n: values[int(n)])
    for n, value in enumerate(values):
        assert app.endpoints[0](n) is value


def test_the_answer_of_the_function_is_not_changed(app: App) -> None:
    kept = {"n": numbers()}
    app.post("/kept")(lambda: kept)
    assert app.endpoints[-1]() == {"n": [0, 1, 2]}
    assert isinstance(kept["n"], Iterator)


def test_an_iterator_runs_inside_the_call(lab: Lab, asking: Ask) -> None:
    stage = Function(lambda value: value, name="inside")

    @lab.post("/traced")
    def traced() -> Iterator[str]:
        for n in range(2):
            assert current() is not None
            yield f"{stage(n)} {paths.current_root() == lab.root}"

    assert asking(lab).post("/traced").json() == ["0 True", "1 True"]
    assert traced.trace is not None
    assert [span.name for span in traced.trace] == ["traced", "inside", "inside"]


@pytest.mark.parametrize(
    ("error", "status"), [(InputError("no such row"), 400), (RuntimeError("boom"), 500)]
)
def test_an_iterator_that_fails_midway_fails_the_call(
    lab: Lab, asking: Ask, error: Exception, status: int
) -> None:
    @lab.post("/midway")
    def midway() -> Iterator[int]:
        yield 1
        raise error

    assert asking(lab).post("/midway").status_code == status
    with pytest.raises(type(error)):
        midway()
    assert lab.examples == []


def test_an_argument_that_is_an_iterator_is_read_once(lab: Lab) -> None:
    @lab.post("/total")
    def total(values: list[float]) -> float:
        return sum(values)

    @lab.post("/whole")
    def whole(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return [*value, *value]

    assert total(n for n in range(4)) == 6  # type: ignore[arg-type]
    assert whole(iter([1, 2])) == [1, 2, 1, 2]
    assert [example.payload for example in lab.examples] == [{"values": [0, 1, 2, 3]}, [1, 2]]


def test_an_answer_that_is_too_deep_is_still_returned_to_python(app: App) -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    app.post("/deep")(lambda: deep)
    assert app.endpoints[-1]() is deep
