"""ModelBatcher: the runs of one opened model, with concurrent calls coalesced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import ref

from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.batching.coalescer import Coalescer, FeedItem
from conduit_lab.runtime.batching.unbatched import batcher_of
from conduit_lab.runtime.batching.waiters import CallbackWaiter
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import Shared

MAX_BATCH_ROWS = 256  # per batch of coalesced calls
# waking a waiting thread costs up to half of this
LONG_RUN_SECONDS = 200e-6

_LAST_DEVICES = ("cpu", "numpy")  # no other device replaces these
_creating = threading.Lock()


class ModelBatcher:
    """Runs of one opened model; concurrent calls are coalesced along the batch axis."""

    def __init__(
        self, shared: Shared, max_rows: int | None = None, layout: Layout | None = None
    ) -> None:
        self.shared = shared
        self._coalescer = Coalescer(shared, layout)
        self._batcher: Batcher[FeedItem, list[Array]] = batcher_of(
            shared, display(shared.path), self._coalescer, max_rows or MAX_BATCH_ROWS
        )
        self.acall = self._batcher.acall  # `arun` outside a trace

    @classmethod
    def of(
        cls, shared: Shared, max_rows: int | None = None, layout: Layout | None = None
    ) -> ModelBatcher:
        """Return the batcher that all users of a session share; `max_rows` defaults to 256."""
        with _creating:
            known = shared.batcher() if shared.batcher is not None else None
            if not isinstance(known, ModelBatcher):
                known = cls(shared, max_rows, layout)
                shared.batcher = ref(known)  # weak: a cycle would keep the session in memory
            return known

    @property
    def coalesces(self) -> bool:
        """Whether concurrent calls share a run; False without a free batch axis."""
        return self._coalescer.possible

    @property
    def is_settled(self) -> bool:
        """Whether the model is loaded here and can run on no device but its own."""
        shared = self.shared
        return shared.state in _LAST_DEVICES and not shared.note and not shared.is_remote

    @property
    def max_rows(self) -> int:
        """The maximum number of rows per batch of coalesced calls."""
        return self._batcher.max_rows

    @property
    def waiting(self) -> int:
        """Rows in the queue of long runs."""
        return self._batcher.waiting

    @property
    def run_seconds(self) -> dict[int, float]:
        """Measured seconds per run by number of rows; see `Batcher.run_seconds`."""
        return self._batcher.run_seconds

    def run(self, feeds: dict[str, Array], rows: int) -> list[Array]:
        """Run immediately, or coalesced with other calls if runs are long enough."""
        shared = self.shared
        if (
            shared.active
            and self._coalescer.possible
            and shared.seconds > LONG_RUN_SECONDS * shared.calls
        ):
            with shared.recorded():
                return self._batcher.call((feeds, rows), rows, shared.options.timeout)
        return shared.run(feeds, rows)

    def run_batch(self, items: Sequence[FeedItem]) -> list[list[Array]]:
        """Return the outputs of one caller's items, in one run if that does not change them."""
        return self._coalescer(items)

    def submit(
        self,
        item: FeedItem,
        timeout: float | None,
        answer: Callable[[list[Array]], Any],
        done: Callable[[Any, BaseException | None], None],
        caller: int,
    ) -> Callable[[], None]:
        """Run without a task, like `Batcher.submit`; return the function that cancels the run.

        `done` receives `answer(outputs)`, or the error.
        """

        def end(waiter: CallbackWaiter[FeedItem, list[Array]]) -> None:
            value = None
            if (error := waiter.error) is None:
                try:
                    value = answer(waiter.answer)
                except Exception as problem:
                    error = problem
            done(value, error)

        waiter = self._batcher.submit(item, item[1], timeout, end, caller)
        return partial(self._batcher.withdraw, waiter)

    async def arun(self, feeds: dict[str, Array], rows: int) -> list[Array]:
        """Run from an event loop, coalesced with other calls; a long run uses a thread."""
        with self.shared.recorded():
            return await self._batcher.acall((feeds, rows), rows, self.shared.options.timeout)
