"""Evaluation: the retrieval quality of a store for questions with known pages."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple, overload

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.frames import to_frame
from conduit_lab.core.progress import progress
from conduit_lab.core.views import figures
from conduit_lab.core.views.charts import Charted
from conduit_lab.core.views.line_chart import LineChart
from conduit_lab.core.views.pieces import Folded, Line, ViewPiece
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors import ranking
from conduit_lab.vectors.questions import Question, read_questions
from conduit_lab.vectors.store import VectorStore

MAX_MISSED = 20  # questions listed in the view; `missed` has all
_MIN_GAIN = 1e-9  # of nDCG; sums of equal gains may differ in the last digit


@dataclass(frozen=True)
class Judged:
    """The hits of one search mode for one question, and their quality.

    `pages` answer the question; `found` holds the page of each hit, best first, or None for an
    entry without a page; `rank` is the rank of the first relevant hit, from 1; `score` is the first
    hit's score, NaN without hits; `seconds` is this question's share of its mode's time, including
    embedding: all questions form one batch.
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
    """The means of one mode over all questions.

    `first` is the share of questions whose first hit is relevant; `better` and `worse` count the
    questions whose nDCG is higher or lower than in the first mode.
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


class Evaluation(Viewed, Sequence[Judged]):
    """The quality of search modes at `top_k` hits: one row per question and mode.

    `by` is the metadata key that identifies a page, `searches` the arguments of each mode.
    """

    def __init__(
        self,
        rows: Sequence[Judged],
        top_k: int,
        by: str = "source",
        searches: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._judged = tuple(rows)
        self.top_k = top_k
        self.by = by
        modes = dict.fromkeys(row.mode for row in rows)
        self.searches = searches or {mode: {"mode": mode} for mode in modes}

    @overload
    def __getitem__(self, index: int) -> Judged: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Judged, ...]: ...

    def __getitem__(self, index: int | slice) -> Judged | tuple[Judged, ...]:
        return self._judged[index]

    def __len__(self) -> int:
        return len(self._judged)

    @cached_property
    def modes(self) -> dict[str, list[Judged]]:
        """The rows of each mode, in question order."""
        return {
            mode: [row for row in self if row.mode == mode]
            for mode in dict.fromkeys(row.mode for row in self)
        }

    @cached_property
    def summary(self) -> list[Summary]:
        """The means of each mode, in the given order."""
        first = next(iter(self.modes.values()))
        return [_summary(mode, rows, first) for mode, rows in self.modes.items()]

    @property
    def best(self) -> Summary:
        """The mode with the highest mean nDCG."""
        return max(self.summary, key=lambda summary: summary.ndcg)

    @property
    def missed(self) -> list[Judged]:
        """The rows of the best mode without a relevant hit."""
        return [row for row in self.modes[self.best.mode] if row.rank is None]

    @property
    def title(self) -> str:
        """The result as a sentence, at the number of hits where the modes differ."""
        at = self._telling
        shares = sorted(self._found.items(), key=lambda item: -item[1][at])
        (best, found), *others = shares
        place = "first" if at == 0 else f"among the first {at + 1} hits"
        share = _percent(found[at])
        if others and all(_percent(other[at]) == share for _, other in others):
            return f"every mode has the right page {place} for {share} of the questions"
        rest = "".join(f", {mode} for {_percent(other[at])}" for mode, other in others[:2])
        if not others and self.top_k > 1:
            rest = f", among the first {self.top_k} for {_percent(found[-1])}"
        return f"{best} has the right page {place} for {share} of the questions{rest}"

    @cached_property
    def chart(self) -> LineChart:
        """The share of questions with a correct page among the first hits, one line per mode."""
        lines = {mode: list(enumerate(found, 1)) for mode, found in self._found.items()}
        asked = figures.plural(self.summary[0].questions, "question")
        subtitle = f"share of {asked} with a right page among the first hits"
        return LineChart(
            self.title, lines, "hits", "found", name="mode", format=".0%", subtitle=subtitle
        )

    @cached_property
    def _found(self) -> dict[str, list[float]]:
        """The share of questions with a relevant hit among the first 1, 2, … hits, per mode."""
        return {
            mode: [
                float(np.mean([row.rank is not None and row.rank <= hits for row in rows]))
                for hits in range(1, self.top_k + 1)
            ]
            for mode, rows in self.modes.items()
        }

    @property
    def _telling(self) -> int:
        """The index into `_found` where the modes differ: at the first hit, else the most."""
        best_first = zip(*self._found.values(), strict=True)
        spreads = [round(100 * (max(shares) - min(shares))) for shares in best_first]
        return 0 if spreads[0] else int(np.argmax(spreads))

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row per question and mode, times in seconds; needs `[lab]`."""
        rows = ([getattr(row, column) for column in _FRAME] for row in self)
        return to_frame(rows, _FRAME, purpose="Evaluation.to_pandas()")

    def _table(self) -> Table:
        first = self.summary[0]
        rows = [
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
        at, against = self.top_k, f"against {first.mode}" if len(rows) > 1 else ""
        metrics = (f"recall@{at}", f"MRR@{at}", f"nDCG@{at}")
        columns = ("mode", "first hit", *metrics, against, "time")
        return Table(columns, rows, ("first hit", *metrics, "time"))

    def _missed_table(self) -> Table:
        rows = [
            (shorten(row.question, 60, placeholder="…"), ", ".join(row.pages), _first_page(row))
            for row in self.missed
        ]
        return Table(_MISSED, rows, whole="evaluation.missed")

    def _missed_lines(self) -> list[Line]:
        """Return two lines per missed question: the question, and its pages with the first hit."""
        lines = []
        for row in self.missed[:MAX_MISSED]:
            found = _first_page(row)
            instead = f"first hit {found}" if found else "no hit"
            lines += [
                Line(shorten(row.question, 200, placeholder="…")),
                Line(f"on {', '.join(row.pages)} · {instead}", "quiet"),
            ]
        more = len(self.missed) - MAX_MISSED
        if more > 0:
            said = f"{figures.plural(more, 'more question')}: evaluation.missed"
            lines.append(Line(said, "quiet"))
        return lines

    def _view(self) -> View:
        pieces: list[ViewPiece] = [Charted(self.chart, self._table())]
        if self.missed:
            count = figures.plural(len(self.missed), "question")
            summary = f"{self.best.mode} does not find the page of {count} in {self.top_k} hits"
            pieces.append(Folded(summary, self._missed_lines(), opened=True))
        return View("Evaluation", self.title, pieces=pieces)

    def __repr__(self) -> str:
        shown = f"{self.title}\n{self._table().plain()}"
        return f"{shown}\n\n{self._missed_table().plain()}" if self.missed else shown


_FRAME = tuple(Judged.__dataclass_fields__)
_MISSED = ("not found", "its pages", "first hit")


def evaluate(
    store: VectorStore,
    questions: str | Path | Iterable[Any],
    top_k: int = 10,
    modes: Sequence[str] | Mapping[str, Mapping[str, Any]] = ("dense",),
    *,
    by: str = "source",
) -> Evaluation:
    """Search `store` for every question in every mode, and compute recall@k, MRR@k and nDCG@k.

        evaluate(handbook, "data/questions.csv", modes=("dense", "lexical", "hybrid"))
        evaluate(handbook, "data/questions.csv", modes={"plain": {}, "varied": {"mmr": 0.7}})

    `questions` are a CSV file, a DataFrame or a list of dicts with `question` and `pages`,
    separated by `;`; questions without pages are ignored. A hit is relevant if `metadata[by]` is
    one of the pages; a page counts once, at its first hit, while its further hits occupy ranks. k
    is `top_k`, the number of hits. `modes` are those of `VectorStore.search`, or custom names with
    the arguments of each search. Raises `VectorInputError` for invalid questions, and for a page
    that no entry of the store has.
    """
    searches = modes if isinstance(modes, Mapping) else {mode: {"mode": mode} for mode in modes}
    asked = [question for question in read_questions(questions) if question.pages]
    if not asked or not searches:
        reason = "no question has pages that answer it" if searches else "no mode is given"
        raise VectorInputError(f"there is nothing to evaluate: {reason}")
    _check_pages(store, asked, by)
    rows: list[Judged] = []
    with progress(len(searches) * len(asked), "query", f"evaluate {store.name}") as job:
        for mode, arguments in searches.items():
            job.phase = mode
            rows += _judged(store, asked, top_k, mode, arguments, by)
            job.step(len(asked))
    return Evaluation(rows, top_k, by, searches)


def _check_pages(store: VectorStore, questions: Sequence[Question], by: str) -> None:
    """Reject an unknown page: a typo would look like a poor search result."""
    pages = {page for question in questions for page in question.pages}
    known = {entry.metadata[by] for entry in store.entries({by: {"$in": sorted(pages)}})}
    if lost := sorted(pages - known):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise VectorInputError(
            f"store {store.name!r} has no entry whose {by!r} is {lost[0]!r}{more}: add the "
            "documents, or write the pages as the metadata has them"
        )


def _judged(
    store: VectorStore,
    questions: Sequence[Question],
    top_k: int,
    mode: str,
    arguments: Mapping[str, Any],
    by: str,
) -> list[Judged]:
    start = time.perf_counter()
    lists = store.search([question.text for question in questions], top_k, **arguments)
    seconds = (time.perf_counter() - start) / len(questions)
    found = [tuple(hit.metadata.get(by) for hit in hits) for hits in lists]
    pairs = zip(found, questions, strict=True)
    gains = np.array([_gains(pages, question.pages, top_k) for pages, question in pairs])
    relevant = np.array([len(question.pages) for question in questions])
    recalls, ndcgs = ranking.recall(gains, relevant), ranking.ndcg(gains, relevant)
    inverses = ranking.reciprocal_rank(gains)
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


def _first_page(row: Judged) -> str:
    """Return the page of the first hit, or ""."""
    return (row.found or ("",))[0] or ""


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _gains(found: Sequence[Any], pages: Sequence[str], top_k: int) -> list[bool]:
    """Return per rank up to `top_k` whether its hit is the first hit of a relevant page."""
    return [
        at < len(found) and found[at] in pages and found[at] not in found[:at]
        for at in range(top_k)
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
        int(np.sum(gain > _MIN_GAIN)),
        int(np.sum(gain < -_MIN_GAIN)),
        rows[0].seconds,
    )
