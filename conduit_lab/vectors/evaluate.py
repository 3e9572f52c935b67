"""Evaluation: how well a store finds the pages that answer questions."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import MissingExtra, VectorInputError
from conduit_lab.core.views import charts, figures, html
from conduit_lab.vectors import ranking
from conduit_lab.vectors.questions import Question, read
from conduit_lab.vectors.store import VectorStore

CLEARLY = 1e-9  # two sums of the same gains may differ in the last digit


@dataclass(frozen=True)
class Judged:
    """What one mode of search found for one question, and how good it is at k hits.

    `pages` answer the question; `found` holds the page of each hit, best first, None for an entry
    that has none; `rank` is the place of the first hit that is wanted, from 1; `score` is the first
    hit's, NaN without hits; `seconds` is this question's share of what its mode took, embedding
    included: all questions are asked together.
    """

    mode: str
    question: str
    pages: tuple[str, ...]
    found: tuple[str | None, ...]
    rank: int | None
    recall: float
    reciprocal_rank: float
    ndcg: float
    score: float
    seconds: float


class Summary(NamedTuple):
    """One mode over all questions: means, and the questions on which its nDCG is another than the
    first mode's.

    `first` is the share of questions whose first hit is wanted; `better` and `worse` count
    questions.
    """

    mode: str
    questions: int
    first: float
    recall: float
    mrr: float
    ndcg: float
    better: int
    worse: int
    seconds: float


class Evaluation(Sequence[Judged]):
    """How well one or several modes of search answer the same questions at `k` hits: one row a question and mode."""

    def __init__(self, rows: Sequence[Judged], k: int) -> None:
        self._judged = tuple(rows)
        self.k = k

    def __getitem__(self, index: Any) -> Any:
        return self._judged[index]

    def __len__(self) -> int:
        return len(self._judged)

    @cached_property
    def modes(self) -> dict[str, list[Judged]]:
        """The rows of each mode, in the order of the questions."""
        return {
            mode: [row for row in self if row.mode == mode]
            for mode in dict.fromkeys(row.mode for row in self)
        }

    @cached_property
    def summary(self) -> list[Summary]:
        """The figures of each mode, in the order in which the modes were given."""
        first = next(iter(self.modes.values()))
        return [_summary(mode, rows, first) for mode, rows in self.modes.items()]

    @property
    def best(self) -> Summary:
        """The mode with the highest mean nDCG."""
        return max(self.summary, key=lambda summary: summary.ndcg)

    @property
    def missed(self) -> list[Judged]:
        """The rows of the best mode that found none of their pages."""
        return [row for row in self.modes[self.best.mode] if row.rank is None]

    @property
    def title(self) -> str:
        """What the evaluation says, in a sentence."""
        best = self.best
        others = sorted(
            (each for each in self.summary if each is not best), key=lambda each: -each.ndcg
        )
        rest = "".join(f", {other.mode} {other.recall:.0%}" for other in others[:2])
        return f"{best.mode} finds {best.recall:.0%} of the pages in {figures.plural(self.k, 'hit')}{rest}"

    @cached_property
    def chart(self) -> charts.Chart:
        """The plot: recall over the number of hits that are read, a line for each mode."""
        values = []
        for mode, rows in self.modes.items():
            gains = np.array([_gains(row.found, row.pages, self.k) for row in rows])
            reached = np.cumsum(gains, axis=1) / np.array([[len(row.pages)] for row in rows])
            values += [
                {"mode": mode, "hits": hits, "recall": recall}
                for hits, recall in enumerate(reached.mean(axis=0).tolist(), start=1)
            ]
        subtitle = f"share of the pages among the first hits, {figures.plural(self.summary[0].questions, 'question')}"
        return charts.Chart(self.title, values, _LINES, subtitle=subtitle)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row a question and mode; times in seconds. Needs the `[lab]` extra."""
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtra("pandas", "lab", "Evaluation.to_pandas()") from None
        return pd.DataFrame(
            [[getattr(row, column) for column in _FRAME] for row in self], columns=list(_FRAME)
        )

    def _rows(self) -> list[tuple[str, ...]]:
        first = self.summary[0]
        return [
            (
                each.mode,
                f"{each.first:.3f}",
                f"{each.recall:.3f}",
                f"{each.mrr:.3f}",
                f"{each.ndcg:.3f}",
                "" if each is first else f"{each.better} better, {each.worse} worse",
                figures.seconds(each.seconds),
            )
            for each in self.summary
        ]

    def _columns(self) -> tuple[str, ...]:
        at, against = self.k, f"against {self.summary[0].mode}" if len(self.summary) > 1 else ""
        return ("mode", "first hit", f"recall@{at}", f"MRR@{at}", f"nDCG@{at}", against, "time")

    def _missed(self, width: int) -> list[tuple[str, str, str]]:
        rows = [
            (row.question, ", ".join(row.pages), (row.found or ("",))[0] or "")
            for row in self.missed
        ]
        return [
            (shorten(question, width, placeholder="…"), pages, found)
            for question, pages, found in rows
        ]

    def __repr__(self) -> str:
        columns = self._columns()
        shown = f"{self.title}\n{html.columns(columns, self._rows(), _numeric(columns))}"
        missed = self._missed(60)
        if not missed:
            return shown
        rest = f"\n{len(missed) - html.MAX_ROWS} more rows" if len(missed) > html.MAX_ROWS else ""
        return f"{shown}\n\n{html.columns(_MISSED, missed[: html.MAX_ROWS])}{rest}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        columns = self._columns()
        asked = figures.plural(self.summary[0].questions, "question")
        shown = html.header("Evaluation", self.title, [asked]) + html.table(
            columns, self._rows(), _numeric(columns)
        )
        if self.missed:
            shown += html.table(_MISSED, self._missed(200))
        return {**html.bundle(repr(self), shown), charts.MIME: self.chart.spec}


