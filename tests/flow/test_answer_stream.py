"""The stream of an answer: its static form in each state, and its figures."""

from __future__ import annotations

from collections.abc import Generator
from threading import Event
from typing import Any, cast

import pytest

from conduit_lab.core.errors import StreamCancelled
from conduit_lab.flow.answer_stream import AnswerDraft, AnswerStream
from conduit_lab.flow.cited_answer import CitedAnswer, RagAnswer
from conduit_lab.models.generation.result import Token
from tests.core.views.test_html import EVIL, Seen

TEXT = "A refund takes five days. The bank needs three more."
SOURCE = {"id": "refunds#0", "score": 1.0, "title": "Refunds", "span": [0, 52], "text": TEXT}
WAIT = 10


class Writing:
    """An answer whose chunks are given, and which then waits until the test lets it go on."""

    def __init__(self, *chunks: Any, error: Exception | None = None, held: bool = False) -> None:
        self.draft = AnswerDraft("How long?")
        self.found = CitedAnswer("", [SOURCE], "How long?", 0.7, 0.38, {"refunds#0": 0.7})
        self.written, self.go_on = Event(), Event()
        self._chunks, self._error = chunks, error
        if not held:
            self.go_on.set()
        self.stream = AnswerStream(self._flow(), self.draft)

    def _flow(self) -> Generator[dict[str, Any], None, RagAnswer]:
        self.draft.found = self.found
        yield {"chunk": "", "complete": False, "sources": self.found["sources"]}
        for chunk in self._chunks:
            self.draft.add(chunk, str(chunk))
            yield {"chunk": str(chunk), "complete": False}
        self.written.set()
        self.go_on.wait(WAIT)
        if self._error is not None:
            raise self._error
        self.found["response"] = self.draft.text
        return cast(RagAnswer, self.found)


def after_header(value: Any) -> str:
    return str(value._repr_mimebundle_()["text/html"].partition("</div>")[2])


def test_an_ended_stream_is_shown_as_its_answer() -> None:
    stream = Writing("A refund ", "takes five days. ", "The bank needs three").stream
    answer: Any = stream.result(WAIT)
    html = stream._repr_mimebundle_()["text/html"]
    assert "<sup" in html and "<em" in html and "✓ done" in html
    assert after_header(stream) == f"{after_header(answer)}</div>"  # of the whole output


def test_a_running_one_shows_its_sources_and_complete_sentences() -> None:
    writing = Writing("A refund takes five days. ", "The bank", held=True)
    writing.written.wait(WAIT)
    shown = writing.stream._view().plain()
    assert shown.startswith("Answer · ● running · 1 source · first ")
    assert "A refund takes five days. [1] The bank\n" in shown and "1 Refunds 0.700" in shown
    assert "no sentence of the answer" not in shown
    writing.go_on.set()
    writing.stream.wait(WAIT)


def test_before_the_sources_it_shows_the_question() -> None:
    draft = AnswerDraft("How long?")
    gate = Event()

    def flow() -> Generator[dict[str, Any], None, RagAnswer]:
        gate.wait(WAIT)
        yield {}
        return RagAnswer(response="", sources=[])

    stream = AnswerStream(flow(), draft)
    shown = stream._view().plain()
    assert "How long?" in shown and "No passage" not in shown and "source" not in shown
    gate.set()
    stream.wait(WAIT)


def test_a_cancelled_one_keeps_its_text() -> None:
    writing = Writing("A refund takes five days. The", held=True)
    writing.written.wait(WAIT)
    writing.stream.cancel()
    writing.go_on.set()
    with pytest.raises(StreamCancelled):
        writing.stream.result(WAIT)
    shown = writing.stream._view().plain()
    assert "■ cancelled" in shown and "A refund takes five days. [1] The" in shown


def test_a_failed_one_says_why() -> None:
    writing = Writing("A refund", error=ValueError("no <b>ink</b>"))
    writing.stream.wait(WAIT)
    view = writing.stream._view()
    assert "A refund\nValueError: no <b>ink</b>\n1 Refunds" in view.plain()
    assert "<b>ink" not in view.html()


def test_its_speed_counts_tokens_where_the_generator_gives_them() -> None:
    draft = AnswerDraft("Q?")
    assert draft.rate == ""
    draft.add(Token("a", 0, 0, 0.0), "a")
    draft.add("", "")
    draft._last = (draft.first or 0) + 0.5
    assert draft.rate == "2.00 tokens/s"
    words = AnswerDraft("Q?")
    words.add("a", "a")
    words.add("b", "b")
    words._last = (words.first or 0) + 0.5
    assert words.rate == "2.00 chunks/s"


def test_without_sources_it_says_how_near_the_best_came() -> None:
    writing = Writing("I do not know.", held=True)
    writing.found["sources"] = []
    writing.go_on.set()
    writing.stream.wait(WAIT)
    assert (
        "The nearest passage scored 0.70; an answer needs 0.38." in writing.stream._view().plain()
    )


def test_a_result_that_lost_its_sources_is_still_shown() -> None:
    writing = Writing("A refund")
    answer: Any = writing.stream.result(WAIT)
    del answer["sources"]
    assert "A refund" in writing.stream._view().plain()


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_is_only_text(evil: str) -> None:
    writing = Writing(f"{evil} word.", error=ValueError(evil))
    writing.draft.question = evil
    writing.stream.wait(WAIT)
    seen = Seen(writing.stream._repr_mimebundle_()["text/html"])
    assert seen.tags <= {"div", "span", "b", "sup", "em", "details", "summary"}
