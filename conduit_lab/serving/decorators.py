"""Types of the `App` decorators, and checks of decorated functions."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.endpoint import Endpoint

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StreamDecorator(Protocol):
    """Decorates a sync or async function that yields chunks or returns an iterable."""

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


def refuse_async(function: Callable[..., Any], path: str) -> None:
    """Raise `EndpointError` for an `async def` function whose result is passed to a model."""
    if inspect.iscoroutinefunction(function):
        raise EndpointError(
            f"{path}: {function.__name__} is async: write it with plain `def`, it runs on a thread"
        )


def file_paths(*models: Any) -> list[str | Path]:
    """Return the models given as paths."""
    return [model for model in models if isinstance(model, str | Path)]
