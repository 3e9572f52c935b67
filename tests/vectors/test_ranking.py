"""Recall, MRR and nDCG: equal to those of `ranx`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from conduit_lab.vectors import ranking
from conduit_lab.vectors.arrays import BoolArray, IntArray


@pytest.fixture(scope="module")
def ranx() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes 20 s and warns
        yield importlib.import_module("ranx")


def answers(seed: int, count: int, k: int) -> tuple[BoolArray, IntArray]:
    """Return the gains of random answers, and the number of relevant pages of each."""
    rng = np.random.default_rng(seed)
    gains = rng.random((count, k)) < rng.choice([0.0, 0.1, 0.5, 1.0], size=(count, 1))
    return gains, np.maximum(gains.sum(axis=1), 1) + rng.integers(0, 4, count)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_equal_to_ranx(ranx: Any, k: int) -> None:
    gains, wanted = answers(k, 200, k)
    places = range(k)
    wants, run = {}, {}
    for question, (row, count) in enumerate(zip(gains.tolist(), wanted.tolist(), strict=True)):
        names = [f"page {place}" if row[place] else f"other {place}" for place in places]
        pages = [name for name in names if name.startswith("page")]
        pages += [f"lost {i}" for i in range(count - len(pages))]
        wants[str(question)] = dict.fromkeys(pages, 1)
        run[str(question)] = {
            name: 1.0 - place / 100 for place, name in zip(places, names, strict=True)
        }
    metrics = [f"recall@{k}", f"mrr@{k}", f"ndcg@{k}"]
    judged = ranx.Run(run)
    ranx.evaluate(ranx.Qrels(wants), judged, metrics)
    ours = [
        ranking.recall(gains, wanted),
        ranking.reciprocal_rank(gains),
        ranking.ndcg(gains, wanted),
    ]
    for metric, values in zip(metrics, ours, strict=True):
        theirs = [judged.scores[metric][str(question)] for question in range(len(gains))]
        np.testing.assert_allclose(values, theirs, atol=1e-12)


def test_the_best_order_is_1_and_no_hit_is_0() -> None:
    gains, wanted = np.array([[True, True, False], [False, False, False]]), np.array([2, 1])
    for values in (
        ranking.recall(gains, wanted),
        ranking.reciprocal_rank(gains),
        ranking.ndcg(gains, wanted),
    ):
        assert values.tolist() == [1.0, 0.0]


def test_more_pages_than_places_can_all_be_in_the_best_order() -> None:
    gains, wanted = np.array([[True, True]]), np.array([5])
    assert ranking.recall(gains, wanted).tolist() == [0.4]
    assert ranking.ndcg(gains, wanted).tolist() == [1.0]
