"""Embedder: the real MiniLM, and folders that are not models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.progress import Progress
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder

ROOT = Path(__file__).parents[3]


def test_one_text_gives_a_unit_vector(minilm: Embedder) -> None:
    vector = minilm.encode("The kettle is dead.")
    assert vector.shape == (384,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert minilm.dimension == 384


def test_texts_of_one_meaning_lie_close(minilm: Embedder) -> None:
    kettle, broken, parcel = minilm.encode(
        ["The kettle is dead.", "My kettle no longer works.", "Where is my parcel?"]
    )
    assert kettle @ broken > 0.6 > kettle @ parcel


@settings(max_examples=8, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=70))
def test_a_batch_of_mixed_length_keeps_the_order(minilm: Embedder, texts: list[str]) -> None:
    together = minilm.encode(texts)
    assert together.shape == (len(texts), 384)
    for i in {0, len(texts) // 2, len(texts) - 1} if texts else set():
        np.testing.assert_allclose(together[i], minilm.encode(texts[i]), atol=2e-6)


def test_a_long_text_is_cut_to_the_models_length(minilm: Embedder) -> None:
    words = "kettle " * 1000
    np.testing.assert_allclose(minilm.encode(words), minilm.encode(words + "parcel"), atol=1e-6)


def test_a_lone_surrogate_is_a_character_like_another(minilm: Embedder) -> None:
    assert np.isfinite(minilm.encode("kettle \ud800")).all()


@pytest.mark.parametrize("value", [3, None, [1], ["a", None], {"a": 1}, b"kettle"])
def test_anything_but_text_is_refused(minilm: Embedder, value: Any) -> None:
    with pytest.raises(ModelInputError, match="'minilm' expects a text or a list of texts, got"):
        minilm.encode(value)


def test_a_folder_without_its_parts_is_refused_by_name(minilm: Embedder, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no model\.onnx in"):
        load_model(tmp_path)
    shutil.copy(minilm.path / "model.onnx", tmp_path)
    with pytest.raises(ModelLoadError, match=r"no tokenizer at .*tokenizer\.json"):
        load_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json is not a readable"):
        load_model(tmp_path)
    shutil.copy(minilm.path / "tokenizer.json", tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"sentence_bert_config\.json is not JSON"):
        load_model(tmp_path)


def test_a_repr_opens_nothing(minilm: Embedder) -> None:
    later = Embedder(minilm.path)
    assert "not opened" in repr(later)
    assert "not opened yet" in later._repr_mimebundle_()["text/html"]
    assert later.held is None


def test_load_model_distinguishes_files(minilm: Embedder, tmp_path: Path) -> None:
    assert isinstance(load_model("data/models/topic.onnx", root=ROOT), Model)
    assert isinstance(load_model("data/models/mood.npz", root=ROOT), Model)
    assert isinstance(load_model("data/models/minilm", root=ROOT, lazy=True), Embedder)
    for missing in ("gone.onnx", "gone.npz", "gone"):
        with pytest.raises(ModelLoadError, match=f"no model.* at .*{missing}"):
            load_model(missing, root=tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ModelLoadError, match=r"expected \.onnx, \.npz or a folder"):
        load_model("notes.txt", root=tmp_path)
    with pytest.raises(ModelLoadError, match="has no labels"):
        load_model(minilm.path, labels=["a"])


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_progress_counts_the_texts(
    minilm: Embedder, jobs: list[Progress], batch_size: int | None
) -> None:
    minilm.encode(["kettle", "a parcel", "where is it?"], batch_size=batch_size)
    [job] = jobs
    assert (job.name, job.done, job.total) == ("minilm.encode", 3, 3)


def test_the_texts_of_a_run_count_at_once(
    minilm: Embedder, jobs: list[Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    graph = minilm._parts().token_graph
    run = graph._run

    def watched(*arguments: Any) -> Any:
        seen.append(jobs[0].state().share)
        return run(*arguments)

    monkeypatch.setattr(graph, "_run", watched)
    minilm.encode(["kettle"] * 4, batch_size=1)
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75])


def test_one_text_shows_no_progress(minilm: Embedder, jobs: list[Progress]) -> None:
    minilm.encode("kettle")
    assert jobs == []
