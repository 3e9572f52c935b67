"""Joining: the feeds of several callers as one run, once it is proved that company does not change an answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import groupby
from weakref import ref

import numpy as np

from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.runtime.batching import Batcher
from conduit_lab.runtime.cache import Shared

log = logging.getLogger("conduit_lab")

ROWS = 256  # of one run in company
LONG = 200e-6  # seconds; a thread that waits for another to hand it an answer loses up to half of this
PROOFS = 8  # joined runs whose answers are compared with those alone
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # how close the two must be

Item = tuple[dict[str, Array], int]  # feeds, and the rows in them

_making = threading.Lock()


class Joined:
    """Runs of one opened model, those of callers that ask at the same time joined along the batch axis."""

    def __init__(self, shared: Shared, most: int | None = None) -> None:
        self.shared = shared
        self._joiner = Joiner(shared)
        self._batcher: Batcher[Item, list[Array]] = Batcher(display(shared.path), self._joiner, max_rows=most or ROWS)
        self.acall = self._batcher.acall  # `arun` for a call that is in no trace

    @classmethod
    def of(cls, shared: Shared, most: int | None = None) -> Joined:
        """Return the one that everybody who shares the session uses; it joins `most` rows, by default 256."""
        with _making:
            known = shared.company() if shared.company is not None else None
            if not isinstance(known, Joined):
                known = cls(shared, most)
                shared.company = ref(known)  # a weak one: a circle would keep the session in memory
            return known

    def run(self, feeds: dict[str, Array], rows: int) -> list[Array]:
        """Run now, or in company where others are running and a run is long enough for waiting to pay."""
        shared = self.shared
        if shared.running and self._joiner.possible and shared.seconds > LONG * shared.calls:
            with shared.told():
                return self._batcher.call((feeds, rows), rows, shared.options.timeout)
        return shared.run(feeds, rows)

    async def arun(self, feeds: dict[str, Array], rows: int) -> list[Array]:
        """Run from an event loop: here where that is short, else on a thread, in company where others ask too."""
        with self.shared.told():
            return await self._batcher.acall((feeds, rows), rows, self.shared.options.timeout)


class Joiner:
    """Computes several items in one run of `shared`.

    The first runs in company are made alone too: where the answers differ, rows are not independent in this graph (it
    takes a mean over the batch, or quantises all rows by one scale), and nothing is joined from then on.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        axes = {spec.shape[:1] for spec in (*shared.inputs, *shared.outputs)}
        self.possible = len(axes) == 1 and all(isinstance(axis, str) for axis in next(iter(axes))) and axes != {()}
        self._proofs = 0

    def __call__(self, items: Sequence[Item]) -> list[list[Array]]:
        """Return the outputs of each item."""
        if len(items) == 1 or not self.possible:
            return [self._shared.run(feeds, rows) for feeds, rows in items]
        try:
            feeds = {name: np.concatenate([item[0][name] for item in items]) for name in items[0][0]}
        except ValueError:  # some are longer than others, along another axis than the batch
            return self._grouped(items)
        return self._split(items, self._shared.run(feeds, sum(rows for _, rows in items)))

    def _grouped(self, items: Sequence[Item]) -> list[list[Array]]:
        """Return the outputs of items of unequal length, each joined with its like."""
        tails = [[array.shape[1:] for array in feeds.values()] for feeds, _ in items]
        answers: dict[int, list[Array]] = {}
        for _, same in groupby(sorted(range(len(items)), key=tails.__getitem__), key=tails.__getitem__):
            numbers = list(same)
            answers.update(zip(numbers, self([items[i] for i in numbers]), strict=True))
        return [answers[i] for i in range(len(items))]

    def _split(self, items: Sequence[Item], outputs: Sequence[Array]) -> list[list[Array]]:
        """Return each item's rows of the outputs."""
        answers = []
        start = 0
        for _, rows in items:
            answers.append([output[start : start + rows] for output in outputs])
            start += rows
        return answers if self._proofs >= PROOFS else self._prove(items, answers)

    def _prove(self, items: Sequence[Item], joined: list[list[Array]]) -> list[list[Array]]:
        """Return the answers that the items get alone, and compare those in company with them."""
        alone = [self._shared.run(*item) for item in items]
        if all(_close(a, b) for one, other in zip(alone, joined, strict=True) for a, b in zip(one, other, strict=True)):
            self._proofs += 1
        else:
            self.possible = False
            log.warning("%s: rows change each other's answers, so calls are not joined", display(self._shared.path))
        return alone


def _close(alone: Array, joined: Array) -> bool:
    if alone.shape != joined.shape or alone.dtype.kind != "f":
        return np.array_equal(alone, joined)
    return np.allclose(alone, joined, RELATIVE, ABSOLUTE, equal_nan=True)
