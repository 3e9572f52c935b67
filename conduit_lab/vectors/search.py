"""Search: dense, lexical or hybrid candidates for queries, then reranking, then MMR."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.progress import Progress, progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Backend, Match
from conduit_lab.vectors.diversity import mmr
from conduit_lab.vectors.embedding import Query
from conduit_lab.vectors.hits import Hit, Hits
from conduit_lab.vectors.rank_fusion import reciprocal_rank_fusion, scale_scores, score_fusion
from conduit_lab.vectors.reranking import RerankerProtocol, rerank_scores

Mode = Literal["dense", "lexical", "hybrid"]
"""Search by meaning, by words, or by both."""

FusionMethod = Literal["score", "rank"]
"""The fusion of a hybrid search: scores on one scale, or reciprocal ranks."""

MAX_HITS = 10_000
_MODES = ("dense", "lexical", "hybrid")
_FUSIONS = ("score", "rank")
# Of dense and lexical scores in score fusion; docs/retrieval.md has the measurements.
_WEIGHTS = (0.7, 0.3)
_CHUNK_QUERIES = 1_024  # searched in one state of the store, for about a second
_CANDIDATES = 50  # for fusion, reranking and MMR; more if top_k is larger


@dataclass(frozen=True)
class Search:
    """The arguments of `VectorStore.search`, checked; raises `VectorInputError`."""

    top_k: int = 5
    where: Any = None
    mode: Mode = "dense"
    exact: bool = False
    mmr: float | None = None
    rerank: RerankerProtocol | None = None
    fusion: FusionMethod = "score"

    def __post_init__(self) -> None:
        top_k = self.top_k
        whole = isinstance(top_k, (int, np.integer)) and not isinstance(top_k, bool)
        if not whole or not 1 <= top_k <= MAX_HITS:
            raise VectorInputError(f"top_k is a whole number from 1 to {MAX_HITS}, got {top_k!r}")
        if self.mode not in _MODES:
            raise VectorInputError(
                f"a search's mode is one of {', '.join(_MODES)}, got {self.mode!r}"
            )
        if self.fusion not in _FUSIONS:
            raise VectorInputError(
                f"a hybrid search's fusion is 'score' or 'rank', got {self.fusion!r}"
            )
        if self.mmr is not None:
            number = isinstance(self.mmr, Real) and not isinstance(self.mmr, bool)
            if not number or not 0 <= self.mmr <= 1:
                raise VectorInputError(
                    f"mmr is a number from 0 (only variety) to 1 (only relevance), got {self.mmr!r}"
                )
        if self.rerank is not None and not callable(getattr(self.rerank, "score", None)):
            raise VectorInputError(
                "rerank expects a model with score(query, passages), such as "
                f"load_model('models/cross-encoder'), got {reprlib.repr(self.rerank)}"
            )

    def run(self, store: str, backend: Backend, queries: Sequence[Query]) -> list[Hits]:
        """Return the hits of each query in a backend, called `store` in errors."""
        if len(queries) == 1:
            return self._found(store, backend, queries)
        found: list[Hits] = []
        with progress(len(queries), "query", f"{store}.search") as job:
            for begin in range(0, len(queries), _CHUNK_QUERIES):
                found += self._found(store, backend, queries[begin : begin + _CHUNK_QUERIES], job)
        return found

    def _found(
        self, store: str, backend: Backend, queries: Sequence[Query], job: Progress | None = None
    ) -> list[Hits]:
        refined = self.mode != "dense" or self.mmr is not None or self.rerank is not None
        if refined:
            return self._refined(store, backend, queries, job)
        # The usual search, in plain loops: each function call adds to its latency.
        found: list[Hits] = []
        lists, plans = self._by_meaning(backend, queries, int(self.top_k))
        for query, matches, plan in zip(queries, lists, plans, strict=True):
            best = matches[0].score if matches else None
            hits = Hits((), store, plan, best, query.text)
            for id, score, content, metadata in matches:
                hits.append(Hit(id=id, score=score, content=content, metadata=metadata))
            found.append(hits)
        if job is not None:
            job.step(len(queries))
        return found

    def _refined(
        self, store: str, backend: Backend, queries: Sequence[Query], job: Progress | None
    ) -> list[Hits]:
        """Return the hits of a lexical or hybrid search, or of a search with a second stage."""
        second = self.mode == "hybrid" or self.mmr is not None or self.rerank is not None
        count = max(_CANDIDATES, int(self.top_k)) if second else int(self.top_k)
        dense: list[list[Match]] = [[] for _ in queries]
        lexical: list[list[Match]] = [[] for _ in queries]
        plans: list[list[str]] = [[] for _ in queries]
        if self.mode != "lexical" and queries:
            dense, each = self._by_meaning(backend, queries, count)
            plans = [[plan] for plan in each]
        if self.mode != "dense":
            texts = [_text(query, self.mode) for query in queries]
            lexical = [backend.lexical(text, count, self.where) for text in texts]
        answers = []
        for found in zip(queries, dense, lexical, plans, strict=True):
            answers.append(self._hits(store, backend, *found))
            if job is not None:
                job.step()
        return answers

    def _by_meaning(
        self, backend: Backend, queries: Sequence[Query], count: int
    ) -> tuple[list[list[Match]], list[str]]:
        first = queries[0].vector
        if len(queries) == 1 and first is not None:
            vectors = np.ascontiguousarray(first)[np.newaxis]
        else:
            vectors = np.stack([query.vector for query in queries if query.vector is not None])
        return backend.search(vectors, count, self.where, self.exact)

    def _hits(
        self,
        store: str,
        backend: Backend,
        query: Query,
        dense: Sequence[Match],
        lexical: Sequence[Match],
        plan: list[str],
    ) -> Hits:
        """Return the hits of one query: its matches fused, reranked and diversified."""
        if self.mode != "dense":
            plan.append("words")
        hits = self._fused(dense, lexical)
        if self.mode == "hybrid":
            plan.append(f"fused by {self.fusion}")
        if self.rerank is not None and hits:
            hits = self._reranked(query, hits, self.rerank)
            plan.append(f"{min(len(hits), _CANDIDATES)} reranked")
        if self.mmr is not None and hits:
            hits = self._diversified(hits, backend, self.mmr)
            plan.append("varied (mmr)")
        best = dense[0].score if dense else None
        found = Hits(hits[: int(self.top_k)], store, ", ".join(plan), best, query.text)
        found.similarities = {match.id: match.score for match in dense}
        return found

    def _fused(self, dense: Sequence[Match], lexical: Sequence[Match]) -> list[Hit]:
        if self.mode != "hybrid":
            return [Hit(match._asdict()) for match in (*dense, *lexical)]
        known = {match.id: match for match in (*lexical, *dense)}
        if self.fusion == "rank":
            rankings = [[match.id for match in leg] for leg in (dense, lexical)]
            fused = reciprocal_rank_fusion(rankings)
        else:
            legs = [[(match.id, match.score) for match in leg] for leg in (dense, lexical)]
            fused = score_fusion(legs, _WEIGHTS)
        return [Hit(known[id]._replace(score=score)._asdict()) for id, score in fused]

    def _reranked(self, query: Query, hits: list[Hit], reranker: RerankerProtocol) -> list[Hit]:
        """Order the first candidates by the reranker's scores, followed by the rest in order."""
        first, rest = hits[:_CANDIDATES], hits[_CANDIDATES:]
        passages = [hit.content or "" for hit in first]
        each = rerank_scores(reranker, _text(query, "rerank"), passages)
        order = np.argsort(-each, kind="stable")
        return [Hit({**first[i], "score": float(each[i])}) for i in order] + rest

    def _diversified(self, hits: list[Hit], backend: Backend, balance: float) -> list[Hit]:
        """Pick hits that differ from each other, by `mmr`."""
        relevance = [hit.score for hit in hits]
        if self.rerank is not None:
            first = scale_scores(relevance[:_CANDIDATES])
            relevance = first + [0.0] * (len(hits) - len(first))  # the rest has no relevance score
        elif self.mode != "dense" or backend.metric != "cosine":
            relevance = scale_scores(relevance)
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
    """Return the embeddings of some hits, with zeros for entries deleted meanwhile."""
    entries = backend.get([hit.id for hit in hits])
    zeros = np.zeros(backend.dimension, np.float32)
    return np.stack([zeros if entry is None else entry.embedding for entry in entries])
