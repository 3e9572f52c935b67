"""Scheduler: continuous batching of the requests of one decoder."""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Sequence
from weakref import WeakSet

from conduit_lab.core.errors import Overloaded
from conduit_lab.core.forking import in_forked_child
from conduit_lab.models.generation.generation_request import GenerationRequest
from conduit_lab.models.generation.prefill import (
    PREFILL_CHUNK_TOKENS,
    max_run_tokens,
    plan_prefill,
)
from conduit_lab.models.generation.prefix_cache import PrefixCache
from conduit_lab.models.generation.sequence_batch import SequenceBatch
from conduit_lab.runtime.decoding.decoder import Decoder

IDLE_SECONDS = 5.0  # without requests before the thread exits and the KV cache is freed
_EXIT_SECONDS = 2.0  # per scheduler, at interpreter exit

_log = logging.getLogger("conduit_lab")


class Scheduler:
    """Runs the requests of one decoder on its own thread, which exits when there are none.

    Each turn drops cancelled requests, prefills the next chunk of pending prompts and decodes one
    token for every running sequence. At most `decoder.rows` sequences run and `queue` wait;
    `submit` raises `Overloaded` beyond that. `ends` are the end-of-sequence tokens. Thread-safe.
    """

    def __init__(self, name: str, decoder: Decoder, ends: frozenset[int], queue: int) -> None:
        self.name = name
        self.queue = queue
        self._batch = SequenceBatch(name, decoder, ends)
        self._run_tokens = max_run_tokens(decoder)
        self._reset()
        _schedulers.add(self)

    def _reset(self) -> None:
        """Start without requests or thread, also in a forked child, where no thread survives."""
        self._changed = threading.Condition()  # guards the queue, the thread and the stop flag
        self._alive = threading.Lock()  # held by the thread until the KV cache is freed
        self._queued: deque[GenerationRequest] = deque()
        self._woken = self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def decoder(self) -> Decoder:
        """The decoder, whose rows only the scheduler's thread may change."""
        return self._batch.decoder

    @property
    def prefix_cache(self) -> PrefixCache:
        """The KV cache of recent prompts."""
        return self._batch.prefix_cache

    @property
    def running(self) -> int:
        """Sequences in prefill or decoding."""
        return len(self._batch)

    @property
    def waiting(self) -> int:
        """Sequences waiting for a row."""
        return len(self._queued)

    @property
    def here(self) -> bool:
        """Whether this is the scheduler's own thread, which must not wait for a request."""
        return threading.current_thread() is self._thread

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        """Queue all requests or none; raise `Overloaded` if the queue has no room for them."""
        with self._changed:
            rows = self.decoder.rows
            if self.waiting + len(requests) > self.queue + rows - self.running:
                raise Overloaded(
                    f"{self.name!r} expects at most {rows} running and {self.queue} queued "
                    f"sequences, got {len(requests)} more than its {self.running} running and "
                    f"{self.waiting} queued: retry later"
                )
            for request in requests:
                request.wake = self.wake
            self._queued.extend(requests)
            if self._thread is None:
                self._stopping = False
                name = f"generator {self.name}"
                self._thread = threading.Thread(target=self._live, name=name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def wake(self) -> None:
        """Drop cancelled requests at the next turn."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        """Cancel all requests and wait until the thread has exited."""
        thread = self._signal_stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _signal_stop(self) -> threading.Thread | None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
            return self._thread

    # On the thread

    def _live(self) -> None:
        with self._alive:  # the previous thread may still be freeing its KV cache
            error: BaseException | None = None
            try:
                with self.decoder.held():
                    while self._wait():
                        if self._woken:
                            self._drop_cancelled()
                        self._prefill()
                        self._batch.decode()
            except BaseException as problem:  # reported to all requests
                error = problem
            self.decoder.clear()
            if error is not None or self._stopping:
                self._abort(error)

    def _wait(self) -> bool:
        """Wait for requests; return False for the thread to exit."""
        if self.running and not self._stopping:
            return True
        with self._changed:
            while not (self._queued or self.running or self._stopping):
                if not self._changed.wait(IDLE_SECONDS) and not self._queued:
                    self._thread = None
                    return False
            return not self._stopping

    def _abort(self, error: BaseException | None) -> None:
        """End all requests."""
        with self._changed:
            left = [*self._batch.clear(), *self._queued]
            self._queued.clear()
            self._thread = None
        if error is not None and not left:
            _log.error("the scheduler of %r failed without a request", self.name, exc_info=error)
        for request in left:
            request.end("cancelled" if error is None else "error", error)

    def _drop_cancelled(self) -> None:
        self._woken = False
        with self._changed:
            dropped = [request for request in self._queued if request.cancelled]
            for request in dropped:
                self._queued.remove(request)
        for request in [*dropped, *self._batch.drop_cancelled()]:
            request.end("cancelled")

    def _prefill(self) -> None:
        """Prefill pending prompts: one chunk if sequences are running, else one per row."""
        batch = self._batch
        budget = limit = PREFILL_CHUNK_TOKENS
        if not batch.running:
            budget, limit = PREFILL_CHUNK_TOKENS * self.decoder.rows, self._run_tokens
        while budget > 0:
            if not batch.prefilling and not self._admit(limit):
                return
            budget -= batch.prefill()
            if self._woken:
                return

    def _admit(self, limit: int) -> bool:
        """Start the prefill of the next requests; return False without a request or a free row.

        A sequence that crosses a switch length comes before all queued ones.
        """
        batch = self._batch
        if batch.resume_crossing():
            return True
        with self._changed:
            pending = list(self._queued)[: batch.free_rows]
        if not pending:
            return False
        batch.share(pending[0])
        group = plan_prefill(pending, self.decoder, batch.prefix_cache, limit)
        with self._changed:
            for request in group.requests:
                self._queued.remove(request)
            batch.prefilling = list(group.requests)
        batch.start_prefill(group)
        return True


_schedulers: WeakSet[Scheduler] = WeakSet()


def _reset_all() -> None:
    for scheduler in list(_schedulers):
        scheduler.decoder.abandon()
        scheduler._batch.reset()
        scheduler._reset()


def _stop_all() -> None:
    """Stop the threads while they can still exit: interpreter shutdown freezes them."""
    for scheduler in list(_schedulers):
        thread = scheduler._signal_stop()
        if thread is not None:
            thread.join(_EXIT_SECONDS)


atexit.register(_stop_all)
in_forked_child(_reset_all)
