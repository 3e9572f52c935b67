"""AnswerStream: the stream of a `Rag`'s answer, shown with its sources from the start."""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any

from conduit_lab.core.streams.stream import STATE_MARKS, Stream
from conduit_lab.core.text import first_words
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import View
from conduit_lab.flow.citation import CitationFinder
from conduit_lab.flow.cited_answer import CitedAnswer, RagAnswer
from conduit_lab.models.generation.result import Token


class AnswerDraft:
    """A partial answer. One thread writes it, others may read it at any time.

    `found` holds its sources once the search is done, None before.
    """

    def __init__(self, question: str) -> None:
        self.question = question
        self.found: CitedAnswer | None = None
        self.first: float | None = None  # on the monotonic clock, like `_last`
        self._last = 0.0
        self._count = 0
        self._unit = "chunks"
        self._texts: list[str] = []

    def add(self, chunk: Any, text: str) -> None:
        """Add the text of a chunk from the generator."""
        self._last = monotonic()
        if self.first is None:
            self.first = self._last
            self._unit = "tokens" if isinstance(chunk, Token) else "chunks"
        self._count += 1
        self._texts.append(text)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def answer(self) -> CitedAnswer:
        """The answer so far."""
        found = self.found
        if found is None:
            return CitedAnswer("", [], self.question)
        sources = found.get("sources", [])  # the result's reader may have removed the key
        about = (found.question, found.best, found.threshold, found.similarities)
        return CitedAnswer(self.text, sources, *about)

    @property
    def tokens(self) -> int:
        """Tokens generated so far; counts chunks if the number of tokens is unknown."""
        return self._count

    @property
    def rate(self) -> str:
        """The generator's speed; empty before the second chunk."""
        if self.first is None or self._last <= self.first:
            return ""
        return figures.rate((self._count - 1) / (self._last - self.first), self._unit)


class AnswerStream(Stream[dict[str, Any], RagAnswer]):
    """The chunks of an answer, as described in `Rag.stream`; its result is the answer.

    A cell shows the sources as soon as they are found, then the answer as it is written, each
    complete sentence with the number of its source.
    """

    def __init__(
        self, source: Generator[dict[str, Any], None, RagAnswer], draft: AnswerDraft
    ) -> None:
        self.draft = draft
        super().__init__(source, name=first_words(draft.question))

    @property
    def facts(self) -> list[str]:
        """The header facts."""
        draft = self.draft
        facts = [f"{STATE_MARKS[self.state]} {self.state}"]
        if draft.found is not None:
            facts.append(figures.plural(len(draft.found.get("sources", ())), "source"))
        if draft.first is not None:
            facts.append(f"first {figures.seconds(max(0.0, draft.first - self.started))}")
        return [*facts, *([draft.rate] if draft.rate else [])]

    @property
    def notes(self) -> list[str]:
        """The lines below the answer: the nearest score if there is no answer, and the error."""
        draft, error = self.draft, self.error
        nearest = draft.answer.nearest if draft.found is not None else ""
        failed = "" if error is None else f"{type(error).__name__}: {error}"
        return [note for note in (nearest, failed) if note]

    def _view(self) -> View:
        ended = self.state == "done"
        answer = self.draft.answer
        finder = CitationFinder([source["text"] for source in answer["sources"]])
        found = finder.update(answer["response"], ended=ended)
        columns = answer.columns(found, *self.notes, ended=ended)
        return View("Answer", "", self.facts, pieces=[columns])
