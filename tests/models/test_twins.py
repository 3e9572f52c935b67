"""Models of equal files share a session, and no model answers from another's new file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder
from tests.models.text import embedders
from tests.runtime import graphs

DECODER = Path(__file__).parent / "generation" / "decoders" / "llama"


def evict(*models: FileModel) -> None:  # type: ignore[type-arg]
    """Close the sessions, as a cache does that is over its budget."""
    for model in models:
        model.shared.close()


def linear(folder: Path, value: float) -> Path:
    folder.mkdir(exist_ok=True)
    return graphs.linear(folder / "m.onnx", np.full((3, 2), value))


@pytest.fixture
def generators(tmp_path: Path) -> Iterator[list[Generator]]:
    made = [
        Generator(shutil.copytree(DECODER, tmp_path / name), device="cpu").open() for name in "ab"
    ]
    yield made
    for generator in made:
        generator.unload()


def test_a_model_answers_from_its_own_content(tmp_path: Path) -> None:
    a, b = (Model(linear(tmp_path / name, 2)).open() for name in "ab")
    linear(tmp_path / "a", 5)
    evict(a, b)
    x = np.ones(3, np.float32)
    assert b.predict(x).tolist() == [6, 6]
    assert a.predict(x).tolist() == [6, 6]  # it was loaded before
    assert a.reload().predict(x).tolist() == [15, 15]
    assert b.predict(x).tolist() == [6, 6]


def test_a_model_whose_file_was_replaced_goes_on_with_reload(tmp_path: Path) -> None:
    model = Model(linear(tmp_path / "a", 2)).open()
    linear(tmp_path / "a", 5)
    evict(model)
    with pytest.raises(ModelLoadError, match=r"m\.onnx has become another model .*reload\(\)"):
        model.predict(np.ones(3, np.float32))
    assert model.reload().predict(np.ones(3, np.float32)).tolist() == [15, 15]


def test_an_embedder_answers_from_its_own_content(tmp_path: Path) -> None:
    a, b = (Embedder(embedders.folder(tmp_path / name)).open() for name in "ab")
    before = b.encode("kettle pan")
    embedders.tokens_graph(tmp_path / "a" / "model.onnx", embedders.TABLE[::-1].copy())
    evict(a, b)
    np.testing.assert_array_equal(b.encode("kettle pan"), before)
    assert not np.array_equal(Embedder(tmp_path / "a").encode("kettle pan"), before)


def test_an_embedder_whose_twin_is_deleted_goes_on(tmp_path: Path) -> None:
    a, b = (Embedder(embedders.folder(tmp_path / name)).open() for name in "ab")
    before = b.encode("kettle pan")
    evict(a, b)
    shutil.rmtree(tmp_path / "b")
    np.testing.assert_array_equal(b.encode("kettle pan"), before)


def test_a_generator_whose_twin_is_replaced_goes_on(
    tmp_path: Path, generators: list[Generator]
) -> None:
    a, b = generators
    before = b.generate("The", max_tokens=4).text
    linear(tmp_path / "other", 2).replace(tmp_path / "a" / "model.onnx")
    evict(a, b)
    assert b.generate("The", max_tokens=4).text == before
    # the new model reads its graph from its own file
    assert (
        Generator(tmp_path / "b", device="cpu", rows=2).open().generate("The", max_tokens=4).text
        == before
    )


def test_the_cache_of_hugging_face_gives_an_embedder(tmp_path: Path) -> None:
    made = embedders.folder(tmp_path / "made", graph="onnx/model.onnx")
    expected = Embedder(made).encode("kettle pan")
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in made.rglob("*") if path.is_file())):
        link = snapshot / file.relative_to(made)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.replace(blobs / str(number))
        link.symlink_to(blobs / str(number))
    model = load_model(snapshot)
    assert isinstance(model, Embedder)
    np.testing.assert_array_equal(model.encode("kettle pan"), expected)


def test_a_model_of_any_rank_predicts(tmp_path: Path) -> None:
    path = graphs.save(
        tmp_path / "m.onnx",
        [graphs.node("Neg", ["x"], ["y"])],
        [graphs.value("x", None)],
        [graphs.value("y", None)],
    )
    model = Model(path)
    for shape in ((2, 3), (3,), (2, 1, 3)):
        np.testing.assert_array_equal(model.predict(np.ones(shape, np.float32)), -np.ones(shape))
    assert "float32 [...]" in str(model._repr_mimebundle_())
