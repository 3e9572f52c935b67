"""Text in a form that PostgreSQL can store: it round-trips and compares the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.vectors.remote.where_sql import decode_text, encode_text

# Mostly characters that are encoded, or look like encoded ones.
TEXTS = st.text(
    st.sampled_from("\0\1\2\3\4\5\6a") | st.characters(exclude_categories=["Cs"]), max_size=8
)


@given(TEXTS)
def test_written_text_has_no_nul_and_is_read_back(text: str) -> None:
    assert "\0" not in encode_text(text)
    assert decode_text(encode_text(text)) == text


@given(TEXTS, TEXTS)
def test_written_text_keeps_its_order(one: str, other: str) -> None:
    assert (encode_text(one) < encode_text(other)) == (one < other)


@given(TEXTS, TEXTS, TEXTS)
def test_written_text_contains_what_the_text_contains(text: str, other: str, part: str) -> None:
    assert (encode_text(part) in encode_text(text)) == (part in text)
    assert encode_text(part) in encode_text(text + part + other)
