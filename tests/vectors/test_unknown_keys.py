"""Empty hits say that no entry has a key of the filter, with the nearest one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.filters import parse_filter
from conduit_lab.vectors.store import VectorStore


@pytest.fixture
def store() -> Iterator[VectorStore]:
    with VectorStore(2, name="handbook") as store:
        store.add("a", [1, 0], {"section": "returns", "year": 2020}, "A refund takes five days.")
        store.add("b", [0, 1], {"section": "care"})
        yield store


def plan(store: VectorStore, where: dict[str, Any], **options: Any) -> str:
    hits = store.search([1, 0], where=where, **options)
    assert hits == []
    return hits.plan


SAYS = "no entry has the key 'sektion'; did you mean 'section'?"


def test_a_misspelled_key_is_named_with_the_nearest(store: VectorStore) -> None:
    assert plan(store, {"sektion": "returns"}).endswith(f"; {SAYS}")
    hits = store.search("refund", where={"sektion": "returns"}, mode="lexical")
    assert repr(hits) == f"0 hits for 'refund' in handbook · words; {SAYS}"
    assert SAYS in hits._repr_mimebundle_()["text/plain"]
    for each in store.search([[1, 0], [0, 1]], where={"sektion": "returns"}):
        assert each.plan.endswith(SAYS)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"colour": "red"}, "no entry has the key 'colour'"),
        ({"$or": [{"sektion": 1}, {"$not": {"jahr": {"$ne": 1}}}]}, "the keys 'sektion', 'jahr'"),
        (dict.fromkeys("abcde", 1), "no entry has the keys 'a', 'b', 'c' and 2 more"),
        ({"section": "care", "k" * 1000: 1}, "no entry has the key 'kkkkkkkkkkkk...kkkkkkkkkkkkk'"),
    ],
)
def test_keys_inside_of_operators_are_named_too(
    store: VectorStore, where: dict[str, Any], says: str
) -> None:
    assert plan(store, where).endswith(says)


def test_nothing_is_said_of_keys_that_exist_or_hits_that_are_found(store: VectorStore) -> None:
    assert "no entry" not in plan(store, {"section": "warranty"})
    assert "no entry" not in store.search([1, 0], where={"archived": {"$exists": False}}).plan
    store.delete(["a", "b"])
    assert "no entry" not in plan(store, {"sektion": "returns"})


def test_a_snapshot_and_a_reopened_file_say_it_too(store: VectorStore, tmp_path: Path) -> None:
    store.save_to(tmp_path / "copy.sqlite")
    store.snapshot(tmp_path / "snapshot")
    for path in ("copy.sqlite", "snapshot"):
        with VectorStore(path=tmp_path / path) as other:
            assert plan(other, {"sektion": "returns"}).endswith(SAYS)


def test_a_filter_knows_its_keys() -> None:
    where = parse_filter({"a": {"$not": {"$gt": 1}}, "$and": [{"b": 1}, {"$not": {"c": 1}}]})
    assert where.unknown_keys({"a", "b", "c"}) == ""
    assert where.unknown_keys(set()) == "no entry has the keys 'a', 'b', 'c'"


def test_an_unknown_operator_stays_an_error(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match="unknown operator"):
        store.search([1, 0], where={"section": {"$eqq": 1}})
