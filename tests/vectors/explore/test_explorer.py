"""The explorer of a store: its map, searches, selection, and the faults that it meets."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.evaluate import evaluate
from conduit_lab.vectors.explore.explorer import Explorer
from conduit_lab.vectors.store import VectorStore

HOSTILE = "<img src=x onerror=alert(1)>"


class Letters:
    """Embeds a text by the counts of its letters a, b, c and d."""

    dimension = 4
    name = "letters"

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            vector: FloatArray = self.encode([texts])[0]
            return vector
        return np.array([[text.count(letter) for letter in "abcd"] for text in texts], np.float32)


def filled(count: int = 40, **options: Any) -> VectorStore:
    """A store of texts of the letter a and of texts of the letter b."""
    store = VectorStore(embedder=Letters(), name="letters", **options)
    texts = [("ab"[i % 2] * (3 + i % 5)) + "cd"[i % 3 % 2] for i in range(count)]
    kinds = [{"kind": "ab"[i % 2], "number": i} for i in range(count)]
    store.add_texts(texts, kinds, [f"doc#{i}" for i in range(count)])
    return store


def html(explorer: Explorer) -> str:
    shown: str = explorer._repr_mimebundle_()["text/html"]
    return shown


def test_an_explorer_shows_all_entries_and_how_much_the_plane_holds() -> None:
    explorer = filled().explore()
    assert explorer.map.xy.shape == (40, 2)
    assert "40 entries · 2 directions hold" in repr(explorer)
    assert "data:image/png;base64," in html(explorer)
    assert "data:image" not in repr(explorer)


def test_a_search_gives_the_hits_of_the_store_and_their_places() -> None:
    store = filled()
    explorer = store.explore()
    hits = explorer.search("aaac", top_k=3)
    assert [hit.id for hit in hits] == [hit.id for hit in store.search("aaac", top_k=3)]
    assert hits.query == "aaac"
    assert explorer.shown is not None
    places = [explorer.map.place_of[hit.id] for hit in hits]
    np.testing.assert_array_equal(explorer.shown.xy, explorer.map.xy[places])
    assert "“aaac”" in repr(explorer)


def test_a_query_that_equals_an_entry_lies_on_it() -> None:
    store = filled()
    explorer = store.explore(store["doc#7"].embedding)
    assert explorer.shown is not None
    assert explorer.shown.ring is not None
    np.testing.assert_allclose(explorer.shown.ring, explorer.map.xy[7], atol=1e-5)


def test_the_query_is_embedded_once() -> None:
    calls: list[object] = []

    class Counting(Letters):
        def encode(self, texts: str | Sequence[str]) -> FloatArray:
            calls.append(texts)
            return super().encode(texts)

    store = VectorStore(embedder=Counting())
    store.add_texts(["aab", "bbc"])
    explorer = store.explore()
    before = len(calls)
    explorer.search("aa")
    assert len(calls) - before in (1, 2)  # an array's texts are embedded one by one inside
    assert calls[before:].count(["aa"]) == 1


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_other_modes_search_by_words(mode: Any) -> None:
    explorer = filled().explore()
    assert "words" in explorer.search("aaac", mode=mode).plan


def test_a_selection_is_the_entries_in_the_order_of_adding() -> None:
    explorer = filled().explore()
    chosen = explorer.select(["doc#9", "doc#2", "nobody", "doc#2"])
    assert [entry.id for entry in chosen] == ["doc#2", "doc#9"]
    assert explorer.selected_ids == ["doc#2", "doc#9"]


def test_entries_that_were_deleted_leave_the_selection() -> None:
    store = filled()
    explorer = store.explore()
    explorer.select(["doc#1", "doc#2"])
    store.delete("doc#1")
    assert [entry.id for entry in explorer.selection] == ["doc#2"]
    assert explorer.map.texts([1, 2]) == [None, store["doc#2"].content]


def test_deleted_entries_are_not_on_a_new_map() -> None:
    store = filled()
    store.delete([f"doc#{i}" for i in range(0, 40, 2)])
    explorer = store.explore()
    assert explorer.map.ids == [f"doc#{i}" for i in range(1, 40, 2)]


def test_a_filter_keeps_its_entries_for_the_map_and_for_searches() -> None:
    explorer = filled().explore(where={"kind": "b"})
    assert {metadata["kind"] for metadata in explorer.map.metadatas} == {"b"}
    hits = explorer.search("aaaa", top_k=10, where={"number": {"$lt": 9}})
    assert [sorted(hit.id for hit in hits)] == [["doc#1", "doc#3", "doc#5", "doc#7"]]


def test_a_sample_says_how_many_of_how_many_and_is_the_same_each_time() -> None:
    store = filled(300)
    explorer, again = store.explore(limit=50), store.explore(limit=50)
    assert "50 of 300 entries, chosen at random" in repr(explorer)
    assert explorer.map.ids == again.map.ids
    assert len(set(explorer.map.ids)) == 50


def test_a_hit_outside_the_sample_is_placed_too() -> None:
    store = filled(300)
    explorer = store.explore(limit=5)
    whole = store.explore()
    outside = next(id for id in whole.map.ids if id not in explorer.map.place_of)
    located = explorer.locate(store[outside].embedding, 1, {"number": int(outside[4:])}, "dense")
    assert located.ring is not None
    np.testing.assert_allclose(located.xy[0], located.ring, atol=1e-5)


def test_an_empty_store_says_how_to_fill_it() -> None:
    explorer = VectorStore(dimension=384, name="new").explore()
    assert "0 entries" in repr(explorer)
    assert "store.add_texts" in html(explorer)
    assert explorer.search(np.zeros(384)) == []
    assert explorer.selection == []


def test_one_entry_is_a_map() -> None:
    store = VectorStore(dimension=3)
    store.add("only", [1, 2, 3])
    explorer = store.explore([1, 2, 3])
    assert np.isfinite(explorer.map.xy).all()
    assert "1 entry" in html(explorer)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2", "manhattan"])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e30, 1e-30])
def test_equal_vectors_are_one_place_and_one_group(metric: str, value: float) -> None:
    store = VectorStore(384, metric)
    store.add_many([str(i) for i in range(384)], np.full((384, 384), value, np.float32))
    explorer = store.explore()
    assert "all vectors are equal" in repr(explorer)
    assert np.ptp(explorer.map.xy, axis=0).max() == 0
    assert len(explorer.map.clusters.centres) == 1
    groups = explorer.map.neighbourhood.groups
    assert [len(group) for group in groups] == ([384] if value else [])
    assert len(explorer.map.neighbourhood.outliers) == 0
    assert "data:image/png" in html(explorer)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["cosine", "dot", "l2", "manhattan"]),
)
def test_no_vectors_give_nan(vectors: list[list[float]], metric: str) -> None:
    store = VectorStore(3, metric)
    store.add_many([str(i) for i in range(len(vectors))], vectors)
    explorer = store.explore(vectors[0])
    assert np.isfinite(explorer.map.xy).all()
    assert explorer.shown is not None
    assert explorer.shown.ring is not None
    assert np.isfinite(explorer.shown.ring).all()
    assert "nan" not in repr(explorer).lower()


def test_ten_thousand_categories_show_seven_and_count_the_others() -> None:
    count = 10_000
    store = VectorStore(dimension=2)
    angles = np.linspace(0, 2, count)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    store.add_many(list(map(str, range(count))), vectors, [{"tag": f"t{i}"} for i in range(count)])
    explorer = store.explore(color_by="tag")
    assert len(explorer.coloring.categories) == 7
    assert "9\u2009993 other values" in html(explorer)


def test_a_store_without_embedder_takes_vectors_and_names_the_way_for_text() -> None:
    store = VectorStore(dimension=2)
    store.add_many(["a", "b"], [[1, 0], [0, 1]], None, ["first", "second"])
    explorer = store.explore([1, 0])
    assert "query: an embedding" in repr(explorer)
    with pytest.raises(VectorInputError, match="has no embedder"):
        explorer.search("text")
    assert [hit.id for hit in explorer.search("second", mode="lexical")] == ["b"]
    assert explorer.shown is not None
    assert explorer.shown.ring is None
    assert "“second”" in html(explorer)


def test_a_batch_of_queries_is_refused() -> None:
    with pytest.raises(VectorInputError, match="one text or one embedding, got a batch"):
        filled().explore().search(["aa", "bb"])  # type: ignore[list-item]


def test_a_closed_store_says_so_and_its_map_can_still_be_shown() -> None:
    store = filled()
    explorer = store.explore("aa")
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.explore()
    with pytest.raises(StoreError, match="closed"):
        explorer.search("aa")
    assert "“aa”" in html(explorer)


def test_an_unknown_colour_names_the_nearest_key() -> None:
    with pytest.raises(VectorInputError, match=r"no entry has the key 'knd'.*'kind'"):
        filled().explore(color_by="knd")
    explorer = filled().explore()
    with pytest.raises(VectorInputError, match="color_by expects"):
        explorer.color_by = "colour"
    explorer.color_by = "kind"
    assert [category.label for category in explorer.coloring.categories] == ["a", "b"]


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "all"])
def test_a_limit_is_a_positive_number(limit: Any) -> None:
    with pytest.raises(VectorInputError, match="limit is a whole number"):
        filled().explore(limit=limit)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(VectorInputError, match="'pca' or 'umap', got 'tsne'"):
        filled().explore(method="tsne")  # type: ignore[arg-type]


def test_umap_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(VectorInputError, match=r"pip install 'conduit-lab\[umap\]'"):
        filled().explore(method="umap")


def test_umap_places_entries_and_new_vectors_among_their_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fake:
        def __init__(self, **options: Any) -> None:
            assert options["n_neighbors"] < 40

        def fit_transform(self, rows: FloatArray) -> FloatArray:
            return np.stack([np.arange(len(rows)), np.zeros(len(rows))], axis=1).astype(np.float32)

    monkeypatch.setitem(__import__("sys").modules, "umap", type("module", (), {"UMAP": Fake}))
    store = filled()
    explorer = store.explore(store["doc#7"].embedding, method="umap")
    assert "UMAP" in repr(explorer)
    assert explorer.shown is not None
    assert explorer.shown.ring is not None
    assert 0 <= explorer.shown.ring[0] <= 39


def test_hostile_text_stays_text_everywhere() -> None:
    store = VectorStore(embedder=Letters(), name=HOSTILE)
    metadatas = [{HOSTILE: HOSTILE if i % 2 else "b", "title": HOSTILE} for i in range(20)]
    store.add_texts(
        [f"{HOSTILE} {'ab'[i % 2] * 5}" for i in range(20)],
        metadatas,
        [f"{HOSTILE}{i}" for i in range(20)],
    )
    explorer = store.explore(HOSTILE, color_by=HOSTILE)
    for field in ("clusters", HOSTILE):
        explorer.color_by = field
        assert "<img src=x" not in html(explorer)
    assert "&lt;img src=x" in html(explorer)


def test_threads_search_and_select_at_once() -> None:
    explorer = filled().explore()
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                explorer.search("ab"[number % 2] * 4)
                explorer.select([f"doc#{number}"])
                _ = explorer.map.neighbourhood
                html(explorer)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_the_failing_questions_of_an_evaluation_say_where_the_right_page_was() -> None:
    store = VectorStore(embedder=Letters(), name="pages")
    texts = ["aaaa", "aaab", "abbb", "bbbb", "cccc"]
    store.add_texts(texts, [{"source": text} for text in texts])
    questions = [
        {"question": "aaaac", "pages": "aaaa"},
        {"question": "bbbbb", "pages": "aaab"},
        {"question": "ccc", "pages": "aaaa"},
    ]
    evaluation = evaluate(store, questions, top_k=2, modes={"dense": {}, "varied": {"mmr": 1.0}})
    explorer = store.explore(evaluation=evaluation)
    assert [each.question for each in explorer.misplaced] == ["bbbbb", "ccc"]
    assert explorer.misplaced[0].ranks == {"dense": None, "varied": None}
    assert explorer.rank_pages(explorer.misplaced[0]) == {"dense": 3, "varied": 3}
    assert explorer.page_places(["aaab"]) == [1]
    assert "2 questions with the right page not first" in repr(explorer)
    assert "dense not in 2" in html(explorer)


def test_an_explorer_without_evaluation_has_no_questions() -> None:
    explorer = filled().explore()
    assert explorer.misplaced == []
    assert explorer.page_places(["x"]) == []
