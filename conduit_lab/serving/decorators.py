"""The types of the decorators that `App` returns."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import ParamSpec, Protocol, TypeVar, overload

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.endpoint import Endpoint

P = ParamSpec("P")
T = TypeVar("T")


class StreamDecorator(Protocol):
    """Makes an endpoint of a function that yields chunks, sync or async, or returns an iterable."""

    @overload
    def __call__(self, function: Callable[P, Iterable[T]]) -> Endpoint[P, Stream[T]]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterable[T]]) -> Endpoint[P, Stream[T]]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[Iterable[T]]]) -> Endpoint[P, Stream[T]]: ...
    @overload
    def __call__(
        self, function: Callable[P, Awaitable[AsyncIterable[T]]]
    ) -> Endpoint[P, Stream[T]]: ...
