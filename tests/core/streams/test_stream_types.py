"""The static types of a stream: checked by mypy, and equal to the values at runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, assert_type

from conduit_lab.core.streams.merge import merge
from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.streams.reader import Reader
from conduit_lab.core.streams.stream import Stream


def words() -> Iterator[str]:
    yield from ("a", "b")


def squares() -> Generator[int, None, dict[str, int]]:
    yield 1
    return {"count": 1}


async def numbers() -> AsyncIterator[int]:
    yield 1


def test_the_result_is_text_or_a_list_of_chunks() -> None:
    assert assert_type(Stream(words()).result(), str | list[str]) == "ab"
    assert assert_type(Stream(range(2)).result(), str | list[int]) == [0, 1]
    assert assert_type(Stream(numbers()).map(str).result(), str | list[str]) == "1"
    assert assert_type(merge([Stream(numbers())]).result(), str | list[int]) == [1]


def test_the_result_has_the_type_of_the_generators_return_value() -> None:
    assert assert_type(Stream(squares()).result(), dict[str, int]) == {"count": 1}
    pushed: PushedStream[str, int] = PushedStream()
    pushed.finish(3)
    assert assert_type(pushed.result(), int) == 3


def test_a_loop_gives_chunks() -> None:
    for word in assert_type(iter(Stream(words())), Reader[str]):
        assert assert_type(word, str) in "ab"


def test_one_type_parameter_is_enough_at_runtime() -> None:
    assert Stream[int] == Stream[int, Any]
    assert Stream[int](range(2)).result() == [0, 1]
