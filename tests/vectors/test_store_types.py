"""The types of a store's answers, checked by mypy and at run time."""

from __future__ import annotations

from typing import assert_type

import numpy as np

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.duplicates import Duplicates, Group
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.evaluate import Evaluation, Judged, evaluate
from conduit_lab.vectors.filters import Where
from conduit_lab.vectors.hits import Hit, Hits
from conduit_lab.vectors.search import Mode
from conduit_lab.vectors.store import VectorStore
from tests.vectors.test_store import Letters

TEXTS = ["aab", "bbc", "cca"]


def test_answers_have_the_types_of_their_queries() -> None:
    mode: Mode = "hybrid"
    where: Where = {"n": {"$gte": 0}}
    array: FloatArray = np.ones(4, np.float32)
    with VectorStore(embedder=Letters()) as store:
        store.add_many(TEXTS, None, [{"n": n, "page": text} for n, text in enumerate(TEXTS)], TEXTS)
        one: list[Hits] = [
            assert_type(store.search("aab", where=where, mode=mode), Hits),
            assert_type(store.search(array), Hits),
            assert_type(store.search([1.0, 0.0, 0.0, 0.0]), Hits),
            assert_type(store.more_like("aab"), Hits),
        ]
        many: list[list[Hits]] = [
            assert_type(store.search(TEXTS), list[Hits]),
            assert_type(store.search([array]), list[Hits]),
            assert_type(store.search([[1.0, 0.0, 0.0, 0.0]]), list[Hits]),
        ]
        assert {type(hits) for hits in one} == {Hits}
        assert {type(hits) for lists in many for hits in lists} == {Hits}
        assert isinstance(assert_type(one[0][0], Hit), Hit)
        assert [type(entry) for entry in store] == [Entry] * 3
        assert assert_type(store.get("none"), Entry | None) is None
        groups = assert_type(store.duplicates(0.9), Duplicates)
        assert assert_type(groups[:1], tuple[Group, ...]) == ()
        quality = evaluate(store, [{"question": "aab", "pages": "aab"}], top_k=1, by="page")
        assert isinstance(assert_type(quality, Evaluation)[0], Judged)
        assert len(assert_type(quality[:1], tuple[Judged, ...])) == 1
