"""Folders of small embedding models, made here: what their configs say is done, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.embedder import Embedder

from ..runtime import graphs

TABLE = np.array([[1, 0], [0, 1], [3, 4], [5, 12]], np.float32)  # one vector a token
WORDS = {"[UNK]": 0, "kettle": 1, "pan": 2, "lid": 3}


def folder(path: Path, inputs: tuple[str, ...] = ("input_ids", "attention_mask"), **configs: Any) -> Path:
    """Write a model whose token vectors are the rows of TABLE; the tokenizer adds no token of its own."""
    nodes = [graphs.node("Gather", ["table", "input_ids"], ["hidden"])]
    graphs.save(
        path / "model.onnx",
        nodes,
        [graphs.value(name, ["batch", "tokens"], "int64") for name in inputs],
        [graphs.value("hidden", ["batch", "tokens", 2])],
        [graphs.constant("table", TABLE)],
    )
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
    }
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name, config in configs.items():
        file = path / "1_Pooling" / "config.json" if name == "pooling" else path / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(config))
    return path


def unit(*vector: float) -> Any:
    return np.array(vector, np.float32) / np.linalg.norm(vector)


def test_mean_of_the_tokens_is_the_default(tmp_path: Path) -> None:
    got = Embedder(folder(tmp_path)).encode(["kettle pan", "lid"])
    np.testing.assert_allclose(got, [unit(1.5, 2.5), unit(5, 12)], rtol=1e-6)


def test_first_token_is_taken_where_the_config_says_so(tmp_path: Path) -> None:
    got = Embedder(folder(tmp_path, pooling={"pooling_mode_cls_token": True})).encode("pan kettle")
    np.testing.assert_allclose(got, unit(3, 4), rtol=1e-6)


def test_text_is_cut_where_the_config_says_so(tmp_path: Path) -> None:
    got = Embedder(folder(tmp_path, sentence_bert_config={"max_seq_length": 1})).encode("pan kettle kettle")
    np.testing.assert_allclose(got, unit(3, 4), rtol=1e-6)


def test_text_without_a_token_is_a_zero_vector_and_changes_no_other(tmp_path: Path) -> None:
    embedder = Embedder(folder(tmp_path))
    assert embedder.encode("").tolist() == [0, 0]
    np.testing.assert_allclose(embedder.encode(["", "pan", " "]), [[0, 0], unit(3, 4), [0, 0]], rtol=1e-6)


def test_array_of_texts_is_a_list_of_texts(tmp_path: Path) -> None:
    embedder = Embedder(folder(tmp_path))
    np.testing.assert_array_equal(embedder.encode(np.array(["pan", "lid"])), embedder.encode(["pan", "lid"]))  # type: ignore[arg-type]


def test_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    Embedder(folder(tmp_path, config={"vocab_size": 4})).open()
    with pytest.raises(ModelLoadError, match=r"tokenizer of 4 tokens and a model of 3.*another model"):
        Embedder(folder(tmp_path, config={"vocab_size": 3})).open()


def test_graph_with_strange_inputs_is_refused_at_the_opening(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="its graph wants position_ids"):
        Embedder(folder(tmp_path, inputs=("input_ids", "position_ids"))).open()


@pytest.mark.parametrize("limit", ["many", -1, 2.5, [1]])
def test_strange_length_is_refused(tmp_path: Path, limit: object) -> None:
    with pytest.raises(ModelLoadError, match="max_seq_length"):
        Embedder(folder(tmp_path, sentence_bert_config={"max_seq_length": limit})).open()


def test_embedder_that_could_not_open_stays_closed(tmp_path: Path) -> None:
    embedder = Embedder(folder(tmp_path, config={"vocab_size": 3}))
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            embedder.encode("pan")
    assert "not opened" in repr(embedder)
