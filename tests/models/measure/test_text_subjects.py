"""Text classifiers are measured by their own scores and labels, like embedders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import TextClassifier, TokenClassifier
from conduit_lab.core.errors import InputError
from conduit_lab.models.benchmark import benchmark
from conduit_lab.models.load import load_model
from conduit_lab.models.measure import tuning_search
from conduit_lab.models.measure.compare import compare_models
from conduit_lab.models.measure.difference import Difference
from conduit_lab.models.measure.optimize import optimize
from conduit_lab.models.measure.subject import subject
from conduit_lab.models.measure.tune import tune
from conduit_lab.runtime.sessions.session import Options, Session
from tests.models import classifiers

TOKENIZER = classifiers.bert()
LABELS = {"0": "O", "1": "PER", "2": "LOC"}
OLD = classifiers.table(
    TOKENIZER, 3, {"good": [2, -1, 0], "bad": [-1, 3, 0], "anna": [0, 4, 0], "new": [0, 0, 5]}
)
NEW = classifiers.table(
    TOKENIZER, 3, {"good": [2, -1, 0], "bad": [-1, 2, 0], "anna": [0, 4, 0], "new": [0, 9, 5]}
)
TEXTS = ["good", "bad anna", "so new", "good good bad"]
HEADS = {"text": "BertForSequenceClassification", "token": "BertForTokenClassification"}
VARIANTS = (("graph", "token"), ("fp16", "text"), ("fp16", "token"))  # 5 s each


def folder(path: Path, kind: str, table: Any = OLD, **config: Any) -> Path:
    config = {"id2label": LABELS} | config
    return classifiers.folder(
        path, TOKENIZER, table, head=HEADS[kind], by_token=kind == "token", **config
    )


def scores(kind: str, table: Any) -> Any:
    """Return the probabilities of TEXTS, one row per text or per token."""
    rows = [table[TOKENIZER.encode(text).ids].astype(np.float64) for text in TEXTS]
    return np.concatenate(
        [classifiers.softmax(row if kind == "token" else row.sum(0, keepdims=True)) for row in rows]
    )


def difference(before: Path, after: Path) -> Difference:
    sessions = (Session(path / "model.onnx", Options("cpu")) for path in (before, after))
    return subject(before).difference(next(sessions), next(sessions), TEXTS)


@pytest.mark.parametrize("kind", HEADS)
def test_the_difference_is_that_of_scores_and_labels(tmp_path: Path, kind: str) -> None:
    before = folder(tmp_path / "a", kind)
    after = folder(tmp_path / "b", kind, NEW)
    got = difference(before, after)
    old, new = scores(kind, OLD), scores(kind, NEW)
    assert got.samples == len(TEXTS)
    assert got.largest == pytest.approx(np.abs(old - new).max(), abs=1e-5)
    assert got.relative == pytest.approx(np.sqrt(np.mean((old - new) ** 2)) / old.std(), rel=1e-4)
    assert got.same_label == np.mean(old.argmax(1) == new.argmax(1)) < 1


def test_several_labels_at_once_are_compared_by_their_own_scores(tmp_path: Path) -> None:
    problem = {"problem_type": "multi_label_classification"}
    before, after = (
        folder(tmp_path / "a", "text", **problem),
        folder(tmp_path / "b", "text", NEW, **problem),
    )
    old, new = (
        1 / (1 + np.exp(-np.array([table[TOKENIZER.encode(text).ids].sum(0) for text in TEXTS])))
        for table in (OLD, NEW)
    )
    got = difference(before, after)
    assert got.largest == pytest.approx(np.abs(old - new).max(), abs=1e-5)


@pytest.mark.parametrize(
    ("form", "kind"),
    [("graph", "text"), *(pytest.param(*case, marks=pytest.mark.long) for case in VARIANTS)],
)
def test_a_classifier_becomes_a_variant_of_its_folder(
    tmp_path: Path, kind: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit_lab.models.measure.optimize.MAX_SLOWDOWN", np.inf)
    source = load_model(
        folder(tmp_path / "a", kind), labels=["none", "person", "place"], device="cpu"
    )
    got = optimize(source, form)
    assert got.path == tmp_path / "a" / f"model_{form}.onnx"
    assert isinstance(got.model, TextClassifier | TokenClassifier)
    assert (got.model.variant, got.model.labels) == (form, ("none", "person", "place"))
    assert got.difference.same_label == 1
    assert str(got.model.predict("bad anna")) == str(source(["bad anna"])[0])


def test_an_empty_list_of_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="samples for 'a' are empty: expected at least one text"):
        optimize(folder(tmp_path / "a", "text"), "fp16", samples=[])


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("sample", ["bad anna", TEXTS, None])
def test_a_classifier_is_tuned_and_takes_its_tuning(
    tmp_path: Path, kind: str, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning_search, "_settings", lambda *_: [("threads 1", {"threads": 1})])
    first = folder(tmp_path / "a", kind)
    twin = folder(tmp_path / "b", kind)
    opened = load_model(first)
    got = tune(load_model(twin), sample, seconds=0.05)
    assert got.path == twin / "model.onnx"  # not that of the twin, whose session it shares
    assert got.rows == (1 if sample == "bad anna" else len(TEXTS) if sample else 32)
    assert got.best.batch_size is None
    assert json.loads(got.save().read_text())
    assert load_model(twin).predict("bad anna") == opened(["bad anna"])[0]


@pytest.mark.parametrize("kind", HEADS)
def test_a_classifier_is_benchmarked_by_texts(tmp_path: Path, kind: str) -> None:
    got = benchmark(
        load_model(folder(tmp_path / "a", kind), device="cpu"),
        TEXTS,
        batch_sizes=[1, 6],
        seconds=0.01,
    )
    assert [timing.rows for timing in got] == [1, 6]
    assert got.device == "cpu"


def test_text_classifiers_are_compared_by_their_probabilities(tmp_path: Path) -> None:
    paths = [folder(tmp_path / "a", "text"), folder(tmp_path / "b", "text", NEW)]
    _, got = compare_models(paths, TEXTS, seconds=0.01)
    old, new = scores("text", OLD), scores("text", NEW)
    assert got.difference is not None
    assert got.difference.largest == pytest.approx(np.abs(old - new).max(), abs=1e-5)
    assert got.difference.same_label == 0.75


def test_token_classifiers_are_compared_by_the_texts_with_other_entities(tmp_path: Path) -> None:
    paths = [folder(tmp_path / "a", "token"), folder(tmp_path / "b", "token", NEW)]
    _, got = compare_models(paths, TEXTS, seconds=0.01)
    assert got.difference is not None
    assert (got.difference.relative, got.difference.samples) == (0.25, 4)
    _, alone = compare_models(paths, "so new", seconds=0.01)
    assert alone.difference is not None
    assert alone.difference.relative == 1
