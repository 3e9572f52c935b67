"""CitedAnswer: the answer of a `Rag`, a dict that shows the source of each sentence."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from conduit_lab.core.quotation import without_marks
from conduit_lab.core.text import one_line
from conduit_lab.core.trace.value_snapshot import COPIES, snapshot
from conduit_lab.core.views import figures
from conduit_lab.core.views.pieces import Card, Cited, Columns, Folded, Line, Marked, ViewPiece
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.flow.citation import Citation, citations
from conduit_lab.flow.packing import Packed
from conduit_lab.vectors.found_card import heading_of, metadata_facts

_OWN = ("id", "score", "span", "text", "line", "page")  # keys of a source rather than its document
_CONTEXT_CHARACTERS = 160  # of a passage, on each side of a highlight
_WHOLE_PIXELS = 320
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t].*$", re.MULTILINE)


class RagAnswer(TypedDict):
    """The generator's text, and the passages that it received."""

    response: str
    sources: list[dict[str, Any]]


class CitedAnswer(Viewed, dict[str, Any]):
    """A dict of `response` and `sources`, displayed in a cell as an answer with its sources.

    Attributes used only for display are not part of the dict: the `question`, the `best` similarity
    of a passage with the `threshold` that it was compared with, and the `similarities` of the
    sources by id.
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

        A sentence is attributed to the source that shares the most word stems with it, provided
        that is at least half of its stems; the first source wins a tie.
        """
        texts = [source["text"] for source in self.get("sources", ())]
        return citations(self.get("response", ""), texts)

    def __repr__(self) -> str:
        return dict.__repr__(self)

    def _view(self) -> View:
        facts = [figures.plural(len(self.get("sources", ())), "source")]
        return View("Answer", "", facts, pieces=[self.columns(self.citations, self.nearest)])

    def columns(self, found: Sequence[Citation], *notes: str, ended: bool = True) -> Columns:
        """Return the question, the answer with citations `found` and `notes`, and then the sources.

        `ended` is False while the answer is being written.
        """
        numbers = [(cited.at[1], str(cited.source + 1)) for cited in found]
        lead = [Line(self.question, "quiet")] if self.question else []
        # the reader may have removed a key
        left: list[ViewPiece] = [*lead, Cited(self.get("response", ""), numbers)]
        left += [Line(note, "quiet") for note in notes if note]
        return Columns([left, self.source_cards(found, ended=ended)])

    def source_cards(self, found: Sequence[Citation], *, ended: bool = True) -> list[Card]:
        """Return a card per source, with the cited sentences highlighted."""
        return [
            self._card(source, place, [c for c in found if c.source == place], ended)
            for place, source in enumerate(self.get("sources", ()))
        ]

    @property
    def nearest(self) -> str:
        """The score of the best passage, for an answer without sources; otherwise empty."""
        if self.get("sources"):
            return ""
        if self.best is None or self.threshold is None:
            return "No passage was near enough to the question."
        return f"The nearest passage scored {self.best:.2f}; an answer needs {self.threshold:.2f}."

    def _card(
        self, source: Mapping[str, Any], place: int, found: Sequence[Citation], ended: bool
    ) -> Card:
        similarity = self.similarities.get(source["id"])
        own = {key: source[key] for key in source if key not in _OWN}
        facts = metadata_facts(own, f'answer["sources"][{place}]')
        text, spans = source["text"], sorted({(cited.start, cited.end) for cited in found})
        unused = "; no sentence of the answer was found in it" if ended and not spans else ""
        whole = Folded(
            f"the whole passage{unused}",
            [Marked(text, spans, _WHOLE_PIXELS), Line(" · ".join(facts), "quiet")],
        )
        return Card(
            one_line(heading_of(source) or str(source["id"]), 160),
            similarity or 0.0,
            "" if similarity is None else f"{similarity:.3f}",
            [_excerpt(text, spans), whole],
            number=str(place + 1),
        )


def _excerpt(text: str, spans: Sequence[tuple[int, int]]) -> Marked:
    """Return the highlighted parts of a passage in full, and excerpts of the text around them.

    Without highlights, return the beginning of the passage, about as long as an excerpt around one,
    so that little moves when the first citation is found.
    """
    if not spans:
        line = _plain_line(text)
        room = 2 * _CONTEXT_CHARACTERS
        return Marked(line if len(line) <= room else f"{_first_words(line, room)} …")
    shown, marks, at = "", [], 0
    for start, end in spans:
        shown += _between(text[at:start], at > 0, True)
        marks.append((len(shown), len(shown) + end - start))
        shown += text[start:end]
        at = end
    room = max(_CONTEXT_CHARACTERS, 2 * _CONTEXT_CHARACTERS - len(shown))
    return Marked(shown + _between(text[at:], True, False, room), marks)


def _between(text: str, after: bool, before: bool, room: int = _CONTEXT_CHARACTERS) -> str:
    """Return text as one plain line, cut to `room` next to a highlight `after` or `before` it."""
    line = _plain_line(text)
    if not line:
        return " " if after and before else ""
    if len(line) <= room * (after + before):
        return f"{' ' * after}{line}{' ' * before}"
    first = f" {_first_words(line, room)} …" if after else "…"
    return first + (f" {line[-room:].partition(' ')[2] or line[-room:]} " if before else "")


def _plain_line(text: str) -> str:
    """Return text on one line without Markdown and headings, which the card shows above."""
    return " ".join(without_marks(_HEADING.sub("", text)).split())


def _first_words(line: str, room: int) -> str:
    return line[:room].rpartition(" ")[0] or line[:room]


def _copied(answer: CitedAnswer, depth: int) -> CitedAnswer:
    copied = copy.copy(answer)
    copied.update(snapshot(dict(answer), depth))
    return copied


COPIES[CitedAnswer] = _copied  # a trace copies it, as it does a dict


def passage_source(hit: Any, part: Packed) -> dict[str, Any]:
    """Return the hit's metadata with the source's own keys, which take precedence."""
    begin = _start(hit.metadata, hit.content)
    own = {"id": hit.id, "score": hit.score}
    return {
        **own,
        **hit.metadata,
        **own,
        "span": [begin, begin + len(part.text)],
        "text": part.text,
    }


def _start(metadata: Mapping[str, Any], content: str) -> int:
    """Return the offset of a chunk in its document; 0 for an entry with an unrelated `start`."""
    start, end = metadata.get("start"), metadata.get("end")
    offsets = all(isinstance(at, int) and not isinstance(at, bool) for at in (start, end))
    return start if offsets and start >= 0 and end - start == len(content) else 0  # type: ignore[operator,return-value]
