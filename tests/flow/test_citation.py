"""Citations of a streamed answer: the same as for the complete one, each at its sentence."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.flow.citation import CitationFinder, citations

TEXT = "A refund takes 3.5 days. The bank needs three more."
WORDS = st.sampled_from(
    [
        "refund",
        " takes",
        " days",
        " The bank",
        ".",
        " ",
        "\n",
        "3.",
        "5",
        "# A",
        "…",
        '"',
        "。",
        "Ä",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=25))
def test_they_are_those_of_the_whole_answer(parts: list[str]) -> None:
    finder, written = CitationFinder(["", TEXT]), ""
    for part in parts:
        written += part
        finder.update(written)
    assert finder.update(written, ended=True) == citations(written, ["", TEXT])


def test_a_sentence_is_looked_up_when_it_is_complete() -> None:
    finder = CitationFinder([TEXT])
    assert finder.update("A refund takes") == []
    (first,) = finder.update("A refund takes 3.")
    assert first.at == (0, 17)
    assert finder.update("A refund takes 3.5 days") == []
    (first,) = finder.update("A refund takes 3.5 days.")
    assert TEXT[first.start : first.end] == "A refund takes 3.5 days."
    assert finder.update("A refund takes 3.5 days. The bank") == [first]


def test_the_last_sentence_of_an_ended_answer_needs_no_mark() -> None:
    finder = CitationFinder([TEXT])
    assert finder.update("The bank needs three") == []
    assert len(finder.update("The bank needs three", ended=True)) == 1
