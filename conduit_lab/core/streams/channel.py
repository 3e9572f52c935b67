"""Channel: the state that a stream shares with its producer, readers and holders."""

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
    """A reader of another stream; it leaves when the stream derived from it ends."""

    def leave(self) -> None: ...


class Sink(Protocol):
    """A reader on an async generator's loop, which writes each chunk inside `push`."""

    def push(self) -> Awaitable[None] | None:
        """Start writing the pending chunks; called on the generator's loop, which awaits it.

        The awaitable raises nothing but a cancellation.
        """

    def wake(self) -> None:
        """React to the end of the stream; thread-safe."""


class Channel(Generic[_T_co]):
    """A bounded log of chunks with wakeups, backpressure and an end state.

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

        It is called immediately if the stream has already ended. Its errors are logged.
        """
        with self._lock:
            if not self.finished:
                self._callbacks.append(callback)
                return
        self._call(callback)

    @property
    def finished(self) -> bool:
        """Whether no further chunks will arrive."""
        return self.ended is not None

    @property
    def count(self) -> int:
        """Chunks produced so far, including dropped ones."""
        return self._log.count

    @property
    def kept(self) -> list[_T_co]:
        """The chunks still in the log, newest last."""
        return list(self._log.window[1])

    def attach(self, sink: Sink, loop: asyncio.AbstractEventLoop) -> bool:
        """Let an async generator on `loop`, the running one, push each chunk to `sink`.

        Returns False if the generator runs elsewhere, or already has a sink.
        """
        if self._loop is not loop or self._sink is not None:
            return False
        self._sink = sink
        return True

    def detach(self) -> None:
        """Stop pushing chunks to the sink."""
        self._sink = None

    def cancel(self) -> None:
        """End the stream and its readers now; the generator is closed at its next chunk."""
        self._finish("cancelled")
        if (stop := self._stop_producer) is not None:
            stop()
        with self._lock:
            children = list(self._children or ())
        for child in children:
            child.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether the stream was cancelled."""
        return self.state == "cancelled"

    def adopt(self, child: Cancellable) -> None:
        """Cancel `child` with this stream, or immediately if this one is already cancelled."""
        with self._lock:
            if self._children is None:
                self._children = WeakSet()
            self._children.add(child)
            cancelled = self.cancelled
        if cancelled:
            child.cancel()

    def _set_inputs(self, inputs: tuple[_Input, ...]) -> None:
        """Leave the given input streams when this stream ends."""
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
        """Add a chunk; return whether the log now exceeds its size limit."""
        if self.ended is not None:
            return False
        if self.first is None:
            self.first = monotonic()
        full = self._log.append(chunk)
        if self._wakeups.waiters:
            self._wakeups.notify()
        return full

    def _finish(self, state: State, error: BaseException | None = None) -> bool:
        """End the stream; return False if it had already ended."""
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
            _log.exception("an end callback of stream %r failed", self.name)

    def _block(self, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block this thread until `ready()`; return False at the deadline."""
        if ready():
            return True
        if _on_producer_loop():
            raise RuntimeError(
                f"stream {self.name!r} would block the event loop that runs async generators, "
                "including this one: inside an async generator use `await stream` or "
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
