"""Near-duplicates: the groups of a brute-force search over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.progress import Progress
from conduit_lab.vectors import duplicates
from conduit_lab.vectors.duplicates import Duplicates, find_duplicates
from conduit_lab.vectors.entry import Entry


def entries(vectors: object) -> list[Entry]:
    return [
        Entry(f"id {i}", row, {}, f"<i>text {i}</i>", 0.0, 0.0)
        for i, row in enumerate(np.asarray(vectors, np.float32))
    ]


def ids(found: Duplicates) -> list[list[str]]:
    return [group.ids for group in found]


def test_groups_largest_first_each_in_the_order_of_adding() -> None:
    found = find_duplicates(entries([[1, 0], [0, 1], [0, 2], [1, 0.01], [3, 0.01], [-1, 1]]), 0.99)
    assert ids(found) == [["id 0", "id 3", "id 4"], ["id 1", "id 2"]]
    assert found[0].similarity == pytest.approx(1 / np.hypot(1, 0.01))
    assert found[1].similarity == pytest.approx(1)


def test_a_chain_is_one_group_and_tells_how_far_its_ends_are_apart() -> None:
    angles = np.radians([0, 10, 20, 90])
    (group,) = find_duplicates(
        entries(np.stack([np.cos(angles), np.sin(angles)], axis=1)), np.cos(np.radians(11))
    )
    assert group.ids == ["id 0", "id 1", "id 2"]
    assert group.similarity == pytest.approx(np.cos(np.radians(20)))


def test_equal_vectors_are_equal_and_zero_vectors_are_like_nothing() -> None:
    vector = np.random.default_rng(0).normal(size=384)
    found = find_duplicates(
        entries([vector, 1e-20 * vector, 1e30 * vector, 0 * vector, 0 * vector]), 1.0
    )
    assert ids(found) == [["id 0", "id 1", "id 2"]]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.sampled_from([0.6, 0.8, 0.95]),
    st.sampled_from([1, 5, 64]),
)
def test_the_same_groups_as_over_all_pairs(
    seed: int, count: int, threshold: float, tile: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(4, 5))[rng.integers(0, 4, count)] + 0.4 * rng.normal(size=(count, 5))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = units @ units.T
    wanted: list[set[int]] = []
    for i in range(count):
        joined = [group for group in wanted if any(near[i, j] >= threshold for j in group)]
        wanted = [group for group in wanted if group not in joined] + [{i}.union(*joined)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_TILE_ROWS", tile)
        found = find_duplicates(entries(vectors), threshold)
    groups = [[f"id {i}" for i in sorted(group)] for group in wanted if len(group) > 1]
    assert sorted(ids(found)) == sorted(groups)
    assert [len(group.ids) for group in found] == sorted(map(len, groups), reverse=True)


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan"), True])
def test_a_wrong_threshold(threshold: float) -> None:
    with pytest.raises(VectorInputError, match="a cosine above 0 and up to 1"):
        find_duplicates([], threshold)


def test_views_are_bounded_and_escaped() -> None:
    found = find_duplicates(entries(np.repeat(np.eye(30), 2, axis=0)))
    assert repr(found).startswith("30 of 60 entries repeat another (cosine ≥ 0.95)\n")
    assert repr(found).endswith("\n10 more rows: duplicates[20:]")
    html = found._repr_mimebundle_()["text/html"]
    assert "&lt;i&gt;text 0" in html
    assert "<i>" not in html
    assert html.count("<tr") == 21


def test_no_duplicates() -> None:
    assert repr(find_duplicates([])) == "0 of 0 entries repeat another (cosine ≥ 0.95)"
    assert repr(find_duplicates(entries([[1.0]]))) == "0 of 1 entry repeat another (cosine ≥ 0.95)"
    assert "<table" not in find_duplicates([])._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("count", [1, 5, 7])
def test_the_progress_counts_the_pairs(
    jobs: list[Progress], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(duplicates, "_TILE_ROWS", 3)
    find_duplicates(entries(np.eye(count)))
    assert [(job.name, job.done) for job in jobs] == [("find duplicates", jobs[0].total)]
