"""UnbatchedRuns: a batcher that runs each call at once, for a graph in another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio.to_thread

from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.sessions.cache import Shared

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class UnbatchedRuns(Batcher[_Item, _Answer]):
    """Sends calls to the other process concurrently: its replicas share and batch them."""

    def call(self, item: _Item, rows: int = 1, timeout: float | None = None) -> _Answer:
        """Return the answer to `item`; blocks the calling thread."""
        return self._run([item])[0]

    async def acall(
        self,
        item: _Item,
        rows: int = 1,
        timeout: float | None = None,  # noqa: ASYNC109 - as `call`
    ) -> _Answer:
        """Return the answer to `item` from a thread; the loop stays free."""
        return await anyio.to_thread.run_sync(self.call, item)


def batcher_of(
    shared: Shared,
    name: str,
    run: Callable[[Sequence[_Item]], Sequence[_Answer]],
    max_rows: int = 256,
) -> Batcher[_Item, _Answer]:
    """Return the batcher for runs of `shared`."""
    kind: type[Batcher[_Item, _Answer]] = UnbatchedRuns if shared.is_remote else Batcher
    return kind(name, run, max_rows=max_rows)
