"""A search by words finds the same in memory, in a file, a snapshot, Qdrant and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.store import VectorStore
from tests.vectors.conformance import KINDS, store_of

LONG = "".join(sha256(bytes([i])).hexdigest() for i in range(200))  # no index can pack it
TEXTS = {
    "returns": "She returns the kettles, not the lamps.",
    "returned": "Returned on 2024-03-05 under RMA-1138/b",
    "café": normalize("NFC", "Über dem Café, naïve Straße"),
    "nfd": normalize("NFD", "Résumé für Ångström"),
    "ligature": "The ﬁnal eﬀort, ＦＵＬＬ－ＷＩＤＴＨ ½ x²",
    "russian": "Ёлка и ёж пришли",
    "greek": "Ο Οδυσσέας και ο λόγος",
    "japanese": "東京 ガイド",
    "halfwidth": "ｶﾞｲﾄﾞ",
    "korean": normalize("NFD", "한국어 가이드"),
    "hindi": "हिन्दी की किताब",
    "hebrew": "שָׁלוֹם",
    "arabic": "مُحَمَّد",
    "thai": "ภาษาไทย",
    "apostrophe": "O'Brien doesn't re-enter the co-op's shop",
    "operators": "cats AND dogs OR birds NEAR fish",
    "emoji": "A kettle 🫖 for tea ☕️",
    "stop words": "To be, or not to be: that is the",
    "long": f"{LONG} {LONG}b ending",
    "hash": "0123456789abcdef0123456789abcdef",
    "underscore": "snake_case and camelCase v1.2",
    "nul": "before\0after",
    "control": "\1\3\2\5 control",
    "null": "NULL or nil",
    "nothing": "",
    "marks": "!?… 🎉 --",
}
FOUND = {
    # English endings, on both sides
    "return": {"returns", "returned"},
    "RETURNING": {"returns", "returned"},
    "kettles": {"returns", "emoji"},
    "lamp's": {"returns", "apostrophe"},
    # stop words: dropped beside others, found alone
    "the": {"returns", "ligature", "apostrophe", "stop words"},
    "not": {"returns", "stop words"},
    "not the kettle": {"returns", "emoji"},
    "to be or not to be": {"stop words", "returns", "operators", "null"},
    # accents, case, compatibility forms
    "uber": {"café"},
    "ÜBER": {"café"},
    "cafe": {"café"},
    normalize("NFD", "café"): {"café"},
    "strasse": {"café"},
    "STRASSE": {"café"},
    "resume": {"nfd"},
    "Résumé": {"nfd"},
    "angstrom": {"nfd"},
    "final effort": {"ligature"},
    "ﬁnal": {"ligature"},
    "full": {"ligature"},
    "ｗｉｄｔｈ": {"ligature"},
    "x2": {"ligature"},
    # other scripts
    "елка": {"russian"},
    "ЁЖ": {"russian"},
    "ΛΟΓΟΣ": {"greek"},
    "λογοσ": {"greek"},
    "οδυσσεας": {"greek"},
    "東京": {"japanese"},
    "ガイド": {"japanese", "halfwidth"},
    normalize("NFD", "ガイド"): {"japanese", "halfwidth"},
    "カイト": set(),
    "한국어": {"korean"},
    normalize("NFD", "가이드"): {"korean"},
    "हिन्दी": {"hindi"},
    "किताब": {"hindi"},
    "हि": set(),
    "न": set(),
    "שלום": {"hebrew"},
    "محمد": {"arabic"},
    "ภาษาไทย": {"thai"},
    # digits, hyphens, apostrophes, other signs
    "03": {"returned"},
    "2024-03-05": {"returned"},
    "rma1138": set(),
    "1138": {"returned"},
    "RMA-1138/B": {"returned"},
    "o'brien": {"apostrophe"},
    "brien": {"apostrophe"},
    "obrien": set(),
    "co": {"apostrophe"},
    "case": {"underscore"},
    "camelcase": {"underscore"},
    "camel": set(),
    "v1": {"underscore"},
    "after": {"nul"},
    "before": {"nul"},
    "control": {"control"},
    # languages of queries
    "AND": {"operators", "underscore"},
    "dogs AND zebras": {"operators"},
    "kettle -emoji": {"returns", "emoji"},
    "NEAR(cats, 7)": {"operators"},
    "dogs & zebras": {"operators"},
    "dog | zebra": {"operators"},
    "!dog": {"operators"},
    "'dog' <-> 'zebra'": {"operators"},
    'dog" OR "x': {"operators"},
    "dog:* content:fish": {"operators"},
    "dog*": {"operators"},
    "do*": set(),
    "dog %d {zebra} \\ \0": {"operators"},
    # long words, hashes, nothing
    LONG: {"long"},
    f"{LONG}B": {"long"},
    LONG[1:]: set(),
    LONG[:-1]: set(),
    "0123456789ABCDEF0123456789ABCDEF": {"hash"},
    "🫖": set(),
    "☕️ tea": {"emoji"},
    "": set(),
    "  \n": set(),
    "!?…": set(),
    "null": {"null"},
    "nowhere": set(),
}


@pytest.fixture(scope="module", params=[*KINDS, "snapshot"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VectorStore]:
    """A store of each kind with all texts, for reading, and an entry without content."""
    folder, kind = tmp_path_factory.mktemp("words"), request.param
    with store_of("file" if kind == "snapshot" else kind, folder, request) as store:
        metadatas = [{"n": n} for n in range(len(TEXTS))]
        store.add_many(list(TEXTS), np.ones((len(TEXTS), 2)), metadatas, list(TEXTS.values()))
        store.add("without", [1, 1])
        if kind != "snapshot":
            yield store
            return
        store.snapshot(folder / "snapshot")
    with VectorStore(path=folder / "snapshot") as snapshot:
        yield snapshot


@pytest.mark.parametrize("query", FOUND)
def test_a_word_finds_the_same_texts_everywhere(store: VectorStore, query: str) -> None:
    assert {hit.id for hit in store.search(query, 100, mode="lexical")} == FOUND[query]


def test_a_filter_keeps_some_of_them(store: VectorStore) -> None:
    hits = store.search("the kettle", 100, {"n": {"$gte": 10}}, mode="lexical")
    assert {hit.id for hit in hits} == {"emoji"}


@pytest.mark.parametrize("id", [id for id, text in TEXTS.items() if any(c.isalnum() for c in text)])
def test_a_text_finds_itself_first(store: VectorStore, id: str) -> None:
    for text in (TEXTS[id], TEXTS[id].upper(), normalize("NFD", TEXTS[id])):
        assert store.search(text, 3, mode="lexical")[0].id == id


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    with store_of(request.param, tmp_path, request) as store:
        yield store


def found(store: VectorStore, query: str) -> set[str]:
    return {hit.id for hit in store.search(query, 100, mode="lexical")}


def test_a_text_that_changes_is_found_by_its_last_words(empty: VectorStore) -> None:
    empty.add_many(["a", "b"], np.ones((2, 2)), None, ["old kettle", "old lamp"])
    empty.update("a", content="new kettles")
    assert (found(empty, "old"), found(empty, "new"), found(empty, "kettle")) == (
        {"b"},
        {"a"},
        {"a"},
    )
    empty.add("b", [1, 1])
    assert found(empty, "old lamp") == set()
    empty.delete("a")
    assert found(empty, "kettle") == set()


def test_words_without_weight_still_find(empty: VectorStore) -> None:
    empty.add_many(["a", "b", "c"], np.ones((3, 2)), None, ["kettle", "kettle", "kettle lamp"])
    assert found(empty, "kettle") == {"a", "b", "c"}
    assert [hit.id for hit in empty.search("kettle", 2, mode="lexical")] == ["a", "b"]
    assert empty.search("kettle lamp", 1, mode="lexical")[0].id == "c"


def test_hybrid_adds_the_same_entries(empty: VectorStore) -> None:
    texts = ["lamp"] * 100 + ["Déjà-vu returned"]
    angles = np.linspace(0, np.pi, 101)
    empty.embedder = First()
    empty.add_many(
        map(str, range(101)), np.stack([np.cos(angles), np.sin(angles)], axis=1), None, texts
    )
    hits = empty.search("deja returning", 50, mode="hybrid")
    assert {hit.id for hit in hits} == {*map(str, range(49)), "100"}


class First:
    """Embeds every text alike."""

    dimension = 2

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        one = np.array([1, 0], np.float32)
        return one if isinstance(texts, str) else np.stack([one for _ in texts])


@pytest.mark.parametrize("where", [None, {"n": {"$lt": 30}}])
def test_postgres_orders_as_the_local_store_does(
    where: dict[str, Any] | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    random = np.random.default_rng(1)
    words = np.array(["kettle", "kettles", "lamp", "the", "Straße", "дом", "x", "y", "z", "rare"])
    texts = [
        " ".join(words[random.geometric(0.25, random.integers(0, 30)) % 10]) for _ in range(60)
    ]
    answers = []
    for kind in ("memory", "postgres"):
        with store_of(kind, tmp_path, request) as store:
            store.add_many(
                map(str, range(60)), np.ones((60, 2)), [{"n": n} for n in range(60)], texts
            )
            store.add("without", [1, 1], {"n": 1})
            queries = (
                "kettle",
                "lamps and kettles, a kettle",
                "the",
                "strasse x ДОМ",
                "rare rarely y z",
            )
            answers.append([store.search(query, 12, where, mode="lexical") for query in queries])
    for here, there in zip(*answers, strict=True):
        assert [hit.id for hit in there] == [hit.id for hit in here]
        assert [hit.score for hit in there] == pytest.approx([hit.score for hit in here], rel=1e-9)
