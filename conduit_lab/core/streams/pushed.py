"""PushedStream: a stream that its producer writes to, instead of a generator that is run for it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from time import monotonic
from typing import Any, TypeVar

from conduit_lab.core.streams.stream import KEEP_BYTES, Stream
from conduit_lab.core.streams.wakeups import PACE

T = TypeVar("T")


class PushedStream(Stream[T]):
    """A stream written from outside: `start`, `append` from one thread at a time, then `finish` or
    `fail`.

    Readers who wait while chunks come fast are woken about once a millisecond; a chunk that a pause
    follows reaches them within that time.
    """

    def __init__(self, *, name: str = "stream", keep: int = KEEP_BYTES) -> None:
        self._written = -PACE
        super().__init__((), name=name, keep=keep)

    def _start(self, source: Iterable[T] | AsyncIterable[T]) -> None:
        """Run nothing."""

    def start(self) -> None:
        """Say that the producer is at work."""
        self._begin()

    def append(self, chunk: T) -> None:
        """Add a chunk; one that comes after the end is dropped."""
        now = monotonic()
        self._bells.fast = now - self._written < PACE
        self._written = now
        if self._append(chunk):
            self._log.drop(self._log.surplus)  # a producer of several streams cannot be held

    def finish(self, value: Any = None) -> None:
        """End the stream well; its result is `value`, or as `Stream.result` says where that is None."""
        self._value = value
        self._finish("done")
        self._stop_task = None

    def fail(self, error: BaseException) -> None:
        """End the stream with an error that arrives at every reader."""
        self._finish("failed", error)
        self._stop_task = None

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """Call `stop`, from whatever thread cancels the stream; at once where it was cancelled
        already.

        It must bear a second call.
        """
        self._stop_task = stop
        if self.state == "cancelled":
            stop()
