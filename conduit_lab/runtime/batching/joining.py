"""Joining: feeds of several callers as one run, once trials prove that batch rows are independent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from weakref import ref

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.rows.flow import INDEPENDENT, MIXED
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import Shared

log = logging.getLogger("conduit_lab")

ROWS = 256  # of one coalesced run
LONG = (
    200e-6  # seconds; a thread that waits for another to hand it an answer loses up to half of this
)
PROOFS = 8  # trials, whose answers together are compared with those alone
RELATIVE, ABSOLUTE = (
    1e-4,
    1e-5,
)  # how close the two must be; the second as a share of the answer's largest number
APART = 0.01  # relative; items that differ by less would hardly change each other's answers
STRANGE = (
    -8
)  # times the numbers of an item: any scale or extreme that the rows share becomes the stranger's

Item = tuple[dict[str, Array], int]  # feeds, and the rows in them

_making = threading.Lock()


class Joined:
    """Runs of one opened model, those of callers that ask at the same time joined along the batch axis."""

    def __init__(
        self, shared: Shared, most: int | None = None, layout: Layout | None = None
    ) -> None:
        self.shared = shared
        self._joiner = Joiner(shared, layout)
        self._batcher: Batcher[Item, list[Array]] = Batcher(
            display(shared.path), self._joiner, max_rows=most or ROWS
        )
        self.acall = self._batcher.acall  # `arun` for a call that is in no trace

    @classmethod
    def of(cls, shared: Shared, most: int | None = None, layout: Layout | None = None) -> Joined:
        """Return the one that everybody who shares the session uses; it joins `most` rows, by default 256."""
        with _making:
            known = shared.company() if shared.company is not None else None
            if not isinstance(known, Joined):
                known = cls(shared, most, layout)
                shared.company = ref(known)  # a weak one: a circle would keep the session in memory
            return known

    def run(self, feeds: dict[str, Array], rows: int) -> list[Array]:
        """Run now, or in company where others are running and a run is long enough for waiting to pay."""
        shared = self.shared
        if shared.running and self._joiner.possible and shared.seconds > LONG * shared.calls:
            with shared.told():
                return self._batcher.call((feeds, rows), rows, shared.options.timeout)
        return shared.run(feeds, rows)

    def together(self, items: Sequence[Item]) -> list[list[Array]]:
        """Return the outputs of one caller's items, in one run where that changes none."""
        return self._joiner(items)

    async def arun(self, feeds: dict[str, Array], rows: int) -> list[Array]:
        """Run from an event loop: here where that is short, else on a thread, in company where others ask too."""
        with self.shared.told():
            return await self._batcher.acall((feeds, rows), rows, self.shared.options.timeout)


