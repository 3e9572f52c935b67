"""Hits: the result of a search, best first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conduit_lab.core.frames import to_frame
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors.found_card import excerpt_note, found_card, metadata_facts

_COLUMNS = ("id", "score", "content", "metadata")


class Hit(Viewed, dict[str, Any]):
    """One search hit: a dict of `id`, `score`, `content` and `metadata`, also as attributes.

    The metadata is a copy.
    """

    @property
    def id(self) -> str:
        """Id of the entry."""
        return self["id"]  # type: ignore[no-any-return]

    @property
    def score(self) -> float:
        """The number by which hits are ordered.

        The similarity for the metrics cosine (-1 to 1) and dot, the distance for l2 and manhattan;
        in other modes the bm25, fused or reranker score.
        """
        return self["score"]  # type: ignore[no-any-return]

    @property
    def content(self) -> str | None:
        """Text of the entry, or None."""
        return self["content"]  # type: ignore[no-any-return]

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the entry."""
        return self["metadata"]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return dict.__repr__(self)

    def _view(self) -> View:
        card = found_card(self.content, self.metadata, self.id, score=self.score)
        note = excerpt_note(self.content, self.metadata, self.id, "hit.content")
        return View("Hit", self.id, pieces=[card, *note])


class Hits(Viewed, list[Hit]):
    """A list of `Hit`, best first, displayed as a table; `json.dumps` accepts it.

    `plan` describes how they were found, `query` is the query's text if it has one. `best` is the
    score of the most similar entry if embeddings were compared, whatever the hits are ordered by: a
    fused or reranker score has no fixed scale. `similarities` are such scores by id, as far as they
    are known, if the hits are ordered by another score.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        store: str = "",
        plan: str = "",
        best: float | None = None,
        query: str | None = None,
    ) -> None:
        super().__init__(hits)
        self.store = store
        self.plan = plan
        self.best = best
        self.query = query
        self.similarities: dict[str, float] = {}

    def to_pandas(self) -> Any:
        """Return a DataFrame with the columns id, score, content and metadata; needs `[lab]`."""
        return to_frame(self, _COLUMNS, purpose="Hits.to_pandas()")

    def _count(self) -> str:
        return figures.plural(len(self), "hit")

    def _table(self, width: int) -> Table:
        rows = []
        for hit in self[: html.MAX_ROWS]:
            metadata = " · ".join(f"{key}: {value}" for key, value in hit.metadata.items())
            id, content = one_line(hit.id, width), one_line(hit.content or "", width)
            rows.append((id, f"{hit.score:.3f}", content, one_line(metadata, width // 2)))
        more = f"hits[{html.MAX_ROWS}:]"
        return Table(_COLUMNS, rows, ("score",), ("content",), len(self), more)

    def _view(self) -> View:
        facts = [self._count(), *([self.plan] if self.plan else [])]
        if self.query is None and self.plan:
            facts.append("query: an embedding")
        lead = [Line(f"“{one_line(self.query, 200)}”", "large")] if self.query else []
        return View("Hits", self.store, facts, pieces=[*lead, *self._cards()])

    def _cards(self) -> list[ViewPiece]:
        shown = self[: html.MAX_ROWS]
        same = _common([hit.metadata for hit in shown])
        shares = _shares([hit.score for hit in shown])
        all_have = metadata_facts({key: shown[0].metadata[key] for key in same})
        cards: list[ViewPiece] = [Line(f"all: {' · '.join(all_have)}", "quiet")] if all_have else []
        cards += [
            found_card(
                hit.content, hit.metadata, hit.id, self.query, hit.score, share, str(place), same
            )
            for place, (hit, share) in enumerate(zip(shown, shares, strict=True), 1)
        ]
        if len(self) > len(shown):
            left = figures.plural(len(self) - len(shown), "more row")
            cards.append(Line(f"{left}: hits[{html.MAX_ROWS}:]", "quiet"))
        if any(excerpt_note(hit.content, hit.metadata, hit.id, "") for hit in shown):
            cards.append(Line("texts are excerpts, all of one: hits[0].content", "quiet"))
        return cards

    def __repr__(self) -> str:
        query = f" for {one_line(self.query, 60)!r}" if self.query else ""
        head = f"{self._count()}{query}" + (f" in {self.store}" if self.store else "")
        head = f"{head} · {self.plan}" if self.plan else head
        return f"{head}\n{self._table(60).plain()}" if self else head


def _shares(scores: Sequence[float]) -> list[float]:
    """Return the length of each bar, 0 to 1: the score if no score exceeds 1, else its ratio.

    Increasing scores are distances; the nearest has the longest bar.
    """
    if len(scores) > 1 and scores[0] < scores[-1]:
        return [1.0 if score <= scores[0] else scores[0] / score for score in scores]
    largest = max(scores, default=0.0)
    return [max(0.0, score / max(1.0, largest)) for score in scores]


def _common(all_metadata: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys with the same value in all hits, if there are several."""
    if len(all_metadata) < 2:
        return []
    first, *others = all_metadata
    return [
        key
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    ]
