"""PushedStream: a stream to which its producer appends chunks."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from conduit_lab.core.streams.stream import KEEP_BYTES, Stream
from conduit_lab.core.streams.wakeups import FAST_SECONDS

if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVarWithDefault

_T = TypeVar("_T")
if TYPE_CHECKING:
    _R = _TypeVarWithDefault("_R", default=str | list[_T])
else:
    _R = TypeVar("_R")


class PushedStream(Stream[_T, _R]):
    """A stream written from outside: call `start`, `append`, then `finish` or `fail`.

    One thread at a time may append. With a fast producer, waiting readers are woken about once per
    millisecond; the last chunk before a pause reaches them within that time.
    """

    def __init__(self, *, name: str = "stream", keep: int = KEEP_BYTES) -> None:
        self._appended = -FAST_SECONDS
        nothing: Any = ()
        super().__init__(nothing, name=name, keep=keep)

    def _start(self, source: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Do nothing: there is no source."""

    def start(self) -> None:
        """Set the stream's state to running."""
        self._begin()

    def append(self, chunk: _T) -> None:
        """Append a chunk; chunks after the end are dropped."""
        now = monotonic()
        self._wakeups.fast = now - self._appended < FAST_SECONDS
        self._appended = now
        if self._append(chunk):
            self._log.drop(self._log.surplus)  # a producer of several streams cannot wait

    def finish(self, value: _R | None = None) -> None:
        """End the stream as done; `value` is its result, by default the text or list of chunks."""
        self._value = value
        self._finish("done")
        self._stop_producer = None

    def fail(self, error: BaseException) -> None:
        """End the stream with an error that every reader receives."""
        self._finish("failed", error)
        self._stop_producer = None

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the stream is cancelled, from any thread; now if it already was.

        `stop` must be idempotent.
        """
        self._stop_producer = stop
        if self.state == "cancelled":
            stop()
