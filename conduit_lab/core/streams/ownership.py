"""Ownership: a stream or generation started inside a call or another stream ends with it."""

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
    """A running call that cancels the work started inside it."""

    @property
    def cancelled(self) -> bool:
        """Whether the call was cancelled."""

    def adopt(self, child: Cancellable) -> None:
        """Cancel `child` with this call, or immediately if it is already cancelled."""


_owner: ContextVar[Owner | None] = ContextVar("conduit_lab_owner", default=None)


def set_owner(owner: Owner) -> None:
    """Make `owner` own everything that starts in this context."""
    _owner.set(owner)


def adopt(child: Cancellable) -> None:
    """Cancel `child` together with the enclosing stream or call, if there is one."""
    if (owner := _owner.get()) is not None:
        owner.adopt(child)


def cancelled() -> bool:
    """Return whether the enclosing stream or call was cancelled."""
    return (owner := _owner.get()) is not None and owner.cancelled


class CallScope:
    """A block that owns the streams and generations started inside it, on any thread or task.

    If the block raises, they are cancelled. If it returns, they keep running, owned by the
    enclosing stream or call.
    """

    __slots__ = ("__weakref__", "_children", "_lock", "_outer", "_released", "_token", "cancelled")

    def __init__(self) -> None:
        self.cancelled = False
        self._released = False
        # guarded by _lock, like the two flags; most calls start nothing
        self._children: WeakSet[Any] | None = None
        self._lock = threading.Lock()

    def adopt(self, child: Cancellable) -> None:
        """Cancel `child` with this call, or immediately if the call is already cancelled."""
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
        """Cancel everything started inside, now or later."""
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