_FRAME = tuple(Judged.__dataclass_fields__)
_MISSED = ("not found", "its pages", "first hit")
_LINES: dict[str, Any] = {
    "height": 240,
    "mark": {"type": "line", "point": True},
    "encoding": {
        "x": {
            "field": "hits",
            "type": "quantitative",
            "title": "hits read",
            "axis": {"tickMinStep": 1},
        },
        "y": {
            "field": "recall",
            "type": "quantitative",
            "title": None,
            "axis": {"format": "%"},
            "scale": {"zero": False},
        },
        "color": {"field": "mode", "type": "nominal", "title": None, "sort": None},
    },
}


def evaluate(
    store: VectorStore,
    questions: Any,
    k: int = 10,
    modes: Sequence[str] | Mapping[str, Mapping[str, Any]] = ("dense",),
    *,
    by: str = "source",
) -> Evaluation:
    """Ask `store` every question in every mode for `k` hits, and judge what it found: recall@k,
    MRR@k and nDCG@k.

        evaluate(handbook, "data/questions.csv", modes=("dense", "lexical", "hybrid"))
        evaluate(handbook, "data/questions.csv", modes={"plain": {}, "varied": {"mmr": 0.7}})

    `questions` are a CSV file, a DataFrame or a list of dicts with `question` and `pages`, several
    pages with `;` between them; a question without pages is passed over. A hit is wanted when
    `metadata[by]` is one of the pages; a page counts once, at its first hit, and its further hits
    take up a place. `modes` are names of `VectorStore.search`, or names of one's own with the
    arguments of each search. Raises `VectorInputError` for questions that do not fit, and for a
    page that no entry of the store has.
    """
    ways = modes if isinstance(modes, Mapping) else {mode: {"mode": mode} for mode in modes}
    asked = [question for question in read(questions) if question.pages]
    if not asked or not ways:
        lacking = "no question has pages that answer it" if ways else "no mode is given"
        raise VectorInputError(f"there is nothing to evaluate: {lacking}")
    _check_pages(store, asked, by)
    return Evaluation(
        [row for mode, how in ways.items() for row in _judged(store, asked, k, mode, how, by)], k
    )


def _check_pages(store: VectorStore, questions: Sequence[Question], by: str) -> None:
    """Refuse a page that cannot be found: a slip in it would look like a bad search."""
    pages = {page for question in questions for page in question.pages}
    there = {entry.metadata[by] for entry in store.entries({by: {"$in": sorted(pages)}})}
    if lost := sorted(pages - there):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise VectorInputError(
            f"store {store.name!r} has no entry whose {by!r} is {lost[0]!r}{more}: add the documents, or write the "
            "pages as the metadata has them"
        )


def _judged(
    store: VectorStore,
    questions: Sequence[Question],
    k: int,
    mode: str,
    how: Mapping[str, Any],
    by: str,
) -> list[Judged]:
    start = time.perf_counter()
    lists = store.search([question.text for question in questions], k, **how)
    seconds = (time.perf_counter() - start) / len(questions)
    found = [tuple(hit.metadata.get(by) for hit in hits) for hits in lists]
    gains = np.array(
        [_gains(pages, question.pages, k) for pages, question in zip(found, questions, strict=True)]
    )
    wanted = np.array([len(question.pages) for question in questions])
    recalls, ndcgs, inverses = (
        ranking.recall(gains, wanted),
        ranking.ndcg(gains, wanted),
        ranking.reciprocal_rank(gains),
    )
    return [
        Judged(
            mode=mode,
            question=question.text,
            pages=question.pages,
            found=found[i],
            rank=int(gains[i].argmax()) + 1 if gains[i].any() else None,
            recall=float(recalls[i]),
            reciprocal_rank=float(inverses[i]),
            ndcg=float(ndcgs[i]),
            score=lists[i][0].score if lists[i] else math.nan,
            seconds=seconds,
        )
        for i, question in enumerate(questions)
    ]


def _gains(found: Sequence[Any], pages: Sequence[str], k: int) -> list[bool]:
    """Return for each of `k` places whether its hit is of a wanted page that no hit before it is of."""
    return [
        place < len(found) and found[place] in pages and found[place] not in found[:place]
        for place in range(k)
    ]


def _summary(mode: str, rows: Sequence[Judged], first: Sequence[Judged]) -> Summary:
    gain = np.array([row.ndcg - other.ndcg for row, other in zip(rows, first, strict=True)])
    return Summary(
        mode,
        len(rows),
        float(np.mean([row.rank == 1 for row in rows])),
        float(np.mean([row.recall for row in rows])),
        float(np.mean([row.reciprocal_rank for row in rows])),
        float(np.mean([row.ndcg for row in rows])),
        int(np.sum(gain > CLEARLY)),
        int(np.sum(gain < -CLEARLY)),
        rows[0].seconds,
    )


def _numeric(columns: Sequence[str]) -> tuple[str, ...]:
    return (*columns[1:5], columns[6])
