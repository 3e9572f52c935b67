"""The kernel's half of the explorer's live view: its answers, and that the newest query wins."""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from queue import Queue
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.notebook.views.explorer import EXPLORER
from conduit_lab.notebook.views.explorer.view import ExplorerView, where_of
from conduit_lab.notebook.views.explorer.worker import NewestJobs
from conduit_lab.vectors.evaluate import evaluate
from conduit_lab.vectors.explore.coloring import by_field
from conduit_lab.vectors.explore.explorer import Explorer
from conduit_lab.vectors.store import VectorStore

WAIT = 20  # seconds that nothing here should need


class Letters:
    """Embeds a text by the counts of its letters a to d; may wait for `allowed`."""

    dimension = 4
    name = "letters"

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.allowed.set()
        self.begun = threading.Event()
        self.asked: list[str] = []

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        rows = [texts] if isinstance(texts, str) else list(texts)
        self.asked += rows
        self.begun.set()
        assert self.allowed.wait(WAIT)
        found = np.array([[row.count(letter) for letter in "abcd"] for row in rows], np.float32)
        return found[0] if isinstance(texts, str) else found


class Page:
    """Collects what a view sends."""

    def __init__(self, explorer: Explorer) -> None:
        self.messages: Queue[dict[str, Any]] = Queue()
        self.view = ExplorerView(explorer, self.messages.put)

    def ask(self, **message: Any) -> None:
        self.view.receive(message)

    def read(self, kind: str) -> dict[str, Any]:
        """Return the next message of a kind."""
        while True:
            message = self.messages.get(timeout=WAIT)
            json.dumps(message)
            if message["kind"] == kind:
                return message


@pytest.fixture
def store() -> VectorStore:
    store = VectorStore(embedder=Letters(), name="letters")
    ids = [f"doc{i // 4}.md#{i % 4}" for i in range(40)]
    texts = ["ab"[i % 2] * (3 + i % 5) + "cd"[i % 3 % 2] for i in range(40)]
    store.add_texts(texts, [{"kind": "ab"[i % 2], "n": i} for i in range(40)], ids)
    return store


@pytest.fixture
def page(store: VectorStore) -> Iterator[Page]:
    page = Page(store.explore())
    yield page
    page.view.close()


def packed(*places: int) -> str:
    return b64encode(np.array(places, "<u4").tobytes()).decode()


def test_a_page_gets_the_map_its_colours_and_the_marks(page: Page) -> None:
    page.view.flush()
    sent = page.read("map")
    places = np.frombuffer(b64decode(sent["xy"]), "<u2").reshape(-1, 2)
    assert places.shape == (40, 2)
    xy = page.view.explorer.map.xy
    unit = (xy - xy.min(axis=0)) / np.ptp(xy, axis=0)
    np.testing.assert_allclose(places / 65_535, unit, atol=1e-4)
    colors = page.read("colors")
    assert len(b64decode(colors["codes"])) == 40
    assert sum(each["entries"] for each in colors["categories"]) == 40
    assert page.read("marks")["exact"]


def test_a_page_that_opens_later_gets_all_again_with_the_last_search(page: Page) -> None:
    page.view.flush()
    page.read("marks")
    page.ask(do="search", text="aaa", mode="dense", serial=7)
    page.read("hits")
    page.view.opened()
    page.view.flush()
    assert page.read("map")["count"] == 40
    assert page.read("hits")["query"] == "aaa"


def test_hits_have_their_places_and_the_query_its_ring(page: Page) -> None:
    page.ask(do="search", text="aaac", mode="dense", serial=3)
    sent = page.read("hits")
    assert sent["serial"] == 3
    assert len(sent["hits"]) == 10
    first = sent["hits"][0]
    assert page.view.explorer.map.ids[first["place"]] == first["id"]
    assert len(first["at"]) == len(sent["ring"]) == 2
    assert page.view.explorer.shown is not None


def test_of_queries_that_wait_only_the_newest_is_searched(store: VectorStore, page: Page) -> None:
    embedder = store.embedder
    assert isinstance(embedder, Letters)
    embedder.allowed.clear()
    embedder.asked.clear()
    embedder.begun.clear()
    page.ask(do="search", text="a", mode="dense", serial=1)
    assert embedder.begun.wait(WAIT)
    for serial, text in enumerate(("ab", "abb", "abbb"), 2):
        page.ask(do="search", text=text, mode="dense", serial=serial)
    embedder.allowed.set()
    assert page.read("hits")["serial"] == 1
    assert page.read("hits")["serial"] == 4
    assert [text for text in embedder.asked if text.startswith("ab")] == ["abbb"]


def test_an_empty_query_clears_the_search(page: Page) -> None:
    page.ask(do="search", text="aaa", mode="dense", serial=1)
    page.read("hits")
    page.ask(do="search", text="  ", mode="dense", serial=2)
    assert page.read("hits")["hits"] == []
    assert page.view.explorer.shown is None


