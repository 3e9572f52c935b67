"""Misplaced questions: questions of an evaluation whose correct page was not the first hit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from conduit_lab.vectors.evaluate import Evaluation
    from conduit_lab.vectors.store import VectorStore

SEARCHED_HITS = 1_000  # searched for the correct page of a question


class Misplaced(NamedTuple):
    """A question and the rank of its correct page in each mode, or None if not found."""

    question: str
    pages: tuple[str, ...]
    ranks: dict[str, int | None]


def misplaced_questions(evaluation: Evaluation) -> list[Misplaced]:
    """Return the questions whose correct page was not first in every mode, worst first."""
    rows: dict[str, Misplaced] = {}
    for row in evaluation:
        each = rows.setdefault(row.question, Misplaced(row.question, row.pages, {}))
        each.ranks[row.mode] = row.rank
    missed = evaluation.top_k + 1
    failing = [each for each in rows.values() if any(rank != 1 for rank in each.ranks.values())]
    return sorted(failing, key=lambda each: -sum(rank or missed for rank in each.ranks.values()))


def page_ranks(
    store: VectorStore, question: Misplaced, searches: Mapping[str, Mapping[str, Any]], by: str
) -> dict[str, int | None]:
    """Return the rank of the first hit on a correct page in each mode, among 1,000 hits."""
    ranks: dict[str, int | None] = {}
    for mode, arguments in searches.items():
        hits = store.search(question.question, SEARCHED_HITS, **arguments)
        pages = (hit.metadata.get(by) in question.pages for hit in hits)
        ranks[mode] = next((rank for rank, right in enumerate(pages, 1) if right), None)
    return ranks


def rank_words(ranks: Mapping[str, int | None], limit: int) -> str:
    """Return ranks as text: `dense 4 · lexical not in 10`."""
    return " · ".join(
        f"{mode} {rank}" if rank is not None else f"{mode} not in {limit:,}"
        for mode, rank in ranks.items()
    )