class Joiner:
    """Computes several items in one run of `shared`.

    A graph whose operators mix rows (a mean over the batch, dynamic quantisation) is known from its
    dataflow and never joined. Any other is tried first: a trial runs the items together, with a
    stranger among them, and alone. Where the answers differ, nothing is joined from then on. Unless
    the dataflow proves that rows are independent, a trial counts only where the items and their
    answers differ, since equal rows show nothing.
    """

    def __init__(self, shared: Shared, layout: Layout | None = None) -> None:
        self._shared = shared
        self._layout = layout or Layout.of(shared)
        self.possible = self._layout.joins
        self._mixed: int | None = None  # what the dataflow says, once there was something to join
        self._proofs = 0

    def __call__(self, items: Sequence[Item]) -> list[list[Array]]:
        """Return the outputs of each item."""
        if len(items) == 1 or not self.possible or not self._may_join():
            return self._alone(items)
        tried = self._proofs >= PROOFS
        if (
            not tried
            and self._mixed != INDEPENDENT
            and not _differ([list(feeds.values()) for feeds, _ in items])
        ):
            return self._alone(items)
        try:
            feeds = self._feeds(items if tried else [*items, _stranger(items[-1])])
        except ValueError:  # some are longer than others, along another axis than the batch
            return self._grouped(items)
        return self._together(items, feeds) if tried else self._try(items, feeds)

    def _may_join(self) -> bool:
        """Ask the dataflow, the first time that there is something to join."""
        if self._mixed is None:
            self._mixed = self._layout.mixed()
            if self._mixed == MIXED:
                self.possible = False
                self._warn()
        return self.possible

    def _warn(self) -> None:
        log.warning(
            "%s: rows change each other's answers, so calls are not joined",
            display(self._shared.path),
        )

    def _alone(self, items: Sequence[Item]) -> list[list[Array]]:
        return [self._shared.run(feeds, rows) for feeds, rows in items]

    def _feeds(self, items: Sequence[Item]) -> dict[str, Array]:
        """Return the feeds of items as those of one run; raises `ValueError` for items of unequal length."""
        return self._layout.coalesce([feeds for feeds, _ in items])

    def _together(self, items: Sequence[Item], feeds: dict[str, Array]) -> list[list[Array]]:
        """Return each item's rows of one run on `feeds`, which begin with theirs."""
        return self._layout.split(
            self._shared.run(feeds, self._layout.rows(feeds)), [rows for _, rows in items]
        )

    def _grouped(self, items: Sequence[Item]) -> list[list[Array]]:
        """Return the outputs of items of unequal length, each joined with its like."""
        axes = dict(zip(self._layout.names, self._layout.inputs, strict=True))
        tails = [
            [
                (*array.shape[: axes[name]], *array.shape[(axes[name] or 0) + 1 :])
                for name, array in feeds.items()
            ]
            for feeds, _ in items
        ]
        answers: dict[int, list[Array]] = {}
        for _, same in groupby(
            sorted(range(len(items)), key=tails.__getitem__), key=tails.__getitem__
        ):
            numbers = list(same)
            answers.update(zip(numbers, self([items[i] for i in numbers]), strict=True))
        return [answers[i] for i in range(len(items))]

    def _try(self, items: Sequence[Item], feeds: dict[str, Array]) -> list[list[Array]]:
        """Return the answers that the items get alone, and compare those of one run on `feeds` with them."""
        alone = self._alone(items)
        if self._mixed != INDEPENDENT and not _differ(alone):
            return alone
        try:
            joined = self._together(items, feeds)
        except ModelInputError:  # of the stranger: the items were taken alone
            return alone
        if all(
            _close(a, b)
            for one, other in zip(alone, joined, strict=True)
            for a, b in zip(one, other, strict=True)
        ):
            self._proofs += 1
        else:
            self.possible = False
            self._warn()
        return alone


def _stranger(item: Item) -> Item:
    """Return an item that differs from another in the scale and the sign of its numbers."""
    feeds, rows = item
    return {
        name: array * array.dtype.type(STRANGE) if array.dtype.kind == "f" else array
        for name, array in feeds.items()
    }, rows


def _differ(items: Sequence[Sequence[Any]]) -> bool:
    """Return whether two of the items differ clearly, in finite numbers; empty ones do not."""
    first = next((item for item in items if all(len(array) for array in item)), None)
    if first is None:
        return False
    return any(
        any(_clearly(a, b) for a, b in zip(first, other, strict=True))
        for other in items
        if other is not first
    )


def _clearly(a: Any, b: Any) -> bool:
    """Return whether two tensors of finite numbers are further apart than rounding."""
    if isinstance(a, list):
        return any(_clearly(one, other) for one, other in zip(a, b, strict=False))
    if not isinstance(a, np.ndarray):  # a map of probabilities
        return _clearly(np.array(list(a.values())), np.array(list(b.values())))
    if not a.size or not b.size:
        return False
    if a.dtype.kind != "f" or a.shape != b.shape:
        return not np.array_equal(a, b)
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    return bool(finite and np.abs(a - b).max() > APART * np.abs(a).max())


def _close(alone: Any, joined: Any) -> bool:
    """Return whether two answers are equal, as far as kernels for other batch sizes round."""
    if isinstance(alone, list):
        return len(alone) == len(joined) and all(
            _close(a, b) for a, b in zip(alone, joined, strict=True)
        )
    if isinstance(alone, dict):
        return alone.keys() == joined.keys() and _close(
            *(np.array(list(answer.values())) for answer in (alone, joined))
        )
    if alone.shape != joined.shape or alone.dtype.kind != "f":
        return np.array_equal(alone, joined)
    finite = alone[np.isfinite(alone)]
    near = ABSOLUTE * float(
        np.abs(finite).max(initial=0.0)
    )  # of the answer's own size: it may be small everywhere
    return np.allclose(alone, joined, RELATIVE, near, equal_nan=True)
