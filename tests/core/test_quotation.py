"""Quotation: sentences, stems, and the nearest sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.quotation import (
    matching_words,
    nearest_sentence,
    sentence_spans,
    stem,
    without_marks,
    word_stems,
)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab .!?\n#*「」。A", max_size=60))
def test_sentences_are_apart_in_order_and_without_space_around(text: str) -> None:
    at = 0
    for start, end in sentence_spans(text):
        assert at <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        at = end


def test_sentences_of_a_passage_leave_out_its_headings() -> None:
    text = "# A title\n\nThe first one, e.g. this. A second!\n- third"
    assert [text[slice(*span)] for span in sentence_spans(text)] == [
        "The first one, e.g. this.",
        "A second!",
        "- third",
    ]


@pytest.mark.parametrize(
    "words",
    [("refund", "refunds", "Refunded"), ("take", "taking", "takes"), ("customer's", "CUSTOMER")],
)
def test_forms_of_a_word_have_one_stem(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1


def test_words_without_a_meaning_have_no_stem() -> None:
    assert word_stems("How is it that we do? 7") == {"7"}


def test_matching_words_are_places_in_the_text() -> None:
    text = "A refund, refunds; no fund"
    assert [text[slice(*at)] for at in matching_words(text, {"refund"})] == ["refund", "refunds"]


def test_the_nearest_sentence_shares_most_stems_and_is_the_first_of_several() -> None:
    text = "Nothing here. A refund is made. Refunds take days. Days of a refund."
    assert nearest_sentence(text, word_stems("refund days")) == ((32, 50), 2)
    assert nearest_sentence(text, word_stems("kettle")) is None


def test_markdown_becomes_text() -> None:
    text = "## A *title*\n> **bold** and `code`, [a link](http://x)\n- item of 2*3*4 snake_case"
    assert without_marks(text) == "A title\nbold and code, a link\nitem of 2*3*4 snake_case"
