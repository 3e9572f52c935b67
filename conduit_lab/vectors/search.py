"""Search: from a query to hits; candidates by meaning, by words or both, then a reranker, then variety."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Backend, Match
from conduit_lab.vectors.diversity import mmr
from conduit_lab.vectors.embedding import Query
from conduit_lab.vectors.fusion import reciprocal_rank_fusion, score_fusion
from conduit_lab.vectors.hits import Hit, Hits

Mode = Literal["dense", "lexical", "hybrid"]
Fusion = Literal["score", "rank"]

MAX_TOP_K = 10_000
WEIGHTS = (0.7, 0.3)  # of meaning and of words where scores are fused; docs/retrieval.md has what was measured
CANDIDATES = 50  # that fusion, a reranker and variety choose from; more where top_k is


class Reranker(Protocol):
    """Reads a query and passages together."""

    def score(self, query: str, passages: Sequence[str]) -> npt.ArrayLike:
        """Return one score for each passage, `[n]`, higher for a better answer."""


@dataclass(frozen=True)
class Search:
    """How `VectorStore.search` looks; raises `VectorInputError` for what it cannot do."""

    top_k: int = 5
    where: Any = None
    mode: Mode = "dense"
    exact: bool = False
    mmr: float | None = None
    rerank: Reranker | None = None
    fusion: Fusion = "score"

    def __post_init__(self) -> None:
        top_k = self.top_k
        if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or not 1 <= top_k <= MAX_TOP_K:
            raise VectorInputError(f"top_k is a whole number from 1 to {MAX_TOP_K}, got {top_k!r}")
        if self.mode not in get_args(Mode):
            raise VectorInputError(f"a search's mode is one of {', '.join(get_args(Mode))}, got {self.mode!r}")
        if self.fusion not in get_args(Fusion):
            raise VectorInputError(f"a hybrid search's fusion is 'score' or 'rank', got {self.fusion!r}")
        number = isinstance(self.mmr, (int, float)) and not isinstance(self.mmr, bool)
        if self.mmr is not None and not (number and 0 <= self.mmr <= 1):
            raise VectorInputError(f"mmr is a number from 0 (only variety) to 1 (only likeness), got {self.mmr!r}")

    def run(self, store: str, backend: Backend, queries: Sequence[Query]) -> list[Hits]:
        """Return the hits of each query in a backend; `store` names it."""
        wanted = int(self.top_k)
        refined = self.mode == "hybrid" or self.mmr is not None or self.rerank is not None
        count = max(CANDIDATES, wanted) if refined else wanted
        plans: list[str] = []
        dense: list[list[Match]] = [[] for _ in queries]
        lexical: list[list[Match]] = [[] for _ in queries]
        if self.mode != "lexical" and queries:
            vectors = np.stack([query.vector for query in queries if query.vector is not None])
            dense, plan = backend.search(vectors, count, self.where, self.exact)
            plans.append(plan)
        if self.mode != "dense":
            lexical = [backend.lexical(_text(query, self.mode), count, self.where) for query in queries]
            plans.append("words")
        if self.mode == "hybrid":
            plans.append(f"fused by {self.fusion}")
        found = []
        for query, near, worded in zip(queries, dense, lexical, strict=True):
            hits = self._fused(near, worded)
            if refined:
                hits = self._refined(query, hits, backend, plans)[:wanted]
            best = near[0].score if near else None
            found.append(Hits(hits, store, ", ".join(dict.fromkeys(plans)), best))
        return found

    def _fused(self, dense: Sequence[Match], lexical: Sequence[Match]) -> list[Hit]:
        if self.mode != "hybrid":
            return [Hit(match._asdict()) for match in (*dense, *lexical)]
        known = {match.id: match for match in (*lexical, *dense)}
        if self.fusion == "rank":
            fused = reciprocal_rank_fusion([[match.id for match in leg] for leg in (dense, lexical)])
        else:
            fused = score_fusion([[(match.id, match.score) for match in leg] for leg in (dense, lexical)], WEIGHTS)
        return [Hit(known[id]._replace(score=score)._asdict()) for id, score in fused]

    def _refined(self, query: Query, hits: list[Hit], backend: Backend, plans: list[str]) -> list[Hit]:
        """Return the candidates in their last order."""
        if self.rerank is not None and hits:
            hits, rest = hits[:CANDIDATES], hits[CANDIDATES:]
            scores = np.asarray(self.rerank.score(_text(query, "rerank"), [hit.content or "" for hit in hits]))
            hits = [Hit({**hits[i], "score": float(scores[i])}) for i in np.argsort(-scores, kind="stable")]
            plans.append(f"{len(hits)} reranked")
            hits += rest if self.top_k > CANDIDATES else []
        if self.mmr is not None and hits:
            relevance = None  # the cosine to the query
            if self.mode != "dense" or self.rerank is not None:  # scores on a scale of their own
                relevance = [share for _, share in score_fusion([[(i, hit.score) for i, hit in enumerate(hits)]])]
            picked = mmr(query.vector, _vectors(hits, backend), int(self.top_k), self.mmr, relevance)
            hits = [hits[i] for i in picked]
            plans.append("varied (mmr)")
        return hits


def _text(query: Query, what: str) -> str:
    if query.text is None:
        raise VectorInputError(f"{what} reads words, and the query is an embedding: pass the query as text")
    return query.text


def _vectors(hits: Sequence[Hit], backend: Backend) -> FloatArray:
    """Return the embeddings of some hits; one that was deleted meanwhile is like nothing."""
    entries = backend.get([hit.id for hit in hits])
    return np.stack([np.zeros(backend.dimension, np.float32) if e is None else e.embedding for e in entries])
