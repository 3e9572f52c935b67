"""Ownership: a stream or a generation begun inside another one, or inside a call, ends with it."""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Protocol, Self
from weakref import WeakSet


class Cancellable(Protocol):
    """Something that runs and can be cancelled, such as a stream or a generation."""

    def cancel(self) -> None:
        """End it now; idempotent and thread-safe."""


class Owner(Protocol):
    """A running call that cancels the work begun inside it."""

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""

    def adopt(self, child: Cancellable) -> None:
        """Cancel `child` with this one, at once if this one was cancelled before."""


_owner: ContextVar[Owner | None] = ContextVar("conduit_lab_owner", default=None)


def set_owner(owner: Owner) -> None:
    """Let `owner` own everything that begins in this context."""
    _owner.set(owner)


def adopt(child: Cancellable) -> None:
    """Cancel `child` together with the stream or call that runs here, if there is one."""
    if (owner := _owner.get()) is not None:
        owner.adopt(child)


def cancelled() -> bool:
    """Return whether the stream or call that runs here was cancelled."""
    return (owner := _owner.get()) is not None and owner.cancelled


class CallScope:
    """A block that owns the streams and generations begun inside it, on any thread or task.

    A block that raises cancels them. One that returns leaves them running, owned by the stream or
    call around it.
    """

    __slots__ = ("__weakref__", "_children", "_lock", "_outer", "_released", "_token", "cancelled")

    def __init__(self) -> None:
        self.cancelled = False
        self._released = False
        # guarded by _lock, like the two flags; most calls begin nothing
        self._children: WeakSet[Any] | None = None
        self._lock = threading.Lock()

    def adopt(self, child: Cancellable) -> None:
        """Cancel `child` with this call, at once if the call was cancelled before."""
        with self._lock:
            released, cancelled = self._released, self.cancelled
            if not released:
                if self._children is None:
                    self._children = WeakSet()
                self._children.add(child)
        if cancelled:
            child.cancel()
        elif released and self._outer is not None:
            self._outer.adopt(child)

    def cancel(self) -> None:
        """Cancel everything begun inside so far and from now on."""
        with self._lock:
            if self._released:
                return
            self.cancelled = True
            children = list(self._children or ())
        for child in children:
            child.cancel()

    def _release(self) -> None:
        with self._lock:
            self._released = True
            children = list(self._children or ())
            self._children = None
        if self._outer is not None and not self.cancelled:
            for child in children:
                self._outer.adopt(child)

    def __enter__(self) -> Self:
        self._outer = _owner.get()
        if self._outer is not None:
            self._outer.adopt(self)
        self._token: Token[Owner | None] = _owner.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        _owner.reset(self._token)
        if error is None:
            self._release()
        else:
            self.cancel()
