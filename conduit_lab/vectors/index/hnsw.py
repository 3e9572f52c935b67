"""HNSW: a graph over the rows of a very large store, through faiss (the extra `[ann]`)."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import Any

import numpy as np

from conduit_lab.core import forking
from conduit_lab.core.errors import MissingExtra
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.index.blocks import block_slices
from conduit_lab.vectors.index.rows import VectorRows
from conduit_lab.vectors.index.scan import RowMask, top_rows
from conduit_lab.vectors.index.scoring import Queries

_LINKS = 16  # M: links per row; faiss keeps twice as many in the lowest layer
_EF_CONSTRUCTION = 80
_EF_SEARCH = (64, 128, 256)  # the first value that finds enough neighbours is used
_TRAINING_ROWS = 16_384  # sample for the range of the 8-bit codes
_SLICE_ROWS = 64  # added at once; searches meanwhile do not use the graph
_PROBES, _NEIGHBOURS, _RECALL = 48, 10, 0.98  # rows, neighbours, share to find
# Of the rows that a mask must keep: a graph search visits the nearest rows, kept or not.
_MIN_KEPT_SHARE = 0.9


class HnswGraph:
    """A hierarchical navigable small world (Malkov and Yashunin 2018) of the rows' 8-bit codes.

    It finds candidates, which are rescored. Rows added later are linked by `extend`; `replaced`
    rows are candidates of every search. `width` is 0 until the graph is built, or if it does not
    find the neighbours of the store's own rows. Not for manhattan. Raises `MissingExtra` without
    faiss.
    """

    begin = 0

    def __init__(self, rows: VectorRows) -> None:
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
        """Approximate bytes in memory: codes, links and the bookkeeping of faiss."""
        return len(self) * (self._rows.dimension + 4 * 2 * _LINKS + 24)

    def extend(self, end: int, stop: threading.Event) -> None:
        """Link the rows up to `end`; measure the width the first time. Return early on `stop`."""
        faiss = _faiss()
        faiss.omp_set_num_threads(1)  # for this thread; leaves the other cores to searches
        first = self._faiss is None
        if first:
            metric = faiss.METRIC_L2 if self._rows.metric == "l2" else faiss.METRIC_INNER_PRODUCT
            bits, dimension = faiss.ScalarQuantizer.QT_8bit, self._rows.dimension
            graph = faiss.IndexHNSWSQ(dimension, bits, _LINKS, metric)
            graph.hnsw.efConstruction = _EF_CONSTRUCTION
            graph.train(self._rows.prepared(self._rows.sample(end, _TRAINING_ROWS)))
            self._faiss = graph
        for chunk in block_slices(len(self), end, _SLICE_ROWS):
            if stop.is_set():
                return
            with self._lock:
                self._faiss.add(self._rows.prepared(chunk))
                self._linked = chunk.stop
        if first:
            self.width = self._measured()

    def replace(self, at: IntArray) -> None:
        """Record that these rows no longer match their links."""
        self.replaced = np.union1d(self.replaced, at)

    def search(
        self, queries: Queries, top_k: int, kept: RowMask
    ) -> tuple[list[IntArray], int] | None:
        """Return the candidates of each query, ascending, and the number of linked rows.

        Returns None if a scan is needed: while rows are being linked, or if the mask keeps too few
        of all rows or of these candidates.
        """
        if not self.width or kept.count < _MIN_KEPT_SHARE * kept.n:
            return None
        near = self._nearest(queries, top_k, self.width)
        if near is None:
            return None
        nearest, linked = near
        mask = kept.mask
        if mask is None:
            found = [row[row >= 0] for row in nearest]
        else:
            found = [row[(row >= 0) & mask[row]] for row in nearest]
        if any(len(row) < min(top_k, kept.scanned) for row in found):
            return None
        replaced = self.replaced[self.replaced < linked]
        if mask is not None:
            replaced = replaced[mask[replaced]]
        return [np.union1d(row, replaced) for row in found], linked

    def _nearest(self, queries: Queries, top_k: int, width: int) -> tuple[IntArray, int] | None:
        if not self._lock.acquire(blocking=False):
            return None
        try:
            many = 2 * top_k + 16  # ordered by 8-bit codes, so get more than top_k
            parameters = _faiss().SearchParametersHNSW(efSearch=max(width, many))
            return self._faiss.search(queries.prepared, many, params=parameters)[1], self._linked
        finally:
            self._lock.release()

    def _measured(self) -> int:
        """Return the first efSearch that finds the neighbours of some rows, or 0."""
        probes = self._rows.sample(len(self), _PROBES)
        queries = Queries(self._rows.get(probes), self._rows.metric)
        every = RowMask(None, len(self), self._rows.outliers[self._rows.outliers < len(self)])
        exact = self._rows.bound(queries)
        true = top_rows(every.parts(exact, 0, len(self), len(probes)), exact, _NEIGHBOURS, every)
        assert true is not None
        for width in _EF_SEARCH:
            near = self._nearest(queries, _NEIGHBOURS, width)
            if near is None:
                continue
            hits = [
                np.isin(rows, row).sum() for (rows, _), row in zip(true.found, near[0], strict=True)
            ]
            if sum(hits) >= _RECALL * _NEIGHBOURS * len(probes):
                return width
        return 0


def available() -> bool:
    """Return whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


def _faiss() -> Any:
    """Return faiss, untyped: its own type stubs are incomplete."""
    return importlib.import_module("faiss")
