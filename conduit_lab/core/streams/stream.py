"""Stream: one running generation and its readers.

A stream starts immediately. A sync generator runs on its own thread, an async one on the package's
event loop, never on the caller's, so a notebook cell that blocks or ends does not stop it. The log
is bounded: a reader that falls behind gets `StreamLagged`, while a reader created with `hold` makes
the producer wait instead.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from conduit_lab.core import views
from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.streams.channel import Channel, State
from conduit_lab.core.streams.chunk import chunk_text as chunk_text
from conduit_lab.core.streams.chunk import join_chunks
from conduit_lab.core.streams.media import Media, image
from conduit_lab.core.streams.ownership import adopt
from conduit_lab.core.streams.production import produce, producing
from conduit_lab.core.streams.reader import Reader as Reader
from conduit_lab.core.streams.statistics import StreamStatistics
from conduit_lab.core.streams.wakeups import wait_until
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed

if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVarWithDefault

    from conduit_lab.core.streams.shapes.shown_chunks import ShownChunks

_T = TypeVar("_T")
_R = TypeVar("_R")
_U = TypeVar("_U")
_T_co = TypeVar("_T_co", covariant=True)
# Python 3.13 has runtime defaults; before that, `__class_getitem__` fills them in
if TYPE_CHECKING:
    _R_co = _TypeVarWithDefault("_R_co", covariant=True, default=str | list[_T_co])
else:
    _R_co = TypeVar("_R_co", covariant=True)

STATE_MARKS: dict[State, str] = {
    "pending": "○",
    "running": "●",
    "done": "✓",
    "cancelled": "■",
    "failed": "✕",
}
KEEP_BYTES = 4 * 2**20
MAX_IMAGE_AGE_CHUNKS = 100  # older images are not shown below text


class Stream(Channel[_T_co], Viewed, Generic[_T_co, _R_co]):
    """A running generation: iterable, async-iterable, awaitable and cancellable.

    `source` is a generator or any iterable, sync or async; a DataFrame streams its rows, each a
    `dict`. Chunks may be of any type; an iterator in a chunk becomes a list, which every reader
    gets. The log keeps about `keep` bytes of the newest chunks. Each `for` or `async for` is a
    reader of its own: the first starts at chunk 0, later ones at the oldest retained chunk. A
    stream created inside another stream's generator is cancelled with it.

    Attributes: `name`; `state`, one of pending, running, done, cancelled, failed; `error`, the
    exception of a failed stream; `count`, chunks produced so far; `started`, `first` and `ended`,
    seconds of the monotonic clock or None; `readers`, the number of current readers.
    """

    @overload
    def __init__(
        self: Stream[_T, str | list[_T]],
        source: Generator[_T, Any, None],
        *,
        name: str = ...,
        keep: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Stream[_T, _R],
        source: Generator[_T, Any, _R],
        *,
        name: str = ...,
        keep: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self: Stream[_T, str | list[_T]],
        source: Iterable[_T] | AsyncIterable[_T],
        *,
        name: str = ...,
        keep: int = ...,
    ) -> None: ...
    def __init__(
        self,
        source: Iterable[Any] | AsyncIterable[Any],
        *,
        name: str = "stream",
        keep: int = KEEP_BYTES,
    ) -> None:
        super().__init__(name, keep)
        adopt(self)
        self._start(source)

    def _start(self, source: Iterable[Any] | AsyncIterable[Any]) -> None:
        produce(self, source)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types: Any) -> Any:
            """Return `Stream[T]` as `Stream[T, Any]`."""
            return super().__class_getitem__(types if isinstance(types, tuple) else (types, Any))

    # Reading

    def reader(self, start: int | None = None) -> Reader[_T_co]:
        """Return a new reader that starts at chunk `start`.

        By default the first reader starts at chunk 0, later ones at the oldest retained chunk.
        Inside another stream's generator, it propagates that stream's backpressure to this one.
        """
        parent = producing()
        return Reader(self, start, consumer=None if parent is self else parent)

    def hold(self, start: int | None = 0) -> Reader[_T_co]:
        """Return a reader with backpressure: a producer with a full log waits for it.

        The producer waits until the reader has caught up or is closed. The producer of a
        `PushedStream` cannot wait.
        """
        return Reader(self, start, holds=True)

    def __iter__(self) -> Reader[_T_co]:
        return self.reader()

    def __aiter__(self) -> Reader[_T_co]:
        return self.reader()

    def __await__(self) -> Generator[Any, None, _R_co]:
        return self._wait_async().__await__()

    def result(self, timeout: float | None = None) -> _R_co:
        """Wait for the end; return the generator's return value, the whole text or the chunks.

        Without a return value, the result is the text if there are chunks and all are `str`, else
        the list of chunks. `timeout` is in seconds. An interrupt of the kernel cancels the stream.
        Raises the generator's own error, `StreamCancelled`, `StreamLagged` if the log has dropped
        chunks that the result needs, `TimeoutError` (the stream then continues), and `RuntimeError`
        inside an async generator that is itself a stream: use `await stream` there.
        """
        self.wait(timeout)
        return self._outcome()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the stream has ended in any way; `TimeoutError` after `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        self._pressure.claim()
        if not self._block(lambda: self.finished, deadline):
            raise TimeoutError(f"stream {self.name!r} is still {self.state} after {timeout} s")

    def map(
        self, function: Callable[[_T_co], _U | Awaitable[_U]], *, name: str | None = None
    ) -> Stream[_U]:
        """Return a stream of `function(chunk)` for each chunk.

        A plain function runs on its own thread, an async one on the package's loop. The new stream
        ends when this one does; if it is cancelled or `function` fails, this stream is cancelled
        too, unless it has another reader.
        """
        mapped: Any = self._mapped_async if inspect.iscoroutinefunction(function) else self._mapped
        reader = self.hold(None)
        return Stream(mapped(reader, function), name=name or self.name)._read_from(reader)

    @property
    def text(self) -> str:
        """The retained chunks as text."""
        return "".join(map(chunk_text, self.kept))

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the end, or until now."""
        return (self.ended or monotonic()) - self.started

    @property
    def statistics(self) -> StreamStatistics:
        """Statistics of the progress so far."""
        count, seconds = self.count, self.elapsed
        first = None if self.first is None else self.first - self.started
        rate = count / seconds if seconds > 0 else 0.0
        return StreamStatistics(count, self._log.size, seconds, rate, first)

    async def _wait_async(self) -> _R_co:
        self._pressure.claim()
        await wait_until(lambda: self.finished, self._wakeups)
        return self._outcome()

    def _outcome(self) -> _R_co:
        if self.state == "failed" and self.error is not None:
            raise self.error
        base, kept = self._log.window
        self._raise_cancelled()
        if self._value is not None:
            return self._value  # type: ignore[no-any-return]
        if base:
            raise self._log.lagged(self.name, 0)
        return join_chunks(kept)  # type: ignore[no-any-return]

    def _raise_cancelled(self) -> None:
        if self.state == "cancelled":
            raise StreamCancelled(self.name, join_chunks(self.kept))

    # Deriving

    def _read_from(self, *inputs: Reader[Any]) -> Self:
        """Leave `inputs` when this stream ends; until then propagate backpressure to them."""
        for reader in inputs:
            reader.read_for(self)
        self._set_inputs(inputs)
        return self

    def _mapped(self, reader: Reader[Any], function: Callable[[Any], _U]) -> Iterator[_U]:
        for chunk in reader:
            yield function(chunk)
        self._raise_cancelled()

    async def _mapped_async(
        self, reader: Reader[Any], function: Callable[[Any], Awaitable[_U]]
    ) -> AsyncGenerator[_U, None]:
        async for chunk in reader:
            yield await function(chunk)
        self._raise_cancelled()

    # Showing

    def newest_image(self, start: int = 0) -> Media | None:
        """Return the newest image among the last 100 chunks, from chunk `start` on.

        Returns None if there is none, or if it exceeds 1 MB.
        """
        base, kept = self._log.window
        begin = max(start - base, len(kept) - MAX_IMAGE_AGE_CHUNKS, 0)
        newest = next(filter(None, map(image, reversed(kept[begin:]))), None)
        if newest is None:
            return None
        from conduit_lab.core.streams.shapes.film import MAX_PICTURE_BYTES

        return newest if len(newest.data) <= MAX_PICTURE_BYTES else None

    @property
    def facts(self) -> list[str]:
        """The header facts."""
        parts = [
            f"{STATE_MARKS[self.state]} {self.state}",
            figures.plural(self.count, "chunk"),
            figures.seconds(self.elapsed),
        ]
        if self.first is not None and self.elapsed > 0:
            parts.insert(2, f"first after {figures.seconds(self.first - self.started)}")
            parts.append(figures.rate(self.count / self.elapsed, "chunks"))
        return parts

    @property
    def shown(self) -> ShownChunks:
        """The chunks as shown in a view: text, or the shape of their kind."""
        from conduit_lab.core.streams.shapes.shown_chunks import ShownChunks

        # created on first display; atomic, since several threads may display it
        made: ShownChunks = self.__dict__.setdefault("_shown", ShownChunks(self._log))
        return made

    def _view(self) -> views.View:
        error = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        shown = self.shown
        shown.update()
        pieces = shown.pieces()
        text = "" if pieces else self.text
        notes = [views.Line(note, "quiet") for note in shown.notes(len(text))]
        view = views.View("Stream", self.name, self.facts, one_line=True)
        if pieces:
            after = [views.Line(error)] if error else []
            pieces = [*notes, *pieces, *after]
            return replace(view, pieces=pieces, children=self._results())
        newest = self.newest_image()
        url = None if newest is None else newest.url
        text = "\n".join(filter(None, (text, error)))
        return replace(view, text=text, image=url, pieces=notes, children=self._results())

    def _results(self) -> list[views.View]:
        """Return the view of the generator's return value, if it has one."""
        value = self._value
        return [value._view()] if isinstance(value, Viewed) and value is not self else []

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} · {' · '.join(self.facts)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = self._view()  # unlike the repr, the text form includes the chunks
        parts = [repr(self), *(piece.plain() for piece in view.pieces), view.text]
        parts += [child.plain() for child in view.children]
        bundle = view.bundle("\n".join(filter(None, parts)))
        return bundle | {"text/html": views.html.whole(bundle["text/html"])}
