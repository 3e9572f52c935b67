"""The default threshold separates questions that the handbook answers from the others."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.flow.rag import MIN_SCORE
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.vectors.store import VectorStore

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.long
def test_the_threshold_is_within_a_little_of_the_best_on_either_half_of_the_questions(
    minilm: Embedder,
) -> None:
    with (DATA / "questions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with VectorStore(embedder=minilm) as store:
        store.add_documents(DATA / "handbook")
        best = np.array(
            [hits[0].score for hits in store.search([row["question"] for row in rows], top_k=1)]
        )
    answered = np.array([bool(row["pages"]) for row in rows])
    half = np.zeros(len(rows), bool)
    for kind in sorted({row["kind"] for row in rows}):
        half[[place for place, row in enumerate(rows) if row["kind"] == kind][::2]] = True

    def balanced_accuracy(
        threshold: float, of: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> float:
        return float(
            np.mean(
                [
                    np.mean(best[of & answered] >= threshold),
                    np.mean(best[of & ~answered] < threshold),
                ]
            )
        )

    for part in (half, ~half):
        assert balanced_accuracy(MIN_SCORE, part) >= 0.8
        assert (
            balanced_accuracy(MIN_SCORE, part)
            >= max(balanced_accuracy(t, part) for t in np.arange(0, 1, 0.01)) - 0.05
        )
