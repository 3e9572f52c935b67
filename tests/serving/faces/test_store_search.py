"""The stores of an app over HTTP: read only, bounded, and every mistake a 400 of the app's form."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from conduit_lab import App, VectorStore
from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.faces import store_search
from conduit_lab.serving.faces.store_search import MAX_SEARCH_CHARACTERS, MAX_SEARCH_HITS
from conduit_lab.serving.gate.keys import new_key

Ask = Callable[[App], TestClient]

SEARCH = "/v1/stores/notes/search"
COUNT = 40


class Letters:
    """An embedder: how often a, b and c occur."""

    name = "letters"
    dimension = 3

    def encode(self, texts: Any) -> Any:
        single = isinstance(texts, str)
        rows = [[text.count(letter) + 0.1 for letter in "abc"] for text in np.atleast_1d(texts)]
        return np.array(rows[0] if single else rows, np.float32)


@pytest.fixture
def store(tmp_path: Path) -> tuple[App, VectorStore]:
    app = App("desk", root=tmp_path, protocols=["stores"])
    store = app.vector_store("notes", embedder=Letters())
    store.open()
    for n in range(COUNT):
        store.add(f"n{n}", metadata={"n": n, "even": n % 2 == 0}, content="abc"[n % 3] * (n + 1))
    return app, store


def refused(client: TestClient, body: Any, status: int = 400) -> str:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = {"content-type": "application/json"}
    answer = client.post(SEARCH, content=content, headers=headers)
    error = answer.json()["error"]
    assert answer.status_code == error["status"] == status
    assert error["request_id"] == answer.headers["x-request-id"]
    message: str = error["message"]
    assert len(message) <= 4000
    return message


def test_the_list_has_the_facts_of_each_store(store: tuple[App, VectorStore], asking: Ask) -> None:
    (listed,) = asking(store[0]).get("/v1/stores").json()["stores"]
    assert listed == {
        "name": "notes",
        "entries": COUNT,
        "dimension": 3,
        "metric": "cosine",
        "takes_text": True,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"query": "aab"},
        {"query": [1, 2.5, 0], "top_k": 3},
        {"query": "b", "where": {"n": {"$gte": 10}, "even": True}, "top_k": COUNT},
        {"query": "c", "mode": "lexical"},
        {"query": "cc", "mode": "hybrid", "fusion": "rank", "mmr": 0.5},
        {"query": "a", "where": {"n": -1}, "exact": True},
    ],
)
def test_a_search_answers_as_the_store_does(
    store: tuple[App, VectorStore], asking: Ask, options: dict[str, Any]
) -> None:
    arguments = {**options, "query": options["query"]}
    expected = store[1].search(arguments.pop("query"), **arguments)
    answer = asking(store[0]).post(SEARCH, json=options)
    assert answer.status_code == 200
    assert answer.json() == json.loads(
        json.dumps(
            {
                "store": "notes",
                "plan": expected.plan,
                "best": expected.best,
                "hits": expected,
                "similarities": expected.similarities,
            }
        )
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "expects an object with query"),
        ({}, "query expects text, or an embedding"),
        ({"query": ""}, "query expects text"),
        ({"query": [1, 2]}, "expects float32 [3]"),
        ({"query": [1, 2, True]}, "list of numbers"),
        ({"query": [[1, 2, 3]]}, "list of numbers"),
        ({"query": [1, 2, 1e39]}, "must be finite"),
        ({"query": [1, 2, 2**200]}, ""),
        ({"query": "a" * (MAX_SEARCH_CHARACTERS + 1)}, "at most 32,768 characters"),
        ({"query": "a", "top_k": MAX_SEARCH_HITS + 1}, "from 1 to 1000"),
        ({"query": "a", "top_k": 10**12}, "from 1 to 1000"),
        ({"query": "a", "top_k": True}, "from 1 to 1000"),
        ({"query": "a", "top_k": 2.0}, "from 1 to 1000"),
        ({"query": "a", "where": [True] * COUNT}, "expects a filter"),
        ({"query": "a", "where": {"$drop": 1}}, "unknown operator '$drop'"),
        ({"query": "a", "where": {"n": {"$gt": {}}}}, "expects a number or text"),
        ({"query": "a", "mode": ["dense"]}, "mode is one of"),
        ({"query": "a", "fusion": {}}, "'score' or 'rank'"),
        ({"query": "a", "mmr": "1"}, "mmr is a number"),
        ({"query": "a", "exact": 1}, "true or false"),
        ({"query": "a", "rerank": "model.onnx"}, "a search has no 'rerank'"),
        ({"query": "a", "topk": 3}, "Did you mean 'top_k'"),
        ({"x" * 10**6: 1}, "a search has no 'xxx"),
        ('{"query": "a", "mmr": NaN}', "not valid JSON"),
    ],
)
def test_a_mistake_is_named(
    store: tuple[App, VectorStore], asking: Ask, body: Any, words: str
) -> None:
    assert words in refused(asking(store[0]), body)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"$or": [{"n": n} for n in range(10**5)]}, "more than 1000 clauses"),
        ({f"k{n}": n for n in range(10**5)}, "more than 1000 clauses"),
        ({"n": {f"${n}": 1 for n in range(10**5)}}, "unknown operator"),
    ],
    ids=["or", "keys", "operators"],
)
def test_a_filter_of_100_000_clauses_is_refused(
    store: tuple[App, VectorStore], asking: Ask, where: Any, words: str
) -> None:
    assert words in refused(asking(store[0]), {"query": "a", "where": where})


@pytest.mark.parametrize("depth", [17, 300, 100_000])
def test_a_deep_filter_is_refused(store: tuple[App, VectorStore], asking: Ask, depth: int) -> None:
    text = '{"$not":' * depth + '{"n":1}' + "}" * depth
    refused(asking(store[0]), '{"query":"a","where":' + text + "}")
    text = '{"n":' + "[" * depth + "]" * depth + "}"
    if depth > 100:
        refused(asking(store[0]), '{"query":"a","where":' + text + "}")


@settings(max_examples=60, deadline=None)
@given(
    where=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["$and", "$or", "$not", "$in", "$gt", "$exists", "$eq", "n", "$x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_any_filter_is_a_200_or_a_400(where: Any) -> None:
    with TestClient(_shared_app(), raise_server_exceptions=False) as client:
        answer = client.post(SEARCH, json={"query": "ab", "where": where})
    assert answer.status_code in (200, 400), answer.text


def _shared_app() -> App:
    app = App("desk", protocols=["stores"])
    store = app.stores["notes"] = VectorStore(embedder=Letters(), name="notes", dimension=3)
    store.add("a", metadata={"n": 1}, content="a")
    return app


def test_an_unknown_store_names_the_nearest(store: tuple[App, VectorStore], asking: Ask) -> None:
    answer = asking(store[0]).post("/v1/stores/nots/search", json={"query": "a"})
    assert answer.status_code == 404
    assert "Did you mean 'notes'" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "GET"])
def test_nothing_can_be_written(store: tuple[App, VectorStore], asking: Ask, method: str) -> None:
    assert asking(store[0]).request(method, SEARCH).status_code == 405
    assert asking(store[0]).request(method, "/v1/stores/notes").status_code == 404
    assert len(store[1]) == COUNT


def test_only_an_app_that_asks_for_it_serves_its_stores(tmp_path: Path, asking: Ask) -> None:
    assert asking(App("desk", root=tmp_path)).get("/v1/stores").status_code == 404
    with pytest.raises(EndpointError, match="Did you mean 'stores'"):
        App("desk", root=tmp_path, protocols=["store"])


def test_a_slow_search_leaves_the_loop_free(
    store: tuple[App, VectorStore], asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = asking(store[0])
    begun, go = threading.Event(), threading.Event()
    answer = store_search._answer

    def slow(*args: Any) -> Any:
        begun.set()
        assert go.wait(20)
        return answer(*args)

    monkeypatch.setattr(store_search, "_answer", slow)
    done: list[int] = []
    thread = threading.Thread(
        target=lambda: done.append(client.post(SEARCH, json={"query": "a"}).status_code)
    )
    thread.start()
    assert begun.wait(20)
    assert client.get("/healthz").status_code == 200
    go.set()
    thread.join(20)
    assert done == [200]


def test_a_tenant_sees_its_own_stores_and_those_of_all(tmp_path: Path, asking: Ask) -> None:
    made = {tenant: new_key(tenant, tenant=tenant) for tenant in ("north", "south")}
    everyone, admin = new_key("admin")
    keys = [*(key for _, key in made.values()), admin]
    app = App("desk", root=tmp_path, protocols=["stores"], keys=keys)
    for name, tenant in (("shared", None), ("a", "north"), ("b", "south")):
        app.vector_store(name, dimension=2, tenant=tenant).open().add("x", [1, 0])
    client = asking(app)

    def seen(secret: str) -> tuple[list[str], list[int]]:
        headers = {"authorization": f"Bearer {secret}"}
        listed = client.get("/v1/stores", headers=headers).json()["stores"]
        searched = [
            client.post(f"/v1/stores/{name}/search", json={"query": [1, 0]}, headers=headers)
            for name in ("shared", "a", "b")
        ]
        return [each["name"] for each in listed], [each.status_code for each in searched]

    assert seen(made["north"][0]) == (["shared", "a"], [200, 200, 404])
    assert seen(made["south"][0]) == (["shared", "b"], [200, 404, 200])
    assert seen(everyone) == (["shared", "a", "b"], [200, 200, 200])
    hidden = client.post(
        "/v1/stores/b/search",
        json={"query": [1, 0]},
        headers={"authorization": f"Bearer {made['north'][0]}"},
    )
    assert hidden.json()["error"]["message"] == "no store 'b'; there are shared, a"
    assert client.get("/v1/stores").status_code == 401
