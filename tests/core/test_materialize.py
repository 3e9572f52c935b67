"""Chunks that hold iterators: lists, for every reader of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel

from conduit_lab.core.streams.merge import merge
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT


class Row(NamedTuple):
    n: Any
    name: str = "a"


@dataclass(frozen=True)
class Part:
    n: Any


class Model(BaseModel):
    n: Any


def numbers() -> Iterator[int]:
    yield from range(3)


CHUNKS: dict[str, tuple[Callable[[], Any], Any]] = {
    "generator": (numbers, [0, 1, 2]),
    "in a dict": (lambda: {"n": numbers(), "m": 1}, {"n": [0, 1, 2], "m": 1}),
    "map": (lambda: {"n": map(str, [1, 2])}, {"n": ["1", "2"]}),
    "zip": (lambda: [zip([1], "a", strict=True)], [[(1, "a")]]),
    "deep": (lambda: {"a": [{"n": numbers()}]}, {"a": [{"n": [0, 1, 2]}]}),
    "named tuple": (lambda: Row(numbers()), Row([0, 1, 2])),
    "dataclass": (lambda: {"part": Part(numbers())}, {"part": Part([0, 1, 2])}),
    "model": (lambda: Model(n=numbers()), Model(n=[0, 1, 2])),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_every_reader_gets_the_same_items(name: str) -> None:
    make, expected = CHUNKS[name]

    async def produced() -> AsyncIterator[Any]:
        yield make()

    pushed: PushedStream[Any] = PushedStream()
    pushed.append(make())
    pushed.finish()
    streams = [
        Stream(make() for _ in range(1)),
        Stream([make()]),
        Stream(produced()),
        pushed,
        Stream([1]).map(lambda _: make()),
        merge([Stream([make()])]),
    ]
    for stream in streams:
        assert (
            stream.result(WAIT)
            == [expected]
            == list(stream)
            == list(stream.reader(0))
            == stream.kept
        )


def test_a_named_tuple_stays_one() -> None:
    (chunk,) = list(Stream([Row(numbers())]))
    assert isinstance(chunk, Row)
    assert chunk._asdict() == {"n": [0, 1, 2], "name": "a"}


def test_an_iterator_that_fails_fails_the_stream() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise LookupError("no such row")

    stream = Stream(iter([{"n": 1}, {"n": failing()}]))
    with pytest.raises(LookupError, match="no such row"):
        stream.result(WAIT)
    assert stream.kept == [{"n": 1}]


def test_a_returned_iterator_is_the_same_result_twice() -> None:
    def counted() -> Any:
        yield 1
        return {"total": numbers()}

    stream = Stream(counted())
    assert stream.result(WAIT) == {"total": [0, 1, 2]} == asyncio.run(awaited(stream))


async def awaited(stream: Stream[Any]) -> Any:
    return await stream


def test_a_chunk_without_iterators_stays_the_same_object() -> None:
    chunks: list[Any] = [
        np.zeros(3),
        {"image": np.zeros((2, 2), np.uint8)},
        [1, (2,)],
        Row(1),
        Part([1]),
        range(3),
    ]
    assert all(
        kept is chunk for kept, chunk in zip(Stream(chunks).result(WAIT), chunks, strict=True)
    )


def test_an_iterator_counts_with_its_items() -> None:
    stream = Stream(iter([{"n": ("x" * 1000 for _ in range(4))}]))
    stream.wait(WAIT)
    assert stream.statistics.bytes > 4000 / 4  # equal items count once
