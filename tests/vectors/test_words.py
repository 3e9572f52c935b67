"""A search by words finds the same entries in memory, in a file, in a snapshot, in Qdrant and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unicodedata import normalize

import numpy as np
import pytest

from conduit_lab.vectors.store import VectorStore
from tests.vectors.remote.qdrant_server import qdrant_server

KINDS = ("memory", "file", "snapshot", "qdrant", "qdrant server", "postgres")
LONG = "kettle" * 400
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
    "to be or not to be": {"stop words", "returns", "operators"},
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
    "kettle" * 399: set(),
    "0123456789ABCDEF0123456789ABCDEF": {"hash"},
    "🫖": set(),
    "☕️ tea": {"emoji"},
    "": set(),
    "  \n": set(),
    "!?…": set(),
    "nowhere": set(),
}


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    """A store of each kind with all texts, for reading, and two entries without content."""
    folder = tmp_path_factory.mktemp("words")
    match request.param:
        case "memory":
            store = VectorStore(2)
        case "file" | "snapshot":
            store = VectorStore(2, path=folder / "words.db")
        case "qdrant":
            store = VectorStore.connect("qdrant://:memory:/words", 2)
        case "qdrant server":
            server = qdrant_server()
            url = server.__enter__().url
            request.addfinalizer(lambda: server.__exit__(None, None, None))
            store = VectorStore.connect(f"{url}/words", 2)
        case _:
            store = VectorStore.connect(request.getfixturevalue("postgres"), 2, name=folder.name)
    store.add_many(list(TEXTS), np.ones((len(TEXTS), 2)), [{"n": n} for n in range(len(TEXTS))], list(TEXTS.values()))
    store.add("without", [1, 1])
    if request.param == "snapshot":
        with store:
            store.snapshot(folder / "snapshot")
        store = VectorStore(path=folder / "snapshot")
    with store:
        yield store


@pytest.mark.parametrize("query", FOUND)
def test_a_word_finds_the_same_texts_everywhere(store: VectorStore, query: str) -> None:
    assert {hit.id for hit in store.search(query, 100, mode="lexical")} == FOUND[query]


def test_a_filter_keeps_some_of_them(store: VectorStore) -> None:
    hits = store.search("the kettle", 100, {"n": {"$gte": 10}}, mode="lexical")
    assert {hit.id for hit in hits} == {"emoji"}


@pytest.mark.parametrize("id", [id for id, text in TEXTS.items() if any(c.isalnum() for c in text)])
@pytest.mark.parametrize("change", [str, str.upper, lambda text: normalize("NFD", text)])
def test_a_text_finds_itself_first(store: VectorStore, id: str, change: Callable[[str], str]) -> None:
    assert store.search(change(TEXTS[id]), 3, mode="lexical")[0].id == id
