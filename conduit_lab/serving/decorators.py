"""The types of the decorators that `App` returns."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import ParamSpec, Protocol, TypeVar, overload

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.endpoint import Endpoint

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StreamDecorator(Protocol):
    """Makes an endpoint of a function that yields chunks, sync or async, or returns an iterable."""

    @overload
    def __call__(self, function: Callable[_P, Iterable[_T]]) -> Endpoint[_P, Stream[_T]]: ...
    @overload
    def __call__(self, function: Callable[_P, AsyncIterable[_T]]) -> Endpoint[_P, Stream[_T]]: ...
    @overload
    def __call__(
        self, function: Callable[_P, Awaitable[Iterable[_T]]]
    ) -> Endpoint[_P, Stream[_T]]: ...
    @overload
    def __call__(
        self, function: Callable[_P, Awaitable[AsyncIterable[_T]]]
    ) -> Endpoint[_P, Stream[_T]]: ...
