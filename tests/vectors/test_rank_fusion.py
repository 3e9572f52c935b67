"""Fusion by rank and by score: the published formulas, whatever the rankings hold."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.rank_fusion import reciprocal_rank_fusion, score_fusion

RANKINGS = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8), max_size=4)


def test_two_rankings() -> None:
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"]])
    assert [id for id, _ in fused] == ["a", "c", "b"]
    assert dict(fused) == pytest.approx({"a": 1 / 61 + 1 / 62, "b": 1 / 62, "c": 1 / 63 + 1 / 61})


def test_a_weight_lets_one_ranking_decide() -> None:
    assert [id for id, _ in reciprocal_rank_fusion([["a", "b"], ["b", "a"]], [1.0, 1.1])] == [
        "b",
        "a",
    ]
    assert [id for id, _ in reciprocal_rank_fusion([["a", "b"], ["b", "c"]], [1.0, 0.0])] == [
        "a",
        "b",
        "c",
    ]


def test_a_thing_that_comes_twice_counts_at_its_better_place() -> None:
    assert reciprocal_rank_fusion([["a", "b", "a", "c"]]) == reciprocal_rank_fusion(
        [["a", "b", "c"]]
    )


def test_nothing_to_fuse() -> None:
    assert reciprocal_rank_fusion([]) == []
    assert reciprocal_rank_fusion([[], []]) == []


@given(RANKINGS, st.data())
def test_scores_are_the_formula_and_ties_keep_the_order_of_coming(
    rankings: list[list[int]], data: st.DataObject
) -> None:
    weight = st.sampled_from([0.0, 0.5, 1.0, 3.0])
    weights = data.draw(st.lists(weight, min_size=len(rankings), max_size=len(rankings)))
    k = data.draw(st.integers(0, 100))
    fused = reciprocal_rank_fusion(rankings, weights, k)
    wanted: dict[int, Fraction] = {}
    for ranking, each in zip(rankings, weights, strict=True):
        for place, item in enumerate(ranking):
            wanted[item] = wanted.get(item, Fraction(0)) + Fraction(each) / (k + place + 1)
    assert dict(fused) == pytest.approx({item: float(score) for item, score in wanted.items()})
    came = {item: place for place, item in enumerate(wanted)}
    assert fused == sorted(fused, key=lambda pair: (-pair[1], came[pair[0]]))


@given(RANKINGS.filter(bool))
def test_one_ranking_keeps_its_order(rankings: list[list[int]]) -> None:
    assert [item for item, _ in reciprocal_rank_fusion(rankings[:1])] == rankings[0]


@pytest.mark.parametrize(
    "weights", [[1.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf], [1.0, 1.0, 1.0]]
)
def test_wrong_weights(weights: list[float]) -> None:
    with pytest.raises(
        VectorInputError, match=r"2 rankings expect as many weights of at least 0, got \[1\.0"
    ):
        reciprocal_rank_fusion([["a"], ["b"]], weights)


@pytest.mark.parametrize("k", [-1, math.nan, math.inf])
def test_wrong_k(k: float) -> None:
    with pytest.raises(VectorInputError, match="k of a rank fusion"):
        reciprocal_rank_fusion([["a"]], k=k)


def test_scores_are_scaled_from_the_last_to_the_best() -> None:
    fused = score_fusion(
        [[("a", 0.9), ("b", 0.8), ("c", 0.5)], [("c", 12.0), ("d", 4.0)]], [0.6, 0.4]
    )
    assert [item for item, _ in fused] == ["a", "b", "c", "d"]
    assert dict(fused) == pytest.approx({"a": 0.6, "b": 0.45, "c": 0.4, "d": 0.0})


def test_the_scores_of_a_ranking_may_be_distances() -> None:
    assert dict(score_fusion([[("a", 1.0), ("b", 2.0), ("c", 5.0)]])) == pytest.approx(
        {"a": 1, "b": 0.75, "c": 0}
    )


def test_equal_scores_all_count_fully() -> None:
    assert score_fusion([[("a", 3.0), ("b", 3.0)], [("c", 0.1)], []]) == [
        ("a", 1.0),
        ("b", 1.0),
        ("c", 1.0),
    ]


@given(st.lists(st.floats(-1e6, 1e6), unique=True, min_size=2, max_size=8), st.booleans())
def test_one_ranking_keeps_its_order_by_score(scores: list[float], distance: bool) -> None:
    ranking = list(enumerate(sorted(scores, reverse=not distance)))
    fused = score_fusion([ranking])
    assert [item for item, _ in fused] == [item for item, _ in ranking]
    assert (fused[0][1], fused[-1][1]) == (1.0, 0.0)


def test_wrong_weights_of_scores() -> None:
    with pytest.raises(VectorInputError, match="1 rankings expect as many weights"):
        score_fusion([[("a", 1.0)]], [-1.0])


def test_scores_of_any_size_are_scaled() -> None:
    fused = score_fusion([[("a", 1.5e308), ("b", 0.0), ("c", -1.5e308)]])
    assert fused == [("a", 1.0), ("b", 0.5), ("c", 0.0)]


def test_a_repeated_item_counts_at_its_better_rank() -> None:
    fused = score_fusion([[("a", 4.0), ("b", 3.0), ("a", 2.0), ("c", 0.0)]])
    assert fused == [("a", 1.0), ("b", 0.75), ("c", 0.0)]
