"""Streams know the type of their chunks."""

from __future__ import annotations

from typing import assert_type

from conduit_lab import Stream, merge

numbers = Stream([1, 2, 3])
for number in numbers:
    assert_type(number, int)


def text_of(chunk: int) -> str:
    return str(chunk)


assert_type(numbers.map(text_of), Stream[str])
assert_type(merge([numbers, numbers]), Stream[int])
numbers.map(len)  # error
numbers.wait("soon")  # error
print(numbers.result().trail)  # error
numbers.cancel()


async def follow() -> None:
    async for chunk in numbers:
        assert_type(chunk, int)
