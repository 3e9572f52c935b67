"""CitedAnswer: the answer of a `Rag`, a dict that shows where each of its sentences comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conduit_lab.core.quotation import nearest_sentence, sentence_spans, word_stems
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Card, Cited, Columns, Line, Marked, Piece
from conduit_lab.core.views.view import View, Viewed
from conduit_lab.vectors.found_card import heading_of, metadata_facts

MIN_SHARED = 0.5  # of the stems of an answer's sentence
_OWN = ("id", "score", "span", "text", "line", "page")  # of a source, not of its document
_PASSAGE_PIXELS = 200


@dataclass(frozen=True)
class Citation:
    """The sentence `response[at[0]:at[1]]` of an answer, and the place that it was taken from.

    That is `sources[source]["text"][start:end]`, a sentence of the source.
    """

    at: tuple[int, int]
    source: int
    start: int
    end: int


class CitedAnswer(Viewed, dict[str, Any]):
    """A dict of `response` and `sources` that a cell shows as an answer with its sources.

    What is only shown is no part of the dict: the `question`, the `best` similarity of a passage
    with the `threshold` that it was compared with, and the `similarities` of the sources by id.
    """

    def __init__(
        self,
        response: str,
        sources: list[dict[str, Any]],
        question: str = "",
        best: float | None = None,
        threshold: float | None = None,
        similarities: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(response=response, sources=sources)
        self.question = question
        self.best = best
        self.threshold = threshold
        self.similarities = dict(similarities or {})

    @property
    def citations(self) -> list[Citation]:
        """The sentences of the answer that are found in a source.

        A sentence is that of the source which shares most word stems with it, where that is at
        least half of its stems; the first source with as many.
        """
        texts = [source["text"] for source in self["sources"]]
        return citations(self["response"], texts)

    def __repr__(self) -> str:
        return dict.__repr__(self)

    def _view(self) -> View:
        response, sources, found = self["response"], self["sources"], self.citations
        numbers = [(cited.at[1], str(cited.source + 1)) for cited in found]
        lead = [Line(self.question, "quiet")] if self.question else []
        left: list[Piece] = [*lead, Cited(response, numbers)]
        if not sources:
            left.append(Line(self._nearest(), "quiet"))
        cards = [
            self._card(source, place, [c for c in found if c.source == place])
            for place, source in enumerate(sources)
        ]
        name = one_line(self.question, 60)
        facts = [figures.plural(len(sources), "source")]
        return View("Answer", "" if lead else name, facts, pieces=[Columns([left, cards])])

    def _nearest(self) -> str:
        if self.best is None or self.threshold is None:
            return "No passage was near enough to the question."
        return f"The nearest passage scored {self.best:.2f}; an answer needs {self.threshold:.2f}."

    def _card(self, source: Mapping[str, Any], place: int, found: Sequence[Citation]) -> Card:
        similarity = self.similarities.get(source["id"])
        facts = metadata_facts({key: source[key] for key in source if key not in _OWN})
        spans = sorted({(cited.start, cited.end) for cited in found})
        return Card(
            one_line(heading_of(source) or str(source["id"]), 160),
            similarity or 0.0,
            "" if similarity is None else f"{similarity:.3f}",
            [
                Marked(source["text"], spans, _PASSAGE_PIXELS),
                *([Line(" · ".join(facts), "quiet")] if facts else []),
            ],
            number=str(place + 1),
        )


def citations(response: str, texts: Sequence[str]) -> list[Citation]:
    """Return the place in `texts` of each sentence of `response` that is found in one of them."""
    found = []
    for at in sentence_spans(response):
        stems = word_stems(response[slice(*at)])
        nearest = [(place, nearest_sentence(text, stems)) for place, text in enumerate(texts)]
        ranked = [
            (count, -place, span) for place, near in nearest if near for span, count in [near]
        ]
        if not ranked:
            continue
        count, place, (start, end) = max(ranked)
        if count >= MIN_SHARED * len(stems):
            found.append(Citation(at, -place, start, end))
    return found
