"""Index: the rows of a store in memory, and the plans that search them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.index.blocks import mapped
from conduit_lab.vectors.index.bound import BoolArray, IntArray
from conduit_lab.vectors.index.candidates import Found
from conduit_lab.vectors.index.codes import Int8
from conduit_lab.vectors.index.derived import Derived
from conduit_lab.vectors.index.rows import Rows
from conduit_lab.vectors.index.scan import Kept, Parts, all_scored, best
from conduit_lab.vectors.index.scoring import METRICS, Queries

__all__ = ["METRICS", "Answer", "Index"]

_FEW = 1_024  # rows that are scanned without codes
_RARE = 10  # and one row in so many, which are copied out sooner than all codes are multiplied
_FEWEST = 64  # pairs of a query and a row that are scored sooner than bounded
_TOGETHER = 64  # queries of one product
_SHALLOW = 1_000  # the greatest `top_k` of queries that go together: a chunk of theirs is a few thousand rows
_DEEP = 512  # a 1-bit scan looks for one row in so many at most


class Answer(NamedTuple):
    """For each query the rows and their scores, best first; and in words how they were found."""

    found: list[Found]
    plan: str


class Index:
    """Vectors float32 `[n, dimension]` by row number, in the order of adding, and the search over them.

    `metric` is one of `METRICS`. `vectors` are the rows of a snapshot, used as they are and perhaps mapped from a
    file; `codes` is what `codes()` gave when it was written. Not safe for threads: the caller's lock is.

    Few rows are scanned in float32. For more, a thread makes 8-bit codes, which give the same answers; for very many
    1-bit codes, if they find the neighbours of the store's own rows. Rows without codes are scanned in float32, so a
    search is right at every moment.
    """

    def __init__(
        self,
        dimension: int,
        metric: str = "cosine",
        *,
        vectors: FloatArray | None = None,
        codes: Mapping[str, Array] | None = None,
    ) -> None:
        saved = codes or {}
        self.metric = metric
        self._rows = Rows(dimension, metric, vectors, saved.get("lengths"))
        self._derived = Derived(self._rows, saved, mapped=vectors is not None and mapped(vectors))
        self._derived.update()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, without room for growth and what is mapped from a file."""
        return self._rows.nbytes + self._derived.nbytes

    def append(self, vectors: FloatArray) -> None:
        """Add copies of finite `vectors` `[m, dimension]` as the next rows."""
        self._rows.append(vectors)
        self._derived.update()

    def replace(self, at: IntArray, vectors: FloatArray) -> None:
        """Overwrite the rows `at` with copies of `vectors` `[len(at), dimension]`."""
        self._rows.replace(at, vectors)
        self._derived.replaced(at)

    def compact(self, alive: BoolArray) -> None:
        """Drop every row that is not `alive` `[n]`; the others close up in their order."""
        self._derived.keep(alive)
        self._rows.keep(alive)
        self._derived.update()

    def take(self, at: IntArray) -> FloatArray:
        """Return a copy of the rows `at`, bit for bit as they were given."""
        return cast(FloatArray, self._rows.vectors.take(at))

    def codes(self) -> dict[str, Array]:
        """Return what a snapshot keeps beside the vectors, so that it opens without reading them."""
        self._derived.wait()
        return {"lengths": self._rows.lengths.take(np.arange(len(self))), **self._derived.save()}

    def wait(self) -> None:
        """Wait until nothing is made in the background any more."""
        self._derived.wait_for_graph()

    def close(self) -> None:
        """End what runs in the background."""
        self._derived.close()

    def search(self, queries: FloatArray, top_k: int, keep: BoolArray | None = None, *, exact: bool = False) -> Answer:
        """Return the best `top_k` rows for each of `queries` `[q, dimension]`, ties in the order of adding.

        Only rows that `keep` `[n]` names, all of them where they are fewer. `exact` asks for every row's float32.
        """
        self._derived.update()
        kept = Kept(keep, len(self))
        found: list[Found] = []
        plan = ""
        together = _TOGETHER if top_k <= _SHALLOW else 1
        for begin in range(0, len(queries), together):
            some = Queries(queries[begin : begin + together], self.metric)
            more, plan = self._planned(some, top_k, kept, exact or kept.count <= _FEW)
            found += more
        return Answer(found, plan)

    def _planned(self, queries: Queries, top_k: int, kept: Kept, exact: bool) -> tuple[list[Found], str]:
        if not exact and self._rows.tame(queries):
            found = self._linked(queries, top_k, kept) or self._coded(queries, top_k, kept)
            if found is not None:
                return found
        return self._exact(queries, top_k, kept)

    def _exact(self, queries: Queries, top_k: int, kept: Kept) -> tuple[list[Found], str]:
        plan = f"exact scan of {kept}"
        if kept.count * len(queries) <= _FEWEST:
            at = np.arange(len(self)) if kept.mask is None else np.flatnonzero(kept.mask)
            return all_scored(at, self._rows, queries, top_k), plan
        near = self._rows.bound(queries)
        exact = best(kept.parts(near, 0, len(self), len(queries)), near, top_k, kept)
        return ([] if exact is None else exact.found), plan

    def _coded(self, queries: Queries, top_k: int, kept: Kept) -> tuple[list[Found], str] | None:
        """Search with codes, and without them what has none; None where that is no gain."""
        codes = self._derived.codes
        if codes is None:
            return None
        new = f" and {len(self) - len(codes):,} new ones" if len(self) > len(codes) else ""
        plan = f"{codes.name} scan of {kept}{new}"
        near = self._rows.bound(queries)
        rest = kept.parts(near, len(codes), len(self), len(queries))
        if isinstance(codes, Int8):
            if kept.count * _RARE <= kept.n:
                return None
            bound = codes.bound(queries)
            parts: Parts = [(bound, part) for part in codes.slices(len(queries))]
            sure = best(parts + rest, near, top_k, kept, kept.count // 8)
            return None if sure is None else (sure.found, plan)
        if top_k * _DEEP > kept.count:
            return None
        parts = kept.parts(codes.bound(queries), 0, len(codes), len(queries))
        likely = best(parts + rest, near, top_k, kept, kept.count // 16)
        return None if likely is None else (likely.found, f"{plan}, {likely.looked:,} rescored")

    def _linked(self, queries: Queries, top_k: int, kept: Kept) -> tuple[list[Found], str] | None:
        """Search with the graph, and without it what is not in it; None where it cannot say."""
        graph = self._derived.graph
        near = None if graph is None else graph.search(queries, top_k, kept)
        if graph is None or near is None:
            return None
        each, linked = near
        found: list[Found] = []
        for one, candidates in zip(queries.each(), each, strict=True):
            bound = self._rows.bound(one)
            parts = [(bound, candidates), *kept.parts(bound, linked, len(self), 1)]
            exact = best(parts, bound, top_k, kept)
            found += [] if exact is None else exact.found
        new = len(self) - linked + len(graph.replaced)
        return found, f"HNSW search of {kept}" + (f" and {new:,} new ones" if new else "")
