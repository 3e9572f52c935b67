"""Words: any text is a safe query, and the index knows every text as it is."""

from __future__ import annotations

import string
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.vectors.disk import lexical
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry


def entry(id: str, content: str | None) -> Entry:
    return Entry(id, np.zeros(2, np.float32), {}, content, 1.0, 1.0)


@pytest.fixture
def storage() -> Iterator[Storage]:
    storage = Storage(None, 2, "cosine")
    yield storage
    storage.close()


def found(storage: Storage, text: str) -> list[str]:
    return [id for id, _ in storage.lexical(text, 1_000)]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("my kettle broke", '"kettle" OR "broke"'),
        ("Kettle, kettle; KETTLE!", '"KETTLE"'),
        ("kettle AND NOT lamp", '"kettle" OR "lamp"'),
        (
            'content : "lamp" ^ kettle* NEAR(a b, 2)',
            '"content" OR "lamp" OR "kettle" OR "NEAR" OR "b" OR "2"',
        ),
        ("a\0lamp_shade\ud800", '"lamp" OR "shade"'),
        ("to be or not to be", '"to" OR "be" OR "or" OR "not"'),
        ("caf\u00e9 cafe\u0301", '"caf\u00e9"'),
        ("?!… \n", None),
        ("", None),
    ],
)
def test_a_query_is_words_alone(text: str, query: str | None) -> None:
    assert lexical.match(text) == query


def test_a_query_has_a_bound() -> None:
    query = lexical.match(" ".join(f"word{i}" for i in range(100_000)))
    assert query is not None
    assert query.count(" OR ") == lexical.MAX_QUERY_WORDS - 1


@given(st.text() | st.text(string.punctuation + string.whitespace + "aAO\0", max_size=40))
@settings(deadline=None)
def test_any_text_can_be_asked(text: str) -> None:
    storage = Storage(None, 2, "cosine")
    storage.put([entry("a", "a lamp"), entry("b", text if text.isprintable() else "x")])
    assert set(found(storage, text)) <= {"a", "b"}
    storage.close()


def test_ten_megabytes_can_be_asked(storage: Storage) -> None:
    storage.put([entry("a", "a lamp")])
    assert found(storage, "lamp " * 2_000_000) == ["a"]
    assert found(storage, "x" * 10_000_000) == []


def test_endings_case_and_accents_do_not_matter(storage: Storage) -> None:
    storage.put(
        [entry("a", "Returning the CAFÉ lamps"), entry("b", "nothing of it"), entry("c", "Straße")]
    )
    for text in ("return", "returns!", "cafe", "cafe\u0301", "LAMP", "lamp's"):
        assert found(storage, text) == ["a"], text
    assert found(storage, "straße") == ["c"]


def test_the_best_come_first(storage: Storage) -> None:
    texts = [
        "lamp",
        "a lamp and a kettle",
        "kettle",
        "lamp",
        None,
        "sofa",
        "lamp kettle toaster and a sofa bed",
    ]
    storage.put([entry(str(i), text) for i, text in enumerate(texts)])
    hits = storage.lexical("the lamp or the kettle", 10)
    assert {id for id, _ in hits} == {"0", "1", "2", "3", "6"}
    assert hits[0][0] == "1"
    scores = [score for _, score in hits]
    assert scores == sorted(scores, reverse=True)
    assert [id for id, _ in hits if id in "03"] == [
        "0",
        "3",
    ]  # equal scores: in insertion order
    assert storage.lexical("the lamp or the kettle", 2) == hits[:2]


def test_equal_scores_keep_the_order_of_adding(storage: Storage) -> None:
    storage.put([entry(f"{i * 7919 % 500}", "one lamp") for i in range(500)])
    assert found(storage, "lamp") == [f"{i * 7919 % 500}" for i in range(500)]


WORDS = ["lamp", "kettle", "sofa", "fork", "Löffel", "日本"]
CONTENTS = st.none() | st.lists(
    st.sampled_from([*WORDS, "a", "\0", "lamp_fork", ""]), max_size=6
).map(" ".join)
IDS = st.sampled_from("abcdef")
CHANGES = st.lists(
    st.tuples(
        st.just("put"), st.lists(st.tuples(IDS, CONTENTS), unique_by=lambda row: row[0], max_size=4)
    )
    | st.tuples(st.just("remove"), st.lists(st.tuples(IDS, st.none()), max_size=3)),
    max_size=12,
)


@given(CHANGES)
@settings(deadline=None)
def test_the_index_follows_every_change(
    changes: list[tuple[str, list[tuple[str, str | None]]]],
) -> None:
    storage = Storage(None, 2, "cosine")
    texts: dict[str, str | None] = {}
    for kind, rows in changes:
        if kind == "put":
            storage.put([entry(id, text) for id, text in rows])
            texts |= dict(rows)
        else:
            storage.remove([id for id, _ in rows])
            texts = {id: text for id, text in texts.items() if id not in dict(rows)}
        for word in WORDS:
            holders = {
                id
                for id, text in texts.items()
                if text and word in text.replace("_", " ").split(" ")
            }
            assert set(found(storage, word)) == holders
    storage._connection.execute(lexical.CHECK)
    storage.close()
