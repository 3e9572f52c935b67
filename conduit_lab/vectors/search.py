"""Search: from a query to hits; candidates by meaning, by words or both, then a reranker, then variety."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Backend, Match
from conduit_lab.vectors.diversity import mmr
from conduit_lab.vectors.embedding import Query
from conduit_lab.vectors.hits import Hit, Hits
from conduit_lab.vectors.rank_fusion import reciprocal_rank_fusion, score_fusion, stretched
from conduit_lab.vectors.reranking import Reranker, scores

Mode = Literal["dense", "lexical", "hybrid"]
Fusion = Literal["score", "rank"]

MAX_TOP_K = 10_000
WEIGHTS = (
    0.7,
    0.3,
)  # of meaning and of words where scores are fused; docs/retrieval.md has what was measured
CANDIDATES = 50  # that fusion, a reranker and variety choose from; more where top_k is


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
        if (
            isinstance(top_k, bool)
            or not isinstance(top_k, (int, np.integer))
            or not 1 <= top_k <= MAX_TOP_K
        ):
            raise VectorInputError(f"top_k is a whole number from 1 to {MAX_TOP_K}, got {top_k!r}")
        if self.mode not in get_args(Mode):
            raise VectorInputError(
                f"a search's mode is one of {', '.join(get_args(Mode))}, got {self.mode!r}"
            )
        if self.fusion not in get_args(Fusion):
            raise VectorInputError(
                f"a hybrid search's fusion is 'score' or 'rank', got {self.fusion!r}"
            )
        number = isinstance(self.mmr, Real) and not isinstance(self.mmr, bool)
        if self.mmr is not None and not (number and 0 <= self.mmr <= 1):
            raise VectorInputError(
                f"mmr is a number from 0 (only variety) to 1 (only relevance), got {self.mmr!r}"
            )
        if self.rerank is not None and not callable(getattr(self.rerank, "score", None)):
            raise VectorInputError(
                "rerank expects a model with score(query, passages), such as "
                f"load_model('models/cross-encoder'), got {reprlib.repr(self.rerank)}"
            )

    def run(self, store: str, backend: Backend, queries: Sequence[Query]) -> list[Hits]:
        """Return the hits of each query in a backend; `store` names it."""
        refined = self.mode == "hybrid" or self.mmr is not None or self.rerank is not None
        count = max(CANDIDATES, int(self.top_k)) if refined else int(self.top_k)
        dense: list[list[Match]] = [[] for _ in queries]
        lexical: list[list[Match]] = [[] for _ in queries]
        plans: list[list[str]] = [[] for _ in queries]
        if self.mode != "lexical" and queries:
            vectors = np.stack([query.vector for query in queries if query.vector is not None])
            dense, each = backend.search(vectors, count, self.where, self.exact)
            plans = [[plan] for plan in each]
        if self.mode != "dense":
            lexical = [
                backend.lexical(_text(query, self.mode), count, self.where) for query in queries
            ]
        return [
            self._hits(store, backend, *found)
            for found in zip(queries, dense, lexical, plans, strict=True)
        ]

    def _hits(
        self,
        store: str,
        backend: Backend,
        query: Query,
        dense: Sequence[Match],
        lexical: Sequence[Match],
        plan: list[str],
    ) -> Hits:
        """Return one query's hits: its matches fused, reranked and varied, each where asked for."""
        if self.mode != "dense":
            plan.append("words")
        hits = self._fused(dense, lexical)
        if self.mode == "hybrid":
            plan.append(f"fused by {self.fusion}")
        if self.rerank is not None and hits:
            hits = self._reranked(query, hits, self.rerank)
            plan.append(f"{min(len(hits), CANDIDATES)} reranked")
        if self.mmr is not None and hits:
            hits = self._varied(hits, backend, self.mmr)
            plan.append("varied (mmr)")
        best = dense[0].score if dense else None
        return Hits(hits[: int(self.top_k)], store, ", ".join(plan), best)

    def _fused(self, dense: Sequence[Match], lexical: Sequence[Match]) -> list[Hit]:
        if self.mode != "hybrid":
            return [Hit(match._asdict()) for match in (*dense, *lexical)]
        known = {match.id: match for match in (*lexical, *dense)}
        if self.fusion == "rank":
            rankings = [[match.id for match in leg] for leg in (dense, lexical)]
            fused = reciprocal_rank_fusion(rankings)
        else:
            legs = [[(match.id, match.score) for match in leg] for leg in (dense, lexical)]
            fused = score_fusion(legs, WEIGHTS)
        return [Hit(known[id]._replace(score=score)._asdict()) for id, score in fused]

    def _reranked(self, query: Query, hits: list[Hit], reranker: Reranker) -> list[Hit]:
        """Order the first candidates by a reranker's scores; the rest follow as they were."""
        first, rest = hits[:CANDIDATES], hits[CANDIDATES:]
        each = scores(reranker, _text(query, "rerank"), [hit.content or "" for hit in first])
        order = np.argsort(-each, kind="stable")
        return [Hit({**first[i], "score": float(each[i])}) for i in order] + rest

    def _varied(self, hits: list[Hit], backend: Backend, balance: float) -> list[Hit]:
        """Pick hits that differ from each other, by `mmr`."""
        relevance = [hit.score for hit in hits]
        if self.rerank is not None:
            first = stretched(relevance[:CANDIDATES])
            relevance = first + [0.0] * (len(hits) - len(first))  # the rest has no such score
        elif self.mode != "dense" or backend.metric != "cosine":
            relevance = stretched(relevance)
        vectors = _vectors(hits, backend)
        picked = mmr(None, vectors, int(self.top_k), float(balance), relevance)
        return [hits[i] for i in picked]


def _text(query: Query, what: str) -> str:
    if query.text is None:
        raise VectorInputError(
            f"{what} reads words, and the query is an embedding: pass the query as text"
        )
    return query.text


def _vectors(hits: Sequence[Hit], backend: Backend) -> FloatArray:
    """Return the embeddings of some hits; one that was deleted meanwhile is like nothing."""
    entries = backend.get([hit.id for hit in hits])
    return np.stack(
        [np.zeros(backend.dimension, np.float32) if e is None else e.embedding for e in entries]
    )
