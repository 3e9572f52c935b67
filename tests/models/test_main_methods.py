"""The method of another kind of model: an error that names the model's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.errors import ModelInputError
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.reranker import Reranker
from conduit_lab.models.text.text_classifier import TextClassifier
from tests.runtime import graphs

PATH = Path("/models/topic")


@pytest.mark.parametrize(
    ("model", "method", "words"),
    [
        (Embedder(PATH), "predict", r"Embedder 'topic' has no predict\(\): .* encode\(texts\)"),
        (Generator(PATH), "predict", r"generate\(prompt\)"),
        (Reranker(PATH), "predict", r"score\(query, passages\)"),
        (TextClassifier(PATH), "encode", r"predict\(texts\)"),
        (Model(PATH), "encode", r"Model 'topic' has no encode\(\): .* predict\(value\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_kinds_method_names_the_own(model: FileModel[Any], method: str, words: str) -> None:
    assert not hasattr(model, method)
    with pytest.raises(AttributeError, match=words):
        getattr(model, method)
    assert hasattr(model, model.main_call.partition("(")[0])


def test_any_other_attribute_is_missing_as_usual() -> None:
    model = Embedder(PATH)
    with pytest.raises(AttributeError, match="'Embedder' object has no attribute 'encoed'") as info:
        model.encoed  # type: ignore[attr-defined]  # noqa: B018
    assert (info.value.name, info.value.obj) == (
        "encoed",
        model,
    )  # Python uses these for suggestions


@pytest.mark.parametrize("shape", [["batch", 3, 8, 8], []])
def test_an_input_that_no_embedder_gives_is_not_told_to_encode(
    tmp_path: Path, shape: list[str | int]
) -> None:
    image = Model(graphs.identity(tmp_path / "image.onnx", "float32", shape))
    with pytest.raises(ModelInputError, match=r"got a text$"):
        image.predict("kettle")


def test_a_copy_is_a_model_too() -> None:
    assert copy.copy(Model(PATH)).name == "topic"
