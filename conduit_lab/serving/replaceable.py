"""Replaceable: while a session opens an exported app, `App(...)` makes the session's lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, cast

_Maker = tuple[type, Callable[[], Any]]

_maker: ContextVar[_Maker | None] = ContextVar("conduit_lab_maker", default=None)


class Replaceable:
    """A class whose call makes an instance of a subclass inside of `replaced`."""

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Return a new object, which its own class initializes."""
        found = _maker.get()
        if found is None or found[0] is not cls:
            return super().__new__(cls)
        return cast("Self", found[1]())


@contextmanager
def replaced(kind: type[Replaceable], make: Callable[[], Any]) -> Iterator[None]:
    """Let each call of exactly `kind` initialize the object that `make` returns."""
    token = _maker.set((kind, make))
    try:
        yield
    finally:
        _maker.reset(token)
