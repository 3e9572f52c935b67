"""Stream: one running generation, and everybody who reads it.

A stream starts at once. A sync generator runs on a thread of its own, an async one on the package's own event
loop, never on the caller's, so that a notebook cell that blocks or ends does not stop it. Readers that are slow or
gone never hold the producer up: the log is bounded, and a reader that falls out of it gets `StreamLagged`.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, Literal, TypeVar

from conduit_lab.core import figures, html
from conduit_lab.core.errors import StreamCancelled, StreamLagged
from conduit_lab.core.loop import package_loop

T = TypeVar("T")
State = Literal["pending", "running", "done", "cancelled", "failed"]

MARKS: dict[State, str] = {"pending": "○", "running": "●", "done": "✓", "cancelled": "■", "failed": "✕"}
KEEP_BYTES = 4 * 2**20
_SLICE = 0.2  # seconds a blocking wait may last before the kernel's interrupt is looked at

_tasks: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly
_producing: contextvars.ContextVar[Stream[Any] | None] = contextvars.ContextVar("conduit_lab_stream", default=None)


class Stream(Generic[T]):
    """A running generation: iterable, async-iterable, awaitable and cancellable.

    `source` is a generator or any iterable, sync or async. Chunks may be of any type. The log keeps about `keep`
    bytes of the newest chunks. Each `for` or `async for` is a reader of its own that starts at the oldest kept chunk.
    A stream made inside another stream's generator is cancelled with it.

    Attributes: `name`; `state`, one of pending, running, done, cancelled, failed; `error`, the exception of a failed
    stream; `count`, chunks made so far; `started`, `first` and `ended`, seconds of the monotonic clock or None.
    """

    def __init__(self, source: Iterable[T] | AsyncIterable[T], *, name: str = "stream", keep: int = KEEP_BYTES) -> None:
        self.name = name
        self.state: State = "pending"
        self.error: BaseException | None = None
        self.started = monotonic()
        self.first: float | None = None
        self.ended: float | None = None
        self.readers = 0
        self._keep = keep
        # (index of the first kept chunk, the kept chunks): replaced as one, so a reader never sees half a trim
        self._window: tuple[int, list[T]] = (0, [])
        self._bytes = 0
        self._value: Any = None
        self._waiters: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._children: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()
        self._stop_task: Callable[[], object] | None = None
        if (parent := _producing.get()) is not None:
            parent._adopt(self)
        context = contextvars.copy_context()
        if isinstance(source, AsyncIterable):
            package_loop().call_soon_threadsafe(self._start_task, source, context=context)
        else:
            run = threading.Thread(target=context.run, args=(self._produce, source), name=f"stream {name}", daemon=True)
            run.start()

    # Reading

    def reader(self, start: int | None = None) -> Reader[T]:
        """Return a new reader that begins at chunk `start` (default: the oldest kept one)."""
        return Reader(self, self._window[0] if start is None else start)

    def __iter__(self) -> Reader[T]:
        return self.reader()

    def __aiter__(self) -> Reader[T]:
        return self.reader()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait_async().__await__()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the generator's return value, else the whole text, else the list of chunks.

        The text is returned where every chunk is a `str`. `timeout` is in seconds. The kernel's interrupt cancels
        the stream. Raises the generator's own error, `StreamCancelled`, `StreamLagged` when the log has dropped
        chunks that the result would need, and `TimeoutError` (the stream then goes on).
        """
        self.wait(timeout)
        return self._outcome()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the stream has ended, whatever its end; `TimeoutError` after `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        if not self._block(lambda: self.finished, deadline):
            raise TimeoutError(f"stream {self.name!r} is still {self.state} after {timeout} s")

    @property
    def finished(self) -> bool:
        """Whether no further chunk will come."""
        return self.state in ("done", "cancelled", "failed")

    @property
    def count(self) -> int:
        """Chunks made so far, dropped ones included."""
        base, kept = self._window
        return base + len(kept)

    @property
    def kept(self) -> list[T]:
        """The chunks that the log still keeps, the newest last."""
        return list(self._window[1])

    @property
    def text(self) -> str:
        """The kept chunks as running text."""
        return "".join(map(chunk_text, self.kept))

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the end, or to now."""
        return (self.ended or monotonic()) - self.started

    def cancel(self) -> None:
        """End the stream now: readers end at once, the generator is closed at its next chunk."""
        self._finish("cancelled")
        if (stop := self._stop_task) is not None:
            stop()
        with self._lock:
            children = list(self._children)
        for child in children:
            child.cancel()

    # Producing

    def _adopt(self, child: Stream[Any]) -> None:
        """Make `child` end with this stream; a generator that has not seen its cancellation yet may still make one."""
        with self._lock:
            self._children.add(child)
            cancelled = self.state == "cancelled"
        if cancelled:
            child.cancel()

    def _produce(self, source: Iterable[T]) -> None:
        _producing.set(self)
        iterator: Iterator[T] | None = None
        try:
            iterator = iter(source)
            self._begin()
            while not self.finished:
                try:
                    chunk = next(iterator)
                except StopIteration as stop:
                    self._value = stop.value
                    break
                self._append(chunk)
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
                if self.finished:
                    break
                self._append(chunk)
        except asyncio.CancelledError:
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

    def _append(self, chunk: T) -> None:
        if self.finished:
            return
        if self.first is None:
            self.first = monotonic()
        self._window[1].append(chunk)
        self._bytes += _weight(chunk)
        if self._bytes > self._keep:
            self._trim()
        if self._waiters:
            self._wake()

    def _trim(self) -> None:
        """Drop the oldest quarter by weight (always keeping the newest chunk), so that trims stay rare."""
        base, kept = self._window
        drop = 0
        while self._bytes > self._keep * 3 // 4 and drop < len(kept) - 1:
            self._bytes -= _weight(kept[drop])
            drop += 1
        self._window = (base + drop, kept[drop:])

    def _finish(self, state: State, error: BaseException | None = None) -> None:
        with self._lock:
            if self.finished:
                return
            self.error = error
            self.ended = monotonic()
            self.state = state
        self._wake()

    # Waiting: a reader puts its wake-up call into `_waiters` and then looks again, a producer first appends and then
    # wakes; whichever order they meet in, one of the two sees the other.

    def _wake(self) -> None:
        with suppress(IndexError):
            while True:
                self._waiters.popleft()()

    def _block(self, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block this thread until `ready()`; False when the deadline passed. An interrupt cancels the stream."""
        try:
            while not ready():
                bell = threading.Semaphore(0)
                self._waiters.append(bell.release)
                while not ready():
                    left = _SLICE if deadline is None else min(_SLICE, deadline - monotonic())
                    if left <= 0:
                        return False
                    if bell.acquire(timeout=left):
                        break
        except KeyboardInterrupt:
            self.cancel()
            raise
        return True

    async def _pause(self, ready: Callable[[], bool]) -> None:
        """Suspend this task until `ready()`."""
        loop = asyncio.get_running_loop()
        while not ready():
            bell = asyncio.Event()

            def ring(bell: asyncio.Event = bell) -> None:
                with suppress(RuntimeError):  # the waiting loop is gone: nobody to wake
                    loop.call_soon_threadsafe(bell.set)

            self._waiters.append(ring)
            if not ready():
                await bell.wait()

    async def _wait_async(self) -> Any:
        await self._pause(lambda: self.finished)
        return self._outcome()

    def _outcome(self) -> Any:
        if self.state == "failed" and self.error is not None:
            raise self.error
        base, kept = self._window
        if self.state == "cancelled":
            raise StreamCancelled(self.name, _joined(kept))
        if self._value is not None:
            return self._value
        if base:
            raise StreamLagged(self.name, base, base)
        return _joined(kept)

    # Showing

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
        return html.bundle(f"{self!r}\n{content}", shown)


class Reader(Iterator[T]):
    """One reader of a stream, sync or async, at its own place; `index` is the next chunk's number."""

    def __init__(self, stream: Stream[T], start: int) -> None:
        self.stream = stream
        self.index = start
        self._open = True
        stream.readers += 1

    def close(self) -> None:
        """Stop reading; the stream goes on."""
        if self._open:
            self._open = False
            self.stream.readers -= 1

    def ready(self) -> bool:
        """Whether the next read returns, raises or ends without waiting."""
        finished = self.stream.finished  # looked at before the log: what came before the end is never missed
        base, kept = self.stream._window
        return finished or self.index - base < len(kept)

    def take(self) -> list[T]:
        """Return all chunks that are there now, without waiting; raises `StreamLagged` once per gap."""
        base, kept = self.stream._window
        if self.index < base:
            missed, self.index = base - self.index, base
            raise StreamLagged(self.stream.name, missed, base)
        chunks = kept[self.index - base :]
        self.index += len(chunks)
        return chunks

    def _next(self) -> T:
        """Return the chunk at `index`; `LookupError` where there is none."""
        base, kept = self.stream._window
        offset = self.index - base
        if offset < 0:
            self.index = base
            raise StreamLagged(self.stream.name, -offset, base)
        if offset >= len(kept):
            raise LookupError
        self.index += 1
        return kept[offset]

    def _end(self) -> None:
        self.close()
        if self.stream.state == "failed" and self.stream.error is not None:
            raise self.stream.error

    def __iter__(self) -> Reader[T]:
        return self

    def __next__(self) -> T:
        while True:
            finished = self.stream.finished
            try:
                return self._next()
            except LookupError:
                if finished:
                    self._end()
                    raise StopIteration from None
            self.stream._block(self.ready)

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            finished = self.stream.finished
            try:
                return self._next()
            except LookupError:
                if finished:
                    self._end()
                    raise StopAsyncIteration from None
            await self.wait()

    async def wait(self) -> None:
        """Suspend until there is something to take or the stream has ended."""
        await self.stream._pause(self.ready)

    def __del__(self) -> None:
        self.close()


def chunk_text(chunk: Any) -> str:
    """Return the running text of one chunk: its text if it has one, else its repr on a line."""
    if isinstance(chunk, str):
        return chunk
    if isinstance(chunk, dict) and isinstance(chunk.get("chunk"), str):
        return str(chunk["chunk"])
    return f"{chunk!r}\n"


def _joined(chunks: list[Any]) -> Any:
    return "".join(chunks) if chunks and all(isinstance(chunk, str) for chunk in chunks) else list(chunks)


def _weight(chunk: Any) -> int:
    """Return about how many bytes `chunk` holds; containers are looked into one level deep."""
    if isinstance(chunk, str | bytes):
        return 64 + len(chunk)
    weight = sys.getsizeof(chunk) + int(getattr(chunk, "nbytes", 0))
    if isinstance(chunk, dict):
        weight += sum(map(sys.getsizeof, chunk.values()))
    elif isinstance(chunk, list | tuple):
        weight += sum(map(sys.getsizeof, chunk))
    return weight
