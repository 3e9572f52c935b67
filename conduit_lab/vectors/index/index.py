"""Index: the rows of a store in memory, and the plans that search them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.arrays import BoolArray, IntArray
from conduit_lab.vectors.index.accelerators import Accelerators
from conduit_lab.vectors.index.blocks import block_slices, is_mapped
from conduit_lab.vectors.index.candidates import RankedRows
from conduit_lab.vectors.index.codes import Int8Codes
from conduit_lab.vectors.index.rows import Float64Bound, VectorRows
from conduit_lab.vectors.index.scan import RowMask, ScanParts, score_all, top_rows
from conduit_lab.vectors.index.scoring import METRICS, Queries

__all__ = ["METRICS", "Index", "IndexResult"]

_EXACT_ROWS = 1_024  # up to this many kept rows are scanned without codes
_RARE = 10  # rows of a mask that keeps at most one in this many are gathered, not scanned by codes
_UNBOUNDED_PAIRS = 64  # up to this many (query, row) pairs are scored without bounds
_BATCH_QUERIES = 64  # per product
# Up to this `top_k`, queries are batched: a chunk has a few thousand rows.
_MAX_BATCHED_TOP_K = 1_000
_OUTLIER_ROWS = 1_024  # outliers scored together
_MIN_ROWS_PER_RESULT = 512  # kept rows per result; with fewer, 1-bit codes gain nothing


class IndexResult(NamedTuple):
    """The rows and scores of each query, best first, and a description of the executed plan."""

    found: list[RankedRows]
    plans: list[str]

    @property
    def plan(self) -> str:
        """The distinct plans of all queries."""
        return "; ".join(dict.fromkeys(self.plans))


class Index:
    """Vectors float32 `[n, dimension]` by row number, in insertion order, and the search over them.

    `metric` is one of `METRICS`. `vectors` are the rows of a snapshot, used without copying and
    possibly mapped from a file; `codes` are the arrays that `codes()` returned for it. Not
    thread-safe: the caller holds a lock.

    Few rows are scanned in float32. For more rows a thread builds 8-bit codes, which give the same
    results; for very many rows, 1-bit codes, if they find the neighbours of the store's own rows.
    Rows without codes are scanned in float32, so searches are always correct.
    """

    def __init__(
        self,
        dimension: int,
        metric: str = "cosine",
        *,
        vectors: FloatArray | None = None,
        codes: Mapping[str, Array] | None = None,
    ) -> None:
        saved, mapped = codes or {}, vectors is not None and is_mapped(vectors)
        self.metric = metric
        self._rows = VectorRows(dimension, metric, vectors, saved.get("lengths"))
        self._accelerators = Accelerators(self._rows, saved, mapped=mapped)
        self._accelerators.update()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes, excluding spare capacity and mapped files."""
        return self._rows.nbytes + self._accelerators.nbytes

    def append(self, vectors: FloatArray) -> None:
        """Add copies of finite `vectors` `[m, dimension]` as the next rows."""
        self._rows.append(vectors)
        self._accelerators.update()

    def replace(self, at: IntArray, vectors: FloatArray) -> None:
        """Overwrite the rows `at` with copies of `vectors` `[len(at), dimension]`."""
        self._rows.replace(at, vectors)
        self._accelerators.replaced(at)

    def compact(self, live: BoolArray) -> None:
        """Drop every row that is not `live` `[n]`, and move the others together in order."""
        self._accelerators.keep(live)
        self._rows.keep(live)
        self._accelerators.update()

    def take(self, at: IntArray) -> FloatArray:
        """Return an exact copy of the rows `at`."""
        return cast(FloatArray, self._rows.vectors.take(at))

    def codes(self) -> dict[str, Array]:
        """Return the arrays with which a snapshot opens without reading its vectors."""
        self._accelerators.wait()
        lengths = self._rows.lengths.take(np.arange(len(self)))
        return {"lengths": lengths, **self._accelerators.save()}

    def wait(self) -> None:
        """Wait for all background builds."""
        self._accelerators.wait_for_graph()

    def close(self) -> None:
        """Cancel background builds."""
        self._accelerators.close()

    def search(
        self, queries: FloatArray, top_k: int, keep: BoolArray | None = None, *, exact: bool = False
    ) -> IndexResult:
        """Return the best `top_k` rows for each of `queries` `[q, dimension]`, ties by row.

        Only rows selected by `keep` `[n]` are returned, all of them if there are fewer. `exact`
        compares every row in float32.
        """
        self._accelerators.update()
        outliers = self._rows.outliers
        kept = RowMask(keep, self._rows.vectors.count, outliers)
        exact = exact or kept.count <= _EXACT_ROWS
        if not len(outliers):
            return self._search(queries, top_k, kept, exact)
        # Float32 results of outliers are discarded, so suppress their overflow warnings.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._search(queries, top_k, kept, exact)

    def _search(self, vectors: FloatArray, top_k: int, kept: RowMask, exact: bool) -> IndexResult:
        size = _BATCH_QUERIES if top_k <= _MAX_BATCHED_TOP_K else 1
        if 0 < len(vectors) <= size:
            return self._batch(vectors, top_k, kept, exact)
        result = IndexResult([], [])
        for begin in range(0, len(vectors), size):
            part = self._batch(vectors[begin : begin + size], top_k, kept, exact)
            result.found.extend(part.found)
            result.plans.extend(part.plans)
        return result

    def _batch(self, vectors: FloatArray, top_k: int, kept: RowMask, exact: bool) -> IndexResult:
        queries = Queries(vectors, self.metric)
        outliers = queries.outliers
        if outliers is not None and not outliers.all():
            # The other queries still use codes.
            usual = self._batch(vectors[~outliers], top_k, kept, exact)
            odd = self._batch(vectors[outliers], top_k, kept, exact)
            place = np.argsort(np.argsort(outliers, kind="stable")).tolist()
            found, plans = usual.found + odd.found, usual.plans + odd.plans
            return IndexResult([found[i] for i in place], [plans[i] for i in place])
        result = None
        if not exact and outliers is None:
            if self._accelerators.graph is not None:
                result = self._by_graph(queries, top_k, kept)
            if result is None and self._accelerators.codes is not None:
                result = self._by_codes(queries, top_k, kept)
        return self._exact(queries, top_k, kept) if result is None else result

    def _exact(self, queries: Queries, top_k: int, kept: RowMask) -> IndexResult:
        rows, count = self._rows, len(queries.vectors)
        plans = [f"exact scan of {kept.words}"] * count
        if kept.count * count <= _UNBOUNDED_PAIRS:
            return IndexResult(score_all(kept.rows(), rows, queries, top_k), plans)
        bound = rows.bound(queries)
        parts = kept.parts(bound, 0, rows.vectors.count, count)
        if len(kept.outliers):
            parts += self._outliers(queries, kept)
        best = top_rows(parts, bound, top_k, kept)
        return IndexResult([] if best is None else best.found, plans)

    def _by_codes(self, queries: Queries, top_k: int, kept: RowMask) -> IndexResult | None:
        """Search with codes, and rows without codes in float32; None if that gains nothing."""
        codes, count = self._accelerators.codes, len(queries.vectors)
        assert codes is not None
        end, coded = self._rows.vectors.count, len(codes)
        plan = f"{codes.name} scan of {kept.words}{_new_rows(end - coded)}"
        near = self._rows.bound(queries)
        rest = kept.parts(near, coded, end, count)
        if len(kept.outliers):
            rest += self._outliers(queries, kept)
        if isinstance(codes, Int8Codes):
            if kept.scanned * _RARE <= kept.n:
                return None
            bound = codes.bound(queries)
            parts: ScanParts = [(bound, part) for part in codes.slices(count)]
            best = top_rows(parts + rest, near, top_k, kept, kept.count // 8)
            return None if best is None else IndexResult(best.found, [plan] * count)
        if top_k * _MIN_ROWS_PER_RESULT > kept.count:
            return None
        parts = kept.parts(codes.bound(queries), 0, coded, count)
        likely = top_rows(parts + rest, near, top_k, kept, kept.count // 16)
        if likely is None:
            return None
        plans = [f"{plan}, {rescored:,} rescored" for rescored in likely.rescored]
        return IndexResult(likely.found, plans)

    def _by_graph(self, queries: Queries, top_k: int, kept: RowMask) -> IndexResult | None:
        """Search with the graph, and unlinked rows in float32; None if the graph cannot be used."""
        graph = self._accelerators.graph
        assert graph is not None
        candidates = graph.search(queries, top_k, kept)
        if candidates is None:
            return None
        each, linked = candidates
        found: list[RankedRows] = []
        for query, near in zip(queries.each(), each, strict=True):
            bound = self._rows.bound(query)
            parts: ScanParts = [(bound, near), *kept.parts(bound, linked, len(self), 1)]
            if len(kept.outliers):
                parts += self._outliers(query, kept)
            best = top_rows(parts, bound, top_k, kept)
            found += [] if best is None else best.found
        new = len(self) - linked + len(graph.replaced)
        plan = f"HNSW search of {kept.words}{_new_rows(new)}"
        return IndexResult(found, [plan] * len(queries))

    def _outliers(self, queries: Queries, kept: RowMask) -> ScanParts:
        """Return the kept rows that are outliers, to be scored individually."""
        bound, rows = Float64Bound(self._rows, queries), kept.outliers
        return [(bound, rows[here]) for here in block_slices(0, len(rows), _OUTLIER_ROWS)]


def _new_rows(count: int) -> str:
    """Return the plan's words for rows not yet in the codes or graph."""
    return f" and {count:,} new one{'s' * (count != 1)}" if count > 0 else ""
