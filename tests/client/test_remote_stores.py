"""The stores of a served app answer as they do locally."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import App, Hits, RemoteApp
from conduit_lab.core.errors import InputError, RemoteInputError, UnknownName
from conduit_lab.serving.run.thread import Server
from tests.client.conftest import Connect, Desk


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 3}, {"where": {"n": {"$gt": 4}}, "exact": True}, {"mmr": 0.5}],
)
def test_a_search_gives_the_same_hits(desk: Desk, remote: RemoteApp, options: Any) -> None:
    query = np.array([1, 2, 3], np.float32)
    local = desk.app.stores["notes"].search(query, **options)
    here = remote.stores["notes"].search(query, **options)
    assert type(here) is Hits
    assert here == local
    assert (here.plan, here.best, here.store) == (local.plan, local.best, "notes")
    assert here.similarities == local.similarities
    assert repr(here) == repr(local)
    assert here._view().html() == local._view().html()


def test_words_find_entries_and_stay_in_the_view(desk: Desk, remote: RemoteApp) -> None:
    hits = remote.stores["notes"].search("note 3", mode="lexical", top_k=1)
    assert hits == desk.app.stores["notes"].search("note 3", mode="lexical", top_k=1)
    assert hits.query == "note 3"


def test_several_queries_give_a_list(desk: Desk, remote: RemoteApp) -> None:
    queries = np.array([[1, 2, 3], [3, 2, 1]])
    assert remote.stores["notes"].search(queries, 2) == desk.app.stores["notes"].search(queries, 2)
    texts = remote.stores["notes"].search(["note 1", "note 2"], 1, mode="lexical")
    assert [hits[0].id for hits in texts] == ["n1", "n2"]
    with pytest.raises(InputError, match="got 3 axes"):
        remote.stores["notes"].search(np.zeros((1, 1, 1)))


def test_a_store_shows_its_facts(remote: RemoteApp) -> None:
    store = remote.stores["notes"]
    assert (len(store), store.dimension, store.metric) == (10, 3, "cosine")
    assert repr(store) == "<RemoteStore 'notes' · 10 · 3 values · cosine>"
    assert "10 entries" in store._view().plain()
    assert "notes" in remote.stores._view().html()


def test_mistakes_are_those_of_the_store(remote: RemoteApp) -> None:
    with pytest.raises(RemoteInputError, match=r"expects float32 \[3\]"):
        remote.stores["notes"].search([1, 2])
    with pytest.raises(InputError, match="unknown operator"):
        remote.stores["notes"].search([1, 2, 3], where={"n": {"$gtt": 1}})
    with pytest.raises(UnknownName, match="Did you mean 'notes'"):
        remote.stores["note"]


def test_an_app_that_serves_no_stores_says_how_to(tmp_path: Path, connecting: Connect) -> None:
    app = App("bare", root=tmp_path)
    with Server(app, port=0) as server:
        remote = connecting(server.url)
        assert remote.stores == {}
        with pytest.raises(UnknownName, match=r"create it with App\(…, protocols=\[\"stores\"\]\)"):
            remote.stores["notes"]
