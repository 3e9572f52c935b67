"""Index: the rows of a store in memory, and the plans that search them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import NamedTuple, cast

import numpy as np

from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.index.accelerators import Derived
from conduit_lab.vectors.index.blocks import chunks, mapped
from conduit_lab.vectors.index.bound import BoolArray, IntArray
from conduit_lab.vectors.index.candidates import Found
from conduit_lab.vectors.index.codes import Int8
from conduit_lab.vectors.index.rows import Rows, Wide
from conduit_lab.vectors.index.scan import Kept, Parts, all_scored, best
from conduit_lab.vectors.index.scoring import METRICS, Queries

__all__ = ["METRICS", "Answer", "Index"]

_FEW = 1_024  # rows that are scanned without codes
_RARE = 10  # and one row in so many, which are copied out sooner than all codes are multiplied
_FEWEST = 64  # pairs of a query and a row that are scored sooner than bounded
_TOGETHER = 64  # queries of one product
# the greatest `top_k` of queries that go together: a chunk of theirs is a few thousand rows
_SHALLOW = 1_000
_APIECE = 1_024  # odd rows that are scored together
_DEEP = 512  # a 1-bit scan looks for one row in so many at most


class Answer(NamedTuple):
    """For each query the rows and their scores, best first; and in words how each was found."""

    found: list[Found]
    plans: list[str]

    @property
    def plan(self) -> str:
        """The distinct plans of all queries."""
        return "; ".join(dict.fromkeys(self.plans))


class Index:
    """Vectors float32 `[n, dimension]` by row number, in the order of adding, and the search over
    them.

    `metric` is one of `METRICS`. `vectors` are the rows of a snapshot, used as they are and perhaps
    mapped from a file; `codes` is what `codes()` gave when it was written. Not safe for threads:
    the caller's lock is.

    Few rows are scanned in float32. For more, a thread makes 8-bit codes, which give the same
    answers; for very many 1-bit codes, if they find the neighbours of the store's own rows. Rows
    without codes are scanned in float32, so a search is right at every moment.
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

    def search(
        self, queries: FloatArray, top_k: int, keep: BoolArray | None = None, *, exact: bool = False
    ) -> Answer:
        """Return the best `top_k` rows for each of `queries` `[q, dimension]`, ties in the order of
        adding.

        Only rows that `keep` `[n]` names, all of them where they are fewer. `exact` asks for every
        row's float32.
        """
        self._derived.update()
        kept = Kept(keep, len(self), self._rows.odd)
        exact = exact or kept.count <= _FEW
        together = _TOGETHER if top_k <= _SHALLOW else 1
        # What float32 makes of an odd row is left out, so its overflow is no news.
        with np.errstate(over="ignore", invalid="ignore") if len(self._rows.odd) else nullcontext():
            parts = (
                queries[begin : begin + together] for begin in range(0, len(queries), together)
            )
            answers = [self._together(part, top_k, kept, exact) for part in parts]
        found = [one for each in answers for one in each.found]
        return Answer(found, [plan for each in answers for plan in each.plans])

    def _together(self, vectors: FloatArray, top_k: int, kept: Kept, exact: bool) -> Answer:
        queries = Queries(vectors, self.metric)
        if queries.odd is None or queries.odd.all():
            return self._planned(queries, top_k, kept, exact)
        # An odd query takes the codes from no other.
        usual, odd = (
            self._together(vectors[some], top_k, kept, exact)
            for some in (~queries.odd, queries.odd)
        )
        place = np.argsort(np.argsort(queries.odd, kind="stable")).tolist()
        found, plans = usual.found + odd.found, usual.plans + odd.plans
        return Answer([found[i] for i in place], [plans[i] for i in place])

    def _planned(self, queries: Queries, top_k: int, kept: Kept, exact: bool) -> Answer:
        if not exact and queries.odd is None:
            found = self._linked(queries, top_k, kept) or self._coded(queries, top_k, kept)
            if found is not None:
                return found
        return self._exact(queries, top_k, kept)

    def _exact(self, queries: Queries, top_k: int, kept: Kept) -> Answer:
        plans = [f"exact scan of {kept}"] * len(queries)
        if kept.count * len(queries) <= _FEWEST:
            return Answer(all_scored(kept.rows(), self._rows, queries, top_k), plans)
        near = self._rows.bound(queries)
        parts = kept.parts(near, 0, len(self), len(queries)) + self._odd(queries, kept)
        exact = best(parts, near, top_k, kept)
        return Answer([] if exact is None else exact.found, plans)

    def _coded(self, queries: Queries, top_k: int, kept: Kept) -> Answer | None:
        """Search with codes, and without them what has none; None where that is no gain."""
        codes = self._derived.codes
        if codes is None:
            return None
        new = f" and {len(self) - len(codes):,} new ones" if len(self) > len(codes) else ""
        plan = f"{codes.name} scan of {kept}{new}"
        near = self._rows.bound(queries)
        rest = kept.parts(near, len(codes), len(self), len(queries)) + self._odd(queries, kept)
        if isinstance(codes, Int8):
            if kept.scanned * _RARE <= kept.n:
                return None
            bound = codes.bound(queries)
            parts: Parts = [(bound, part) for part in codes.slices(len(queries))]
            sure = best(parts + rest, near, top_k, kept, kept.count // 8)
            return None if sure is None else Answer(sure.found, [plan] * len(queries))
        if top_k * _DEEP > kept.count:
            return None
        parts = kept.parts(codes.bound(queries), 0, len(codes), len(queries))
        likely = best(parts + rest, near, top_k, kept, kept.count // 16)
        if likely is None:
            return None
        return Answer(likely.found, [f"{plan}, {looked:,} rescored" for looked in likely.looked])

    def _linked(self, queries: Queries, top_k: int, kept: Kept) -> Answer | None:
        """Search with the graph, and without it what is not in it; None where it cannot say."""
        graph = self._derived.graph
        near = None if graph is None else graph.search(queries, top_k, kept)
        if graph is None or near is None:
            return None
        each, linked = near
        found: list[Found] = []
        for one, candidates in zip(queries.each(), each, strict=True):
            bound = self._rows.bound(one)
            parts = [
                (bound, candidates),
                *kept.parts(bound, linked, len(self), 1),
                *self._odd(one, kept),
            ]
            exact = best(parts, bound, top_k, kept)
            found += [] if exact is None else exact.found
        new = len(self) - linked + len(graph.replaced)
        plan = f"HNSW search of {kept}" + (f" and {new:,} new ones" if new else "")
        return Answer(found, [plan] * len(queries))

    def _odd(self, queries: Queries, kept: Kept) -> Parts:
        """Return the kept rows that are odd, to be scored one by one."""
        if not len(kept.odd):
            return []
        wide = Wide(self._rows, queries)
        return [(wide, kept.odd[here]) for here in chunks(0, len(kept.odd), _APIECE)]
