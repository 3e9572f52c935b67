"""Stream: one running generation, and everybody who reads it.

A stream starts at once. A sync generator runs on a thread of its own, an async one on the package's
own event loop, never on the caller's, so that a notebook cell that blocks or ends does not stop it.
The log is bounded: a reader that falls out of it gets `StreamLagged`, and a reader made with `hold`
makes the producer wait instead.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from weakref import WeakSet

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.materialize import materialize
from conduit_lab.core.streams.backpressure import Backpressure
from conduit_lab.core.streams.chunk import chunk_text as chunk_text
from conduit_lab.core.streams.chunk import is_frame, joined, rows
from conduit_lab.core.streams.log import Log
from conduit_lab.core.streams.loop import package_loop
from conduit_lab.core.streams.media import Media, image
from conduit_lab.core.streams.reader import Reader as Reader
from conduit_lab.core.streams.wakeups import Bells, block, pause
from conduit_lab.core.views import figures, html

T = TypeVar("T")
U = TypeVar("U")
State = Literal["pending", "running", "done", "cancelled", "failed"]

MARKS: dict[State, str] = {
    "pending": "○",
    "running": "●",
    "done": "✓",
    "cancelled": "■",
    "failed": "✕",
}
KEEP_BYTES = 4 * 2**20
IMAGE_WITHIN = 100  # chunks before the newest in which an image is looked for to be shown
SHOWN_IMAGE_BYTES = 2**20  # a saved notebook shall not grow without bound

_log = logging.getLogger("conduit_lab")
_tasks: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly
_producing: contextvars.ContextVar[Stream[Any] | None] = contextvars.ContextVar(
    "conduit_lab_stream", default=None
)


class Statistics(NamedTuple):
    """The course of a stream: chunks and about their bytes so far, seconds, chunks a second, seconds to the first."""

    chunks: int
    bytes: int
    seconds: float
    rate: float
    first: float | None


class Stream(Generic[T]):
    """A running generation: iterable, async-iterable, awaitable and cancellable.

    `source` is a generator or any iterable, sync or async; of a DataFrame the rows are streamed,
    each a `dict`. Chunks may be of any type; an iterator in one is read into a list, which every
    reader gets. The log keeps about `keep` bytes of the newest chunks. Each `for` or `async for` is
    a reader of its own: the first starts at chunk 0, later ones at the oldest kept chunk. A stream
    made inside another stream's generator is cancelled with it.

    Attributes: `name`; `state`, one of pending, running, done, cancelled, failed; `error`, the
    exception of a failed stream; `count`, chunks made so far; `started`, `first` and `ended`,
    seconds of the monotonic clock or None; `readers`, how many read it now.
    """

    def __init__(
        self,
        source: Iterable[T] | AsyncIterable[T],
        *,
        name: str = "stream",
        keep: int = KEEP_BYTES,
    ) -> None:
        self.name = name
        self.state: State = "pending"
        self.error: BaseException | None = None
        self.started = monotonic()
        self.first: float | None = None
        self.ended: float | None = None
        self.readers = 0
        self._log: Log[T] = Log(keep)
        self._pressure = Backpressure()
        self._value: Any = None
        self._bells = Bells()
        self._lock = threading.Lock()
        self._children: WeakSet[Stream[Any]] | None = None
        self._inputs: tuple[Reader[Any], ...] = ()
        self._stop_task: Callable[[], object] | None = None
        self._callbacks: list[Callable[[Stream[T]], object]] = []
        if (parent := _producing.get()) is not None:
            parent._adopt(self)
        self._start(source)

    # Reading

    def reader(self, start: int | None = None) -> Reader[T]:
        """Return a new reader that begins at chunk `start`.

        By default the first reader begins at chunk 0, a later one at the oldest kept chunk. Inside
        another stream's generator it holds this producer back as far as that one is held back.
        """
        parent = _producing.get()
        return Reader(self, start, consumer=None if parent is self else parent)

    def hold(self, start: int | None = 0) -> Reader[T]:
        """Return a reader for which the producer waits, with a full log, until it has read on or is
        closed.

        A `PushedStream` has a producer that cannot wait.
        """
        return Reader(self, start, holds=True)

    def __iter__(self) -> Reader[T]:
        return self.reader()

    def __aiter__(self) -> Reader[T]:
        return self.reader()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait_async().__await__()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the generator's return value, else the whole text, else the
        list of chunks.

        The text is returned where every chunk is a `str`. `timeout` is in seconds. The kernel's
        interrupt cancels the stream. Raises the generator's own error, `StreamCancelled`,
        `StreamLagged` when the log has dropped chunks that the result would need, `TimeoutError`
        (the stream then goes on), and `RuntimeError` inside an async generator that is itself a
        stream: use `await stream` there.
        """
        self.wait(timeout)
        return self._outcome()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the stream has ended, whatever its end; `TimeoutError` after `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        self._pressure.claim()
        if not self._block(lambda: self.finished, deadline):
            raise TimeoutError(f"stream {self.name!r} is still {self.state} after {timeout} s")

    def map(
        self, function: Callable[[T], U | Awaitable[U]], *, name: str | None = None
    ) -> Stream[U]:
        """Return a stream of `function(chunk)` for each chunk.

        A plain function runs on a thread of its own, an async one on the package's loop. It ends as
        this stream ends; when it is cancelled or `function` fails, this stream is cancelled too,
        unless somebody else reads it.
        """
        mapped: Any = self._mapped_async if inspect.iscoroutinefunction(function) else self._mapped
        reader = self.hold(None)
        return Stream(mapped(reader, function), name=name or self.name)._made_of(reader)

    def on_end(self, callback: Callable[[Stream[T]], object]) -> None:
        """Call `callback` with this stream once it has ended, on the thread that ends it.

        It is called now where the stream has ended already. Its error is logged.
        """
        with self._lock:
            if not self.finished:
                self._callbacks.append(callback)
                return
        self._call(callback)

    @property
    def finished(self) -> bool:
        """Whether no further chunk will come."""
        return self.ended is not None

    @property
    def count(self) -> int:
        """Chunks made so far, dropped ones included."""
        return self._log.count

    @property
    def kept(self) -> list[T]:
        """The chunks that the log still keeps, the newest last."""
        return list(self._log.window[1])

    @property
    def text(self) -> str:
        """The kept chunks as running text."""
        return "".join(map(chunk_text, self.kept))

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the end, or to now."""
        return (self.ended or monotonic()) - self.started

    @property
    def statistics(self) -> Statistics:
        """What has come so far and how fast."""
        count, seconds = self.count, self.elapsed
        first = None if self.first is None else self.first - self.started
        return Statistics(
            count, self._log.size, seconds, count / seconds if seconds > 0 else 0.0, first
        )

    def cancel(self) -> None:
        """End the stream now: readers end at once, the generator is closed at its next chunk."""
        self._finish("cancelled")
        if (stop := self._stop_task) is not None:
            stop()
        with self._lock:
            children = list(self._children or ())
        for child in children:
            child.cancel()

    # Producing

    def _start(self, source: Iterable[T] | AsyncIterable[T]) -> None:
        context = contextvars.copy_context()
        if isinstance(source, AsyncIterable):
            package_loop().call_soon_threadsafe(self._start_task, source, context=context)
            return
        source = rows(source) if is_frame(source) else source  # type: ignore[assignment]  # then T is dict
        arguments, name = (self._produce, source), f"stream {self.name}"
        threading.Thread(target=context.run, args=arguments, name=name, daemon=True).start()

    def _adopt(self, child: Stream[Any]) -> None:
        """Make `child` end with this stream; a generator that has not seen its cancellation yet may still make one."""
        with self._lock:
            if self._children is None:
                self._children = WeakSet()
            self._children.add(child)
            cancelled = self.state == "cancelled"
        if cancelled:
            child.cancel()

    def _made_of(self, *inputs: Reader[Any]) -> Stream[T]:
        """Leave the streams that this one reads when it ends; until then pass backpressure on."""
        for reader in inputs:
            reader.read_for(self)
        with self._lock:
            self._inputs = inputs
            ended = self.finished
        if ended:
            self._leave_inputs()
        return self

    def _leave_inputs(self) -> None:
        for reader in self._inputs:
            reader.leave()

    def _produce(self, source: Iterable[T]) -> None:
        _producing.set(self)
        iterator: Iterator[T] | None = None
        try:
            iterator = iter(source)
            self._begin()
            while self.ended is None:
                try:
                    chunk = next(iterator)
                except StopIteration as stop:
                    self._value = materialize(stop.value)
                    break
                if self._append(chunk):
                    self._pressure.make_room(self)
        except StreamCancelled:  # what it was made of was cancelled
            self._finish("cancelled")
        except BaseException as error:  # arrives at every reader
            self._finish("failed", error)
        finally:
            self._finish("done")
            if isinstance(iterator, Generator):
                with suppress(Exception):
                    iterator.close()

    def _start_task(self, source: AsyncIterable[T]) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._produce_async(source))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

        def stop() -> None:  # on the loop: once, and not while the generator is being closed
            if self._stop_task is not None:
                self._stop_task = None
                task.cancel()

        def stop_soon() -> None:
            with suppress(RuntimeError):  # the loop has ended, and the task with it
                loop.call_soon_threadsafe(stop)

        self._stop_task = stop_soon

    async def _produce_async(self, source: AsyncIterable[T]) -> None:
        _producing.set(self)
        try:
            self._begin()
            if self.finished:
                return
            async for chunk in source:
                if self.ended is not None:
                    break
                if self._append(chunk):
                    await self._pressure.make_room_async(self)
        except (asyncio.CancelledError, StreamCancelled):
            self._finish("cancelled")
        except BaseException as error:
            self._finish("failed", error)
        finally:
            self._stop_task = None
            self._finish("done")
            if isinstance(source, AsyncGenerator):
                with suppress(Exception):
                    await source.aclose()

    def _begin(self) -> None:
        with self._lock:
            if self.state == "pending":
                self.state = "running"

    def _append(self, chunk: T) -> bool:
        """Add a chunk; return whether the log now needs room."""
        if self.ended is not None:
            return False
        if self.first is None:
            self.first = monotonic()
        full = self._log.append(chunk)
        if self._bells.waiting:
            self._bells.ring()
        return full

    def _finish(self, state: State, error: BaseException | None = None) -> None:
        with self._lock:
            if self.finished:
                return
            self.error = error
            self.state = state
            self.ended = monotonic()
            callbacks, self._callbacks = self._callbacks, []
        self._bells.ring()
        self._pressure.wake()
        self._leave_inputs()
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Stream[T]], object]) -> None:
        try:
            callback(self)
        except Exception:
            _log.exception("a callback at the end of stream %r failed", self.name)

    def _mapped(self, reader: Reader[T], function: Callable[[T], U]) -> Iterator[U]:
        for chunk in reader:
            yield function(chunk)
        self._pass_cancellation_on()

    async def _mapped_async(
        self, reader: Reader[T], function: Callable[[T], Awaitable[U]]
    ) -> AsyncGenerator[U, None]:
        async for chunk in reader:
            yield await function(chunk)
        self._pass_cancellation_on()

    def _pass_cancellation_on(self) -> None:
        if self.state == "cancelled":
            raise StreamCancelled(self.name, joined(self.kept))

    # Waiting

    def _block(self, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block this thread until `ready()`; False when the deadline passed. An interrupt cancels the stream."""
        if ready():
            return True
        if _on_package_loop():
            raise RuntimeError(
                f"stream {self.name!r} would block the loop that every async generator runs on, this one too: inside "
                "an async generator write `await stream` or `async for chunk in stream`"
            )
        try:
            return block(self._bells, ready, deadline)
        except KeyboardInterrupt:
            self.cancel()
            raise

    async def _wait_async(self) -> Any:
        self._pressure.claim()
        await pause(lambda: self.finished, self._bells)
        return self._outcome()

    def _outcome(self) -> Any:
        if self.state == "failed" and self.error is not None:
            raise self.error
        base, kept = self._log.window
        if self.state == "cancelled":
            raise StreamCancelled(self.name, joined(kept))
        if self._value is not None:
            return self._value
        if base:
            raise self._log.lagged(self.name, 0)
        return joined(kept)

    # Showing

    def newest_image(self, start: int = 0) -> Media | None:
        """Return the newest image among the last 100 chunks, from chunk `start` on; None for one above 1 MB."""
        base, kept = self._log.window
        begin = max(start - base, len(kept) - IMAGE_WITHIN, 0)
        newest = next(filter(None, map(image, reversed(kept[begin:]))), None)
        return newest if newest is not None and len(newest.data) <= SHOWN_IMAGE_BYTES else None

    @property
    def facts(self) -> list[str]:
        """The few figures that a header line shows."""
        parts = [
            f"{MARKS[self.state]} {self.state}",
            f"{figures.count(self.count)} chunks",
            figures.seconds(self.elapsed),
        ]
        if self.first is not None and self.elapsed > 0:
            parts.insert(2, f"first after {figures.seconds(self.first - self.started)}")
            parts.append(figures.rate(self.count / self.elapsed, "chunks"))
        return parts

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} · {' · '.join(self.facts)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        note = "" if self.error is None else f"\n{type(self.error).__name__}: {self.error}"
        content = self.text + note
        shown = html.header("Stream", self.name, self.facts) + html.text(content)
        if (newest := self.newest_image()) is not None:
            shown += f'<img src="{newest.url}" alt="the newest image" style="max-width:100%;max-height:480px">'
        return html.bundle(f"{self!r}\n{content}", shown)


def _on_package_loop() -> bool:
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return False
    return running is package_loop()
