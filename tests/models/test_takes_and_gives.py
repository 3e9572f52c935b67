"""The input and output values of each kind of model, for composition; nothing is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import Embedder, Generator, Model, Reranker, TextClassifier, TokenClassifier
from conduit_lab.core.spec import TEXT_SPEC, TensorSpec
from conduit_lab.models.answers import Answers
from tests.models import classifiers
from tests.models.generation import writers
from tests.models.text import rerankers

HEAD = "BertForSequenceClassification"
NUMBERS = TensorSpec("values", "float32", ("batch", 3))


def npz(path: Path, labels: Any = None) -> Model:
    np.savez(path, W=np.eye(4, 3, dtype=np.float32), b=np.zeros(3, np.float32))
    return Model(path, labels=labels)


def tagged(path: Path, **config: Any) -> Path:
    tokenizer = classifiers.bert()
    return classifiers.folder(path, tokenizer, classifiers.table(tokenizer, 3, {}), **config)


def test_a_model_gives_arrays_or_predictions_once_it_is_open(tmp_path: Path) -> None:
    plain, topic = npz(tmp_path / "m.npz"), npz(tmp_path / "m.npz", ["a", "b", "c"])
    assert (plain.takes, plain.gives) == (topic.takes, topic.gives) == (None, None)
    assert plain.open().gives == plain.outputs
    assert plain.takes == topic.open().takes == plain.inputs
    assert topic.gives == "Prediction"
    topic.unload()
    assert topic.gives is None


@pytest.mark.parametrize(
    ("specs", "labels", "gives"),
    [
        ([("y", "float32", ("n", 2))], None, [("y", "float32", ("batch", 2))]),
        ([("y", "float32", (8, 2))], None, [("y", "float32", ("batch", 2))]),
        ([("y", "float32", ("n", 2))], ["a", "b"], "Prediction"),
        ([("y", "float32", ("n", "t", 2))], ["a", "b"], [("y", "float32", ("batch", "t", 2))]),
        ([("y", "float32", (), False)], ["a", "b"], None),
        ([("y", "float32", (), False)], None, [("y", "float32", (), False)]),
        ([("label", "int64", ("n",)), ("p", "seq(map(int64,float32))", ())], None, "Prediction"),
    ],
)
def test_only_a_run_decides_for_an_output_of_unknown_rank(
    specs: list[Any], labels: list[str] | None, gives: Any
) -> None:
    answers = Answers("m", tuple(TensorSpec(*spec) for spec in specs), labels, [0] * len(specs))
    expected = gives if isinstance(gives, str | None) else tuple(TensorSpec(*g) for g in gives)
    assert answers.gives == expected


def test_a_model_that_is_not_open_takes_and_gives_unknown_values(tmp_path: Path) -> None:
    # it may be missing, and a fallback then answers
    for kind in (Embedder, TextClassifier, TokenClassifier, Reranker, Generator):
        model = kind(tmp_path / "missing")
        assert (model.takes, model.gives) == (None, None)
    assert Embedder(tmp_path / "missing").inputs == (TEXT_SPEC,)


def test_an_embedder_takes_text_and_gives_vectors(minilm: Embedder) -> None:
    assert minilm.takes == (TEXT_SPEC,)
    assert minilm.gives == minilm.outputs == (TensorSpec("embedding", "float32", ("batch", 384)),)


def test_a_generator_takes_and_gives_text() -> None:
    writer = Generator(writers.DECODERS / "llama", device="cpu").open()
    try:
        assert (writer.takes, writer.gives) == ((TEXT_SPEC,), (TEXT_SPEC,))
    finally:
        writer.unload()


def test_classifiers_give_predictions_entities_or_numbers(tmp_path: Path) -> None:
    labels = {"0": "a", "1": "b", "2": "c"}
    path = tagged(tmp_path / "t", head=HEAD, id2label=labels)
    assert TextClassifier(path).open().gives == "Prediction"
    path = tagged(tmp_path / "r", head=HEAD, id2label=labels, problem_type="regression")
    assert TextClassifier(path).open().gives == (NUMBERS,)


def test_a_reranker_gives_scores_and_takes_no_arrays(tmp_path: Path) -> None:
    model = Reranker(rerankers.folder(tmp_path / "overlap")).open()
    assert (model.takes, model.gives) == (None, model.outputs)
