"""load_model: the requested kind, the options of the class, errors with the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab.core.errors import ModelLoadError, UnknownOption
from conduit_lab.core.trace import recorder
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder

ROOT = Path(__file__).parents[2]
WRITER = ROOT / "tests" / "models" / "generation" / "decoders" / "llama"


def test_a_path_of_the_expected_kind_loads_as_that() -> None:
    assert type(load_model(ROOT / "data/models/mood.npz", Model)) is Model
    assert type(load_model(len, CallableModel)) is CallableModel  # type: ignore[call-overload]


def test_another_kind_is_an_error_that_names_both() -> None:
    with pytest.raises(
        ModelLoadError,
        match=r"mood\.npz is a Model, expected a Embedder: load_model\(path, Model\)",
    ):
        load_model(ROOT / "data/models/mood.npz", Embedder)
    with pytest.raises(ModelLoadError, match="is a CallableModel, expected a Model"):
        load_model(len, Model)  # type: ignore[call-overload]


def test_options_of_a_generator_are_passed_to_it() -> None:
    writer = load_model(WRITER, Generator, rows=3, context=32)
    assert (writer.rows, writer.context) == (3, 32)
    writer.unload()


@pytest.mark.parametrize("path", ["data/models/mood.npz", "data/models/topic.onnx"])
def test_an_option_of_another_class_is_named_with_the_class(path: str) -> None:
    with pytest.raises(TypeError, match=r"gives a Model, which has no option 'rows'"):
        load_model(ROOT / path, rows=3)


@pytest.mark.parametrize(("name", "expected"), [(None, "mood"), ("own", "own")])
def test_a_load_is_a_span_of_the_models_name_that_names_its_file(
    name: str | None, expected: str
) -> None:
    with recorder.record("call") as recorded:
        model = load_model(ROOT / "data/models/mood.npz", name=name)
    assert recorded[expected].target is model
    assert recorded.record.files == {model.path: model}


@pytest.mark.parametrize("wrong", ["models/topik.onnx", "model/topic.onnx", "models/topic"])
def test_a_missing_path_names_the_nearest_one(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/topic.onnx").touch()
    expected = rf"no model at {wrong}\. Did you mean 'models/topic.onnx'\?"
    with pytest.raises(ModelLoadError, match=expected):
        load_model(wrong, root=tmp_path)


def test_a_missing_path_without_a_near_one_names_the_root(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=f"the root it starts from, {tmp_path}"):
        load_model("topic.onnx", root=tmp_path)


def test_a_lazy_model_of_a_missing_file_is_declared(tmp_path: Path) -> None:
    assert not load_model("topic.onnx", root=tmp_path, lazy=True).loaded


def test_an_unknown_option_names_the_nearest_one() -> None:
    with pytest.raises(UnknownOption, match=r"has no option 'devise'\. Did you mean 'device'\?"):
        load_model(len, devise="cpu")  # type: ignore[call-overload]