def test_a_lasso_sets_the_selection(page: Page) -> None:
    page.ask(do="select", places=packed(1, 5, 7, 4_000_000_000), serial=2)
    sent = page.read("selection")
    assert (sent["serial"], sent["count"]) == (2, 3)
    assert [row["id"] for row in sent["rows"]] == ["doc0.md#1", "doc1.md#1", "doc1.md#3"]
    chosen = [entry.id for entry in page.view.explorer.selection]
    assert chosen == ["doc0.md#1", "doc1.md#1", "doc1.md#3"]


def test_a_filter_is_given_as_code_and_limits_the_search(page: Page) -> None:
    page.ask(do="color", field="kind")
    categories = page.read("colors")["categories"]
    code = [each["label"] for each in categories].index("b")
    page.ask(do="filter", filters={"kind": [code]})
    assert page.read("where")["text"] == "where={'kind': 'b'}"
    page.ask(do="search", text="aaaa", mode="dense", serial=1)
    places = [hit["place"] for hit in page.read("hits")["hits"]]
    assert {page.view.explorer.map.metadatas[place]["kind"] for place in places} == {"b"}


def test_filters_of_two_keys_are_joined(page: Page) -> None:
    page.view.explorer.map.coloring("n")
    page.ask(do="filter", filters={"kind": [0, 1], "n": [0], "clusters": [0]})
    assert page.read("where")["text"] == (
        "where={'$and': [{'kind': {'$in': ['a', 'b']}}, {'n': {'$gte': 0, '$lt': 6.5}}]}"
    )


def test_several_ranges_are_one_filter() -> None:
    found = by_field([{"n": i} for i in range(60)], "n").categories[:2]
    where = where_of("n", found)
    assert where is not None
    assert [sorted(each["n"]) for each in where["$or"]] == [["$gte", "$lt"]] * 2
    assert where_of("n", []) is None


def test_an_entry_opens_between_its_neighbours(page: Page) -> None:
    page.ask(do="open", id="doc2.md#1")
    parts = page.read("entry")["parts"]
    assert [part["id"] for part in parts] == ["doc2.md#0", "doc2.md#1", "doc2.md#2"]
    assert [part["own"] for part in parts] == [False, True, False]


def test_an_entry_that_was_deleted_says_so(store: VectorStore, page: Page) -> None:
    store.delete("doc2.md#1")
    page.ask(do="open", place=9)
    assert page.read("entry")["facts"] == ["deleted meanwhile"]


@pytest.mark.parametrize(
    "message",
    [
        {"do": "open", "place": 4_000},
        {"do": "color", "field": "nothing"},
        {"do": "select", "places": "abc", "serial": 1},
        {"do": "search", "text": "a"},
        {"do": "peek", "place": "x"},
    ],
)
def test_a_message_that_cannot_be_answered_is_a_problem(
    page: Page, message: dict[str, Any]
) -> None:
    page.ask(**message)
    assert page.read("problem")["text"]
    page.ask(do="peek", place=0)
    assert page.read("peek")["place"] == 0  # the thread goes on


def test_an_unknown_message_is_ignored(page: Page) -> None:
    page.ask(do="format the disk")
    page.ask(do="peek", place=0)
    assert page.read("peek")["title"] == "doc0.md#0"


def test_a_closed_store_is_a_problem_in_words(store: VectorStore, page: Page) -> None:
    store.close()
    page.ask(do="search", text="a", mode="dense", serial=1)
    assert "closed" in page.read("problem")["text"]


def test_a_question_of_an_evaluation_shows_its_right_page(store: VectorStore) -> None:
    questions = [{"question": "bbbbb", "pages": "a"}]
    evaluation = evaluate(store, questions, top_k=2, modes={"dense": {}}, by="kind")
    page = Page(store.explore(evaluation=evaluation))
    page.view.flush()
    assert page.read("map")["questions"][0]["words"] == "dense not in 2"
    page.ask(do="question", number=0, serial=5)
    assert page.read("hits")["serial"] == 5
    ranks = page.read("ranks")
    assert ranks["places"] == list(range(0, 40, 2))
    assert ranks["words"].startswith("dense 2")
    page.view.close()


def test_a_lone_surrogate_reaches_the_page_as_a_question_mark(page: Page) -> None:
    page.view._put({"kind": "x", "texts": ["a\ud800"], "deep": {"text": "\udfff"}})
    sent = page.read("x")
    assert (sent["texts"], sent["deep"]["text"]) == (["a?"], "?")


def test_the_static_form_follows_a_search(page: Page) -> None:
    page.ask(do="search", text="aaac", mode="dense", serial=1)
    page.read("hits")
    page.view._static_at = 0.0
    page.view.flush()
    assert "“aaac”" in page.read("static")["html"]


def test_an_explorer_never_ends_and_never_runs(page: Page) -> None:
    assert not EXPLORER.ended(page.view.explorer)
    assert not EXPLORER.running(page.view.explorer)


def test_jobs_after_the_end_are_dropped_and_a_failing_job_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = NewestJobs("test")
    done = threading.Event()
    jobs.give("bad", lambda: [][0])
    jobs.give("good", done.set)
    assert done.wait(WAIT)
    assert "a job of test failed" in caplog.text
    jobs.close()
    late = threading.Event()
    jobs.give("late", late.set)
    assert not late.is_set()
