"""Evaluation: metrics of a store whose answers are known by page."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import MissingExtra, VectorInputError
from conduit_lab.core.progress import Progress
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.evaluate import MAX_MISSED, Evaluation, Judged, evaluate
from conduit_lab.vectors.store import VectorStore

# Entries are unit vectors at angles, and a question is an angle.
ENTRIES = {
    "a#0": (0, "apple"),
    "a#1": (1, "apple tart"),
    "b#0": (20, "pear"),
    "c#0": (40, "plum"),
    "none": (60, "fig"),
}
QUESTIONS = [
    {"question": "0", "pages": "a"},
    {"question": "18 plum", "pages": ["c", "b"]},
    {"question": "59", "pages": "c"},
    {"question": "200 pear", "pages": ""},
]


class Angles:
    """Embeds the number at the start of a text as a direction."""

    dimension = 2

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            return np.asarray(self.encode([texts])[0])
        radians = np.radians([float(text.split()[0]) for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.fixture
def store() -> VectorStore:
    store = VectorStore(embedder=Angles(), name="fruit")
    metadatas = [{} if id == "none" else {"source": id[0]} for id in ENTRIES]
    contents = [f"{angle} {text}" for angle, text in ENTRIES.values()]
    store.add_many(list(ENTRIES), metadatas=metadatas, contents=contents)
    return store


@pytest.fixture
def evaluation(store: VectorStore) -> Evaluation:
    return evaluate(store, QUESTIONS, top_k=3, modes=("dense", "lexical"))


def test_the_figures_of_each_question(evaluation: Evaluation) -> None:
    first, second, third = evaluation.modes["dense"]
    assert first.found == ("a", "a", "b")
    assert (first.rank, first.recall, first.reciprocal_rank, first.ndcg) == (1, 1.0, 1.0, 1.0)
    assert first.score == pytest.approx(1)
    assert second.pages == ("c", "b")
    assert second.found == ("b", "a", "a")
    assert (second.rank, second.recall, second.reciprocal_rank) == (1, 0.5, 1.0)
    assert second.ndcg == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert third.found == (None, "c", "b")
    assert (third.rank, third.recall, third.reciprocal_rank) == (2, 1.0, 0.5)
    assert third.ndcg == pytest.approx(1 / math.log2(3))
    assert all(row.seconds > 0 for row in evaluation)


def test_a_question_without_pages_is_passed_over(evaluation: Evaluation) -> None:
    assert [row.question for row in evaluation] == 2 * ["0", "18 plum", "59"]


def test_the_figures_of_each_mode(evaluation: Evaluation) -> None:
    dense, lexical = evaluation.summary
    assert (dense.mode, dense.questions, dense.better, dense.worse) == ("dense", 3, 0, 0)
    assert dense.first == pytest.approx(2 / 3)
    assert dense.recall == pytest.approx((1 + 0.5 + 1) / 3)
    assert dense.mrr == pytest.approx((1 + 1 + 0.5) / 3)
    assert dense.ndcg == pytest.approx(sum(row.ndcg for row in evaluation.modes["dense"]) / 3)
    assert lexical.mode == "lexical"
    assert (lexical.better, lexical.worse) == (0, 1)  # "59" occurs in no text
    assert evaluation.best is dense


def test_what_is_not_found_is_told(store: VectorStore) -> None:
    evaluation = evaluate(store, QUESTIONS, top_k=1)
    assert [row.question for row in evaluation.missed] == ["59"]
    assert repr(evaluation).endswith("not found  its pages  first hit\n59         c")
    assert "not found" not in repr(evaluate(store, QUESTIONS[:2], top_k=1))


def test_missed_questions_are_counted_where_they_are_not_listed() -> None:
    shown = Evaluation(judged("dense", *[None] * (MAX_MISSED + 2)), 3)._repr_mimebundle_()
    assert f"does not find the page of {MAX_MISSED + 2} questions" in shown["text/html"]
    assert shown["text/html"].count("on a · no hit") == MAX_MISSED
    assert "2 more questions" in shown["text/html"]


def test_no_hits_at_all(store: VectorStore) -> None:
    (row,) = evaluate(store, QUESTIONS[2:3], modes=["lexical"])
    assert (row.found, row.rank, row.recall, row.reciprocal_rank, row.ndcg) == ((), None, 0, 0, 0)
    assert math.isnan(row.score)


def test_modes_of_ones_own(store: VectorStore) -> None:
    evaluation = evaluate(
        store, QUESTIONS[:1], top_k=2, modes={"plain": {}, "varied": {"mmr": 0.1}}
    )
    assert [row.mode for row in evaluation] == ["plain", "varied"]
    assert evaluation[0].found == ("a", "a")
    assert "a" not in evaluation[1].found[1:]


def test_another_key_than_source(store: VectorStore) -> None:
    store.add("d#0", metadata={"section": "red"}, content="90 cherry")
    (row,) = evaluate(store, [{"question": "89", "pages": "red"}], by="section")
    assert row.rank == 1


def test_a_page_that_the_store_does_not_have(store: VectorStore) -> None:
    lost = [{"question": "1", "pages": "a;e"}, {"question": "2", "pages": "d"}]
    with pytest.raises(
        VectorInputError, match="store 'fruit' has no entry whose 'source' is 'd' and 1 more: add"
    ):
        evaluate(store, lost)


@pytest.mark.parametrize(
    ("questions", "modes", "reason"),
    [
        ([], ["dense"], "no question has pages"),
        (QUESTIONS[3:], ["dense"], "no question"),
        (QUESTIONS, [], "no mode"),
    ],
)
def test_nothing_to_evaluate(
    store: VectorStore, questions: Any, modes: list[str], reason: str
) -> None:
    with pytest.raises(VectorInputError, match=f"there is nothing to evaluate: {reason}"):
        evaluate(store, questions, modes=modes)


def test_wrong_arguments_of_a_search_are_the_searchs_own(store: VectorStore) -> None:
    with pytest.raises(VectorInputError, match="mode"):
        evaluate(store, QUESTIONS, modes=["fuzzy"])
    with pytest.raises(VectorInputError, match="top_k"):
        evaluate(store, QUESTIONS, top_k=0)


def test_to_pandas(evaluation: Evaluation) -> None:
    pytest.importorskip("pandas")
    frame = evaluation.to_pandas()
    assert list(frame["question"]) == [row.question for row in evaluation]
    assert frame.groupby("mode")["recall"].mean()["dense"] == pytest.approx(
        evaluation.summary[0].recall
    )
    assert set(frame.columns) > {
        "pages",
        "found",
        "rank",
        "reciprocal_rank",
        "ndcg",
        "score",
        "seconds",
    }


def test_to_pandas_names_the_extra(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"needs pandas.*conduit-lab\[lab\]"):
        evaluation.to_pandas()


def test_the_chart_says_what_its_title_says(evaluation: Evaluation) -> None:
    chart = evaluation.chart
    assert chart.title == evaluation.title
    assert evaluation.title == (
        "dense has the right page among the first 2 hits for 100% of the questions, lexical for 67%"
    )
    assert [(row["mode"], row["hits"]) for row in chart.values[:3]] == [
        ("dense", 1),
        ("dense", 2),
        ("dense", 3),
    ]
    shares = [row["found"] for row in chart.values]
    assert shares == pytest.approx([2 / 3, 1, 1, 2 / 3, 2 / 3, 2 / 3])
    assert (shares[0], shares[3]) == tuple(each.first for each in evaluation.summary)


def judged(mode: str, *ranks: int | None) -> list[Judged]:
    return [Judged(mode, "?", ("a",), (), rank, 0, 0, 0, 0, 0) for rank in ranks]


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (
            judged("dense", 1, 3),
            "dense has the right page first for 50% of the questions, among the first 3 for 100%",
        ),
        (
            judged("dense", 1, None) + judged("lexical", 1, 2),
            "lexical has the right page among the first 2 hits for 100% of the questions, "
            "dense for 50%",
        ),
        (
            judged("dense", 1, 2) + judged("lexical", 1, 2),
            "every mode has the right page first for 50% of the questions",
        ),
    ],
)
def test_the_title_is_where_the_modes_differ(rows: list[Judged], title: str) -> None:
    assert Evaluation(rows, 3).title == title


def test_views_are_escaped(store: VectorStore) -> None:
    evaluation = evaluate(store, [{"question": "300 <b>bold</b>", "pages": "c"}], top_k=1)
    bundle = evaluation._repr_mimebundle_()
    assert bundle["text/plain"] == repr(evaluation)
    assert '<img src="data:image/svg+xml;base64,' in bundle["text/html"]
    assert "&lt;b&gt;bold" in bundle["text/html"]
    assert "<b>bold" not in bundle["text/html"]


def test_the_progress_counts_the_questions_of_every_mode(
    store: VectorStore, jobs: list[Progress]
) -> None:
    evaluate(store, QUESTIONS, modes=("dense", "hybrid"))
    [job] = jobs
    assert (job.name, job.done, job.total) == ("evaluate fruit", 6, 6)
