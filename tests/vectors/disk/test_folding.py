"""Words in any script and Unicode form match themselves; files of older versions are upgraded."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.vectors.disk import lexical, record
from conduit_lab.vectors.disk.storage import Storage
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.store import VectorStore

FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


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
    "word",
    [
        "éléphant", "tiếng", "Ångström", "İstanbul", "ısı", "Straße", "Łódź", "йод", "ёлка", "Їжак",
        "Ελληνικά", "ᾠδή", "한국어", "がぎぐげご", "ガギグ", "ｶﾞｷﾞ", "日本語", "हिन्दी", "ภาษาไทย",
        "العَرَبِيَّة", "أحمد", "עִבְרִית", "ქართული", "Հայերեն", "தமிழ்", "বাংলা",
        "１２３", "ﬁle", "x²", "㎏",
    ],
)  # fmt: skip
def test_a_text_finds_itself_in_every_form(storage: Storage, word: str) -> None:
    texts = {form: unicodedata.normalize(form, word) for form in FORMS}
    storage.put(
        [
            *(entry(form, f"x {text}, y.") for form, text in texts.items()),
            entry("other", "nothing of it"),
        ]
    )
    for form, text in texts.items():
        assert sorted(found(storage, text)) == sorted(FORMS), form


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("οδός", "ΟΔΟΣ"),
        ("ΟΔΟΣ", "οδός"),
        ("Ёлка", "елка"),
        ("Елка", "ёлка"),
        ("ﬁle oﬃce", "office"),
        ("office", "oﬃce"),
        ("ＡＢＣ", "abc"),
        ("abc", "ＡＢＣ"),
        ("STRASSE", "straße"),
        ("Straße", "STRASSE"),
        ("İSTANBUL", "istanbul"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("Kaffee\u00admaschine", "kaffeemaschine"),
        ("می\u200cخواهم", "میخواهم"),
        ("１２３ km", "123"),
        ("ﾃｽﾄ", "テスト"),
        ("Ⅳ", "iv"),
    ],
)
def test_a_text_is_found_by_the_same_word_in_other_letters(
    storage: Storage, stored: str, asked: str
) -> None:
    storage.put([entry("a", stored), entry("b", "nothing of it")])
    assert found(storage, asked) == ["a"]


@pytest.mark.parametrize(
    ("stored", "asked"), [("か", "が"), ("हिन्दी", "हन्द"), ("한국", "한국어"), ("日本", "日本語")]
)
def test_other_words_stay_others(storage: Storage, stored: str, asked: str) -> None:
    storage.put([entry("a", stored)])
    assert found(storage, asked) == []


@given(st.text(st.characters(categories=["L", "N", "M", "P", "Z"]), min_size=1, max_size=20))
@settings(deadline=None)
def test_folding_again_changes_nothing_and_forms_are_alike(text: str) -> None:
    folded = lexical.fold(text).casefold()
    assert lexical.fold(folded) == folded
    assert {lexical.fold(unicodedata.normalize(form, text)).casefold() for form in FORMS} == {
        folded
    }


def test_the_text_itself_stays_as_it_was_given() -> None:
    text = unicodedata.normalize("NFD", "ﬁle É 한국어")
    with VectorStore(2) as store:
        store.add("a", [1, 0], content=text)
        [hit] = store.search("한국어", mode="lexical")
        assert hit.content == store["a"].content == text


def test_changed_and_removed_texts_leave_the_index_whole(storage: Storage) -> None:
    storage.put([entry("a", "ﬁrst Ёлка"), entry("b", "ﬁrst"), entry("c", None)])
    storage.put([entry("a", "한국어"), entry("c", "ﬁrst")])
    storage.remove(["b"])
    storage._connection.execute(lexical.CHECK)
    assert (found(storage, "first"), found(storage, "елка"), found(storage, "한국어")) == (
        ["c"],
        [],
        ["a"],
    )


def make_unfolded(path: Path, kind: str = "store") -> None:
    """Write a file as it was before texts were folded."""
    Storage(path, 2).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in (*lexical._DROP, *(statement.strip() for statement in lexical.UNFOLDED)):
            connection.execute(statement)
        for i, text in enumerate(
            ["Ёлка", "a lamp", "éléphant", unicodedata.normalize("NFD", "한국어"), None]
        ):
            fields = (str(i), np.ones(2, np.float32), {"n": i}, text, 1.0, 1.0)
            connection.execute(record.UPSERT, record.to_row(fields, 2 if kind == "store" else 0))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'kind'", (kind,))


def test_an_older_file_is_indexed_again_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    make_unfolded(path)
    for _ in range(2):
        with VectorStore(path=path) as store:
            for text, id in (("елка", "0"), ("lamps", "1"), ("ELEPHANT", "2"), ("한국어", "3")):
                assert [hit.id for hit in store.search(text, mode="lexical")] == [id]
            assert store["3"].content == unicodedata.normalize("NFD", "한국어")
            store.add("5", [1, 0], content="Ёлка")
            assert [hit.id for hit in store.search("елка", mode="lexical")] == ["0", "5"]
            store.delete("5")


def test_an_older_file_that_cannot_be_written_is_searched_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    make_unfolded(path, "snapshot")
    storage = Storage(path, read_only=True)
    assert [found(storage, text) for text in ("ЁЛКА", "lamp", "elephant")] == [["0"], ["1"], ["2"]]
    storage.close()


def test_two_stores_index_an_older_file_again_once(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    make_unfolded(path)
    with VectorStore(path=path) as one, VectorStore(path=path) as two:
        one.add("5", [1, 0], content="ﬁrst")
        assert [hit.id for hit in two.search("first", mode="lexical")] == ["5"]
        two.update("5", content="Ёлка")
        assert [hit.id for hit in one.search("елка", mode="lexical")] == ["0", "5"]
