"""Short text: bounded, on one line, with an ellipsis if truncated."""

from __future__ import annotations

import pytest

from conduit_lab.core.text import clip, first_line, first_words, one_line


def test_the_first_line_of_an_error_or_its_type() -> None:
    assert first_line(ValueError(" first\nsecond")) == "first"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 1000))) == 200


@pytest.mark.parametrize(("text", "clipped"), [("abc", "abc"), ("abcd", "ab…")])
def test_clipped_text_says_so(text: str, clipped: str) -> None:
    assert clip(text, 3) == clipped


def test_the_first_words_are_one_short_line() -> None:
    assert first_words(" Once\nupon a time ") == "Once upon a time"
    assert first_words("word " * 10**6) == "word word word word word word word word…"


def test_a_passage_on_one_line() -> None:
    assert one_line("a\n\n b", 10) == "a b"
    assert one_line("word " * 100, 10) == "word word…"
    assert one_line("a" + " " * 100, 10) == "a…"  # what was not read may hold text
