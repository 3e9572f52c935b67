"""Terms are the words that the local store's index holds, in a form that no server changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.vectors.local_backend import LocalBackend
from conduit_lab.vectors.remote.terms import count_terms, query_terms
from tests.vectors.conformance import TEXTS, entry


def test_endings_are_dropped_and_terms_are_counted() -> None:
    texts = ["Returns, returned; the RETURN", None, "", "Café 2024-03", "…"]
    none = Counter[str]()
    assert count_terms(texts) == [
        {"return": 3, "the": 1},
        none,
        none,
        {"cafe": 1, "2024": 1, "03": 1},
        none,
    ]
    assert count_terms([]) == []


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Where are my returned kettles?", ["return", "kettl"]),
        ("returns return", ["return", "return"]),
        ("to be or not to be", ["to", "be", "or", "not"]),
        ("x AND NOT y*", ["x", "y"]),
        ("?!", []),
        ("", []),
    ],
)
def test_a_query_has_the_terms_of_its_telling_words_in_order(query: str, terms: list[str]) -> None:
    assert query_terms(query) == terms


def test_a_term_is_plain_ascii_and_never_looks_like_another() -> None:
    texts = ["дом", "東京", "हिन्दी", "a" * 31, "a" * 32, "a" * 100_000, "a" * 100_001, "é" * 40]
    terms = [next(iter(counts)) for counts in count_terms(texts)]
    assert len(set(terms)) == len(set(texts)) - 1  # FTS5 reads the first 32,768 bytes of a word
    assert all(term.isascii() and term.isalnum() and len(term) <= 32 for term in terms)
    assert [query_terms(text) for text in texts[:5]] == [[term] for term in terms[:5]]
    assert query_terms(terms[0]) != [terms[0]]


@given(TEXTS | st.text(st.characters(exclude_categories=["Cs"])), TEXTS)
def test_a_text_is_found_where_a_term_is_shared(text: str, query: str) -> None:
    for asked in (query, text, f"{query} {text[1:]}"):
        store = LocalBackend(None, 6, "cosine")
        store.upsert([entry("a", content=text)])
        shared = set(query_terms(asked)) & set(count_terms([text])[0])
        assert bool(store.lexical(asked, 1)) == bool(shared)
        store.close()
