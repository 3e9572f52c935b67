"""The messages of an answer's live view, without a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab.flow.answer_stream import AnswerDraft, AnswerStream
from conduit_lab.flow.cited_answer import CitedAnswer
from conduit_lab.notebook.views.answer import ANSWER
from conduit_lab.notebook.views.answer import view as view_module
from conduit_lab.notebook.views.answer.view import AnswerView

TEXT = "## Refunds\n\nA refund takes five days. The bank needs three more."
SOURCES = [
    {"id": "a", "score": 1.0, "title": "Refunds", "span": [0, 64], "text": TEXT, "kind": "returns"},
    {"id": "b", "score": 0.5, "span": [0, 5], "text": "Nothing here."},
]


class Draft(AnswerDraft):
    """An answer whose text comes when the test says so."""

    def pour(self, text: str) -> None:
        self.add(text, text)

    def find(self, sources: list[dict[str, Any]] | None = None) -> None:
        found = SOURCES if sources is None else sources
        self.found = CitedAnswer("", found, self.question, 0.123, 0.38, {"a": 0.7})


@pytest.fixture
def draft() -> Draft:
    return Draft("How long?")


@pytest.fixture
def sent() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def stream(draft: Draft) -> Any:
    stopped: list[bool] = []
    return SimpleNamespace(
        draft=draft,
        facts=["● running"],
        notes=[],
        finished=False,
        stopped=stopped,
        cancel=lambda: stopped.append(True),
    )


@pytest.fixture
def view(stream: Any, sent: list[dict[str, Any]]) -> AnswerView:
    return AnswerView(stream, sent.append)


def test_the_question_comes_at_once_and_the_sources_when_they_are_found(
    view: AnswerView, draft: Draft, sent: list[dict[str, Any]]
) -> None:
    view.flush()
    view.flush()
    assert sent == [{"seq": 0, "whole": True, "question": "How long?", "facts": ["● running"]}]
    draft.find()
    view.flush()
    first, second = sent[1]["cards"]
    assert (first["number"], first["title"], first["share"], first["score"]) == (
        "1",
        "Refunds",
        0.7,
        "0.700",
    )
    assert first["excerpt"] == [("A refund takes five days. The bank needs three more.", False)]
    assert first["passage"] == [(TEXT, False)] and first["facts"] == "kind: returns"
    assert second["title"] == "b" and second["score"] == "" and sent[1]["numbers"] == []
    view.flush()
    assert len(sent) == 2


def test_text_comes_in_pieces_and_a_complete_sentence_with_its_source(
    view: AnswerView, draft: Draft, sent: list[dict[str, Any]]
) -> None:
    draft.find()
    view.flush()
    for text in ("😀 A refund ", "takes five days", ". Then"):
        draft.pour(text)
        view.flush()
    assert [message["text"] for message in sent[1:]] == [
        "😀 A refund ",
        "takes five days",
        ". Then",
    ]
    assert "cards" not in sent[2]
    assert sent[3]["numbers"] == [[28, "1"]]  # the emoji counts as two
    marked = [text for text, is_marked in sent[3]["cards"][0]["excerpt"] if is_marked]
    assert marked == ["A refund takes five days."]
    assert not any(is_marked for _, is_marked in sent[3]["cards"][1]["passage"])


def test_a_number_is_taken_back_when_the_sentence_goes_on(
    view: AnswerView, draft: Draft, sent: list[dict[str, Any]]
) -> None:
    draft.find()
    for text in ("A refund takes five days.", "5 kettles boil water under mountains"):
        draft.pour(text)
        view.flush()
    assert sent[0]["numbers"] and sent[1]["numbers"] == []


def test_a_page_that_opens_gets_everything_again(
    view: AnswerView, draft: Draft, sent: list[dict[str, Any]]
) -> None:
    draft.find()
    draft.pour("A refund takes five days. ")
    view.flush()
    view.receive({"replay": True})
    view.flush()
    view.opened()
    view.flush()
    first, second, third = ({**message, "seq": 0} for message in sent)
    assert first == second == third and first["whole"] and first["text"] and first["numbers"]
    assert [message["seq"] for message in sent] == [0, 1, 2]


def test_an_unknown_answer_says_how_near_the_best_came(
    view: AnswerView, stream: Any, draft: Draft, sent: list[dict[str, Any]]
) -> None:
    draft.find([])
    stream.notes = ["The nearest passage scored 0.12; an answer needs 0.38."]
    draft.pour("I do not know.")
    view.flush()
    assert sent[0]["notes"] == stream.notes and sent[0]["cards"] == []


def test_a_long_text_comes_in_several_messages(
    view: AnswerView, draft: Draft, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_module, "MAX_ANSWER_CHARACTERS", 10)
    draft.find()
    draft.pour("A refund takes five days.")
    for _ in range(4):
        view.flush()
    assert [message["text"] for message in sent] == ["A refund t", "akes five ", "days."]


def test_stop_cancels_the_stream(view: AnswerView, stream: Any) -> None:
    view.receive({"stop": True})
    assert stream.stopped == [True]
    view.close()


def test_a_lone_surrogate_can_be_sent(
    view: AnswerView, draft: Draft, sent: list[dict[str, Any]]
) -> None:
    draft.question = "\ud800?"
    draft.find([{**SOURCES[0], "title": "\ud800", "text": "\ud800 refund."}])
    draft.pour("\ud800 refund.")
    view.flush()
    json.dumps(sent[0], ensure_ascii=False).encode()
    assert sent[0]["numbers"] == [[9, "1"]]


def test_the_view_of_a_real_stream_ends_with_it() -> None:
    def flow() -> Iterator[Any]:
        yield {"chunk": ""}

    source: Any = flow()
    stream = AnswerStream(source, AnswerDraft("Q?"))
    stream.wait(10)
    assert ANSWER.ended(stream) and not ANSWER.running(stream)
