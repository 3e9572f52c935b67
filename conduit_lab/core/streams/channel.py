"""Channel: the state that a stream shares with its producer, its readers and its holders."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Generic, Literal, Protocol, Self, TypeVar
from weakref import WeakSet

from conduit_lab.core.streams.backpressure import Backpressure
from conduit_lab.core.streams.log import Log
from conduit_lab.core.streams.loop import package_loop, producer_loop
from conduit_lab.core.streams.ownership import Cancellable
from conduit_lab.core.streams.wakeups import Wakeups, block_until

_T_co = TypeVar("_T_co", covariant=True)

_log = logging.getLogger("conduit_lab")

State = Literal["pending", "running", "done", "cancelled", "failed"]


class _Input(Protocol):
    """A reader of another stream, left when the stream made from its chunks ends."""

    def leave(self) -> None: ...


class Sink(Protocol):
    """A reader on the loop of an async generator, which writes each chunk inside `push`."""

    def push(self) -> Awaitable[None] | None:
        """Begin to write the pending chunks; on the loop of the generator, which awaits it.

        The awaitable raises nothing but a cancellation.
        """

    def wake(self) -> None:
        """Notice that the stream has ended; thread-safe."""


class Channel(Generic[_T_co]):
    """A bounded log of chunks with its wakeups, its backpressure and its end.

    Only the producer appends. `state`, `error` and `ended` change once, under `_lock`, before the
    waiters are notified; a reader checks `finished` first and the log afterwards, so it never
    misses the last chunks.
    """

    def __init__(self, name: str, keep: int) -> None:
        self.name = name
        self.state: State = "pending"
        self.error: BaseException | None = None
        self.started = monotonic()
        self.first: float | None = None
        self.ended: float | None = None
        self.readers = 0
        self._log: Log[_T_co] = Log(keep)
        self._pressure = Backpressure(self._log)
        self._wakeups = Wakeups()
        self._value: Any = None
        self._lock = threading.Lock()
        self._children: WeakSet[Any] | None = None
        self._inputs: tuple[_Input, ...] = ()
        self._stop_producer: Callable[[], object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # of an async generator
        self._sink: Sink | None = None  # set on that loop
        self._callbacks: list[Callable[[Any], object]] = []

    def on_end(self, callback: Callable[[Self], object]) -> None:
        """Call `callback` with this stream once it has ended, on the thread that ends it.

        It is called at once where the stream has ended already. Its error is logged.
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
        """Chunks produced so far, dropped ones included."""
        return self._log.count

    @property
    def kept(self) -> list[_T_co]:
        """The chunks that the log still keeps, the newest last."""
        return list(self._log.window[1])

    def attach(self, sink: Sink, loop: asyncio.AbstractEventLoop) -> bool:
        """Let an async generator on `loop`, the running one, push each chunk to `sink`.

        False where the generator runs elsewhere, or has another sink.
        """
        if self._loop is not loop or self._sink is not None:
            return False
        self._sink = sink
        return True

    def detach(self) -> None:
        """Stop pushing chunks to the sink."""
        self._sink = None

    def cancel(self) -> None:
        """End the stream now: readers end at once, the generator is closed at its next chunk."""
        self._finish("cancelled")
        if (stop := self._stop_producer) is not None:
            stop()
        with self._lock:
            children = list(self._children or ())
        for child in children:
            child.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.state == "cancelled"

    def adopt(self, child: Cancellable) -> None:
        """Cancel `child` with this stream, also when this one was cancelled before."""
        with self._lock:
            if self._children is None:
                self._children = WeakSet()
            self._children.add(child)
            cancelled = self.cancelled
        if cancelled:
            child.cancel()

    def _set_inputs(self, inputs: tuple[_Input, ...]) -> None:
        """Leave the streams that this one reads when it ends."""
        with self._lock:
            self._inputs = inputs
            ended = self.finished
        if ended:
            self._leave_inputs()

    def _leave_inputs(self) -> None:
        for reader in self._inputs:
            reader.leave()

    def _begin(self) -> None:
        with self._lock:
            if self.state == "pending":
                self.state = "running"

    def _append(self, chunk: Any) -> bool:
        """Add a chunk; return whether the log now exceeds its bytes."""
        if self.ended is not None:
            return False
        if self.first is None:
            self.first = monotonic()
        full = self._log.append(chunk)
        if self._wakeups.waiters:
            self._wakeups.notify()
        return full

    def _finish(self, state: State, error: BaseException | None = None) -> bool:
        """End the stream; return False if it has ended before."""
        with self._lock:
            if self.finished:
                return False
            self.error = error
            self.state = state
            self.ended = monotonic()
            callbacks, self._callbacks = self._callbacks, []
        self._wakeups.notify()
        if (sink := self._sink) is not None:
            sink.wake()
        self._pressure.wake()
        self._leave_inputs()
        for callback in callbacks:
            self._call(callback)
        return True

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:
            _log.exception("a callback at the end of stream %r failed", self.name)

    def _block(self, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block this thread until `ready()`; return False at the deadline."""
        if ready():
            return True
        if _on_producer_loop():
            raise RuntimeError(
                f"stream {self.name!r} would block the loop that runs async generators, "
                "this one too: inside an async generator write `await stream` or "
                "`async for chunk in stream`"
            )
        try:
            return block_until(self._wakeups, ready, deadline)
        except KeyboardInterrupt:
            self.cancel()
            raise


def _on_producer_loop() -> bool:
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return False
    return running is producer_loop.get() or running is package_loop()
