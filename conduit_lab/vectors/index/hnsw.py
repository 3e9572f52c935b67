"""Graph: HNSW over the rows of a very large store, through faiss (the extra `[ann]`)."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import Any

import numpy as np

from conduit_lab.core import forking
from conduit_lab.core.errors import MissingExtra
from conduit_lab.vectors.index.blocks import chunks
from conduit_lab.vectors.index.bound import IntArray
from conduit_lab.vectors.index.rows import Rows
from conduit_lab.vectors.index.scan import Kept, best
from conduit_lab.vectors.index.scoring import Queries

_LINKS = 16  # of a row in the graph; faiss keeps twice as many in the lowest layer
_EFFORT = 80  # candidates looked at for a row's links
_WIDTHS = (64, 128, 256)  # candidates looked at in a search: the first that finds enough
_TRAINED_ON = 16_384  # rows that the range of the 8-bit codes is taken of
_SLICE = 64  # rows that are added at once; a search meanwhile does without the graph
_ASKED, _NEIGHBOURS, _RECALL = (
    48,
    10,
    0.98,
)  # rows whose neighbours must be found, and the share of them
_KEPT = (
    0.9  # the share of rows that a mask must keep: a graph walks to the nearest rows, kept or not
)


class Graph:
    """A hierarchical navigable small world (Malkov and Yashunin 2018) of the rows' 8-bit codes.

    It finds candidates, which are scored in float32. Rows that were added since are linked by
    `extend`; those that were `replaced` are candidates of every search. `width` is 0 until it is
    built, and where it does not find the neighbours of the store's own rows. Not for manhattan.
    Raises `MissingExtra` without faiss.
    """

    begin = 0

    def __init__(self, rows: Rows) -> None:
        if not available():
            raise MissingExtra("faiss-cpu", "ann", "an HNSW graph")
        self._rows = rows
        self._faiss: Any = None
        self._linked = 0
        self._lock = threading.Lock()  # faiss cannot search while it adds
        forking.free_in_child(self, "_lock")
        self.replaced = np.empty(0, np.int64)
        self.width = 0

    def __len__(self) -> int:
        return self._linked

    @property
    def nbytes(self) -> int:
        """Bytes in memory, nearly: codes, links and what faiss keeps beside them."""
        return len(self) * (self._rows.dimension + 4 * 2 * _LINKS + 24)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Link the rows up to `end`, and the first time measure the width; give up when `stop` is set."""
        faiss = _faiss()
        faiss.omp_set_num_threads(1)  # of this thread: the other cores belong to searches
        first = self._faiss is None
        if first:
            metric = faiss.METRIC_L2 if self._rows.metric == "l2" else faiss.METRIC_INNER_PRODUCT
            made = faiss.IndexHNSWSQ(
                self._rows.dimension, faiss.ScalarQuantizer.QT_8bit, _LINKS, metric
            )
            made.hnsw.efConstruction = _EFFORT
            made.train(self._rows.near(self._rows.sample(end, _TRAINED_ON)))
            self._faiss = made
        for chunk in chunks(len(self), end, _SLICE):
            if stop.is_set():
                return
            with self._lock:
                self._faiss.add(self._rows.near(chunk))
                self._linked = chunk.stop
        if first:
            self.width = self._measured()

    def replace(self, at: IntArray) -> None:
        """Remember that these rows are not what their links say."""
        self.replaced = np.union1d(self.replaced, at)

    def search(self, queries: Queries, top_k: int, kept: Kept) -> tuple[list[IntArray], int] | None:
        """Return candidates for each query, ascending, and how many rows were linked.

        None where a scan must be asked: while rows are linked, when the mask leaves few rows, or
        has left too few here.
        """
        if not self.width or kept.count < _KEPT * kept.n:
            return None
        near = self._nearest(queries, top_k, self.width)
        if near is None:
            return None
        nearest, linked = near
        found = [
            row[row >= 0] if kept.mask is None else row[(row >= 0) & kept.mask[row]]
            for row in nearest
        ]
        if any(len(row) < min(top_k, kept.scanned) for row in found):
            return None
        replaced = self.replaced[self.replaced < linked]
        if kept.mask is not None:
            replaced = replaced[kept.mask[replaced]]
        return [np.union1d(row, replaced) for row in found], linked

    def _nearest(self, queries: Queries, top_k: int, width: int) -> tuple[IntArray, int] | None:
        if not self._lock.acquire(blocking=False):
            return None
        try:
            many = 2 * top_k + 16  # the order is that of 8-bit codes
            parameters = _faiss().SearchParametersHNSW(efSearch=max(width, many))
            return self._faiss.search(queries.near, many, params=parameters)[1], self._linked
        finally:
            self._lock.release()

    def _measured(self) -> int:
        """Return the first width that finds the neighbours of some rows, or 0."""
        asked = self._rows.sample(len(self), _ASKED)
        queries = Queries(self._rows.get(asked), self._rows.metric)
        every = Kept(None, len(self), self._rows.odd[self._rows.odd < len(self)])
        exact = self._rows.bound(queries)
        true = best(every.parts(exact, 0, len(self), len(asked)), exact, _NEIGHBOURS, every)
        assert true is not None
        for width in _WIDTHS:
            near = self._nearest(queries, _NEIGHBOURS, width)
            if near is None:
                continue
            hits = [
                np.isin(rows, row).sum() for (rows, _), row in zip(true.found, near[0], strict=True)
            ]
            if sum(hits) >= _RECALL * _NEIGHBOURS * len(asked):
                return width
        return 0


def available() -> bool:
    """Tell whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def _faiss() -> Any:
    """Return faiss, whose own type stubs lack half of it."""
    return importlib.import_module("faiss")
