"""Workers: reusable daemon threads that run calls beside their caller.

Idle threads exit by themselves, so nothing has to be closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from queue import Empty, SimpleQueue
from time import perf_counter, thread_time
from typing import Any

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.core.forking import in_forked_child
from conduit_lab.core.streams.ownership import cancelled

_LINGER_SECONDS = 1.0  # idle threads stay this long, so that successive calls can reuse them

_lock = threading.Lock()
_idle: list[_Worker] = []  # guarded by _lock
_busy = 0  # guarded by _lock


class ThreadCall:
    """`function(value)` on a thread, in a copy of the creator's context.

    `ended` is called with this object on that thread; then `result` or `error` is set, as are
    `seconds` and `cpu_seconds`, the elapsed and CPU time of that thread, which exclude other
    threads used by the function.
    """

    __slots__ = ("_ended", "_work", "context", "cpu_seconds", "error", "result", "seconds")

    def __init__(
        self, function: Callable[[Any], Any], value: Any, ended: Callable[[ThreadCall], object]
    ) -> None:
        self.context = copy_context()
        self._ended: Callable[[ThreadCall], object] | None = ended
        self._work: tuple[Callable[[Any], Any], Any] | None = (function, value)
        self.result: Any = None
        self.error: BaseException | None = None
        self.seconds = self.cpu_seconds = 0.0

    def run(self) -> None:
        """Call the function and store its result or error."""
        work, self._work = self._work, None
        began, cpu_began = perf_counter(), thread_time()
        try:
            self.result = self.context.run(_begin, work)
        except BaseException as error:
            self.error = error
        self.seconds, self.cpu_seconds = perf_counter() - began, thread_time() - cpu_began
        del self, work  # break the reference cycle: the error references this frame

    def end(self) -> None:
        """Report the end of the call."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)

    def outcome(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            self.error = None  # break the reference cycle: the error references this frame


def _begin(work: Any) -> Any:
    function, value = work
    if cancelled():  # the enclosing stream or call, before a thread started this one
        raise StreamCancelled(getattr(function, "name", "call"), None)
    return function(value)


def start_calls(calls: Sequence[ThreadCall], *, limit: int | None = None) -> bool:
    """Run each call on its own thread, concurrently; return False if no threads are available.

    Then none of them runs: more than `limit` threads of the process would be busy, or the system
    cannot start more.
    """
    global _busy
    workers: list[_Worker] = []
    with _lock:
        if limit is not None and _busy + len(calls) > limit:
            return False
        try:
            while len(workers) < len(calls):
                workers.append(_idle.pop() if _idle else _Worker())
        except RuntimeError:  # "can't start new thread"
            _idle.extend(workers)
            return False
        _busy += len(calls)
    for worker, call in zip(workers, calls, strict=True):
        worker.inbox.put(call)
    return True


class _Worker:
    def __init__(self) -> None:
        self.inbox: SimpleQueue[ThreadCall] = SimpleQueue()
        threading.Thread(target=self._live, name="conduit_lab worker", daemon=True).start()

    def _live(self) -> None:
        global _busy
        while True:
            try:
                call = self.inbox.get(timeout=_LINGER_SECONDS)
            except Empty:
                with _lock:
                    if self in _idle:  # otherwise a call for it is on its way
                        _idle.remove(self)
                        return
                continue
            call.run()
            with _lock:  # before reporting the end, so that the caller finds it idle
                _busy -= 1
                _idle.append(self)
            call.end()
            del call


def _reset() -> None:
    """Let a forked child, where only the forking thread survives, start its own threads."""
    global _lock, _busy
    _lock, _busy = threading.Lock(), 0
    _idle.clear()


in_forked_child(_reset)
