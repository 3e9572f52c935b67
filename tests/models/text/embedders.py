"""Folders of small embedding models, written by each test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.text.embedder import Embedder
from tests.runtime import graphs

WORDS = {"[UNK]": 0, "kettle": 1, "pan": 2, "lid": 3, "query": 4, "Kettle": 5}
# one vector per token; the first one, for padding, must never affect an answer
TABLE = np.array([[90, -80], [1, 0], [0, 1], [3, 4], [-5, 12], [8, 6]], np.float32)
ST = "sentence_transformers.models."
TRANSFORMER = (ST + "Transformer", "")
POOLING = (ST + "Pooling", "1_Pooling")
NORMALIZE = (ST + "Normalize", "2_Normalize")


def folder(
    path: Path,
    *,
    modules: Sequence[tuple[str, str]] | None = None,
    table: npt.NDArray[np.float32] = TABLE,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    dtype: str = "int64",
    special: Sequence[str] = (),
    graph: str = "model.onnx",
    **configs: Any,
) -> Path:
    """Write a model whose token vectors are the rows of `table`, and `modules.json` if there are
    `modules`.

    The tokenizer splits at blanks; `special` are the tokens it puts before and after each text.
    `configs` are JSON files by name, `pooling` that of `1_Pooling`."""
    tokens_graph(path / graph, table, inputs, dtype)
    tokenizer(path / "tokenizer.json", special)
    if modules is not None:
        configs["modules"] = [
            {"idx": i, "name": str(i), "path": p, "type": t} for i, (t, p) in enumerate(modules)
        ]
    for name, config in configs.items():
        write(
            path / "1_Pooling" / "config.json" if name == "pooling" else path / f"{name}.json",
            config,
        )
    return path


def tokens_graph(
    path: Path,
    table: npt.NDArray[np.float32] = TABLE,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    dtype: str = "int64",
) -> Path:
    """Write a graph that returns one vector per token: `[batch, tokens, d]`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return graphs.save(
        path,
        [graphs.node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        [graphs.value(name, ["batch", "tokens"], dtype) for name in inputs],
        [graphs.value("last_hidden_state", ["batch", "tokens", table.shape[1]])],
        [graphs.constant("table", table)],
    )


def pooled_graph(
    path: Path, table: npt.NDArray[np.float32] = TABLE, *, name: str = "sentence_embedding"
) -> Path:
    """Write a graph that returns `[batch, d]`, the maximum of each column."""
    nodes = [
        graphs.node("Gather", ["table", "input_ids"], ["tokens"]),
        graphs.node("ReduceMax", ["tokens"], [name], axes=[1], keepdims=0),
    ]
    inputs = [
        graphs.value(i, ["batch", "tokens"], "int64") for i in ("input_ids", "attention_mask")
    ]
    outputs = [graphs.value(name, ["batch", table.shape[1]])]
    return graphs.save(path, nodes, inputs, outputs, [graphs.constant("table", table)])


def tokenizer(path: Path, special: Sequence[str] = (), **parts: Any) -> Path:
    """Write a `tokenizer.json` of WORDS that splits at blanks; `parts` are more of its keys."""
    vocabulary = WORDS | {token: len(WORDS) + i for i, token in enumerate(special)}
    content: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": vocabulary[token],
                "content": token,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for token in special
        ],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    if special:
        before, after = special
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": before, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": after, "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {
                t: {"id": t, "ids": [vocabulary[t]], "tokens": [t]} for t in special
            },
        }
    return write(path, content | parts)


def write(path: Path, content: Any) -> Path:
    """Write JSON, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def vectors(
    text: str, table: npt.NDArray[np.float32] = TABLE, words: Mapping[str, int] = WORDS
) -> Any:
    """Return the token vectors of a text, `[tokens, d]`."""
    return table[[words.get(word, 0) for word in text.split()]]


def unit(vector: Any) -> Any:
    """Return the vector with length 1."""
    return np.asarray(vector, np.float32) / np.linalg.norm(vector)


TEXTS = ["kettle", "lid pan", "query query lid kettle", "", "pan"]
LISTED: dict[str, Any] = {"modules": [TRANSFORMER, POOLING]}


def mean(text: str) -> Any:
    return vectors(text).mean(0) if text else np.zeros(2)


def refused(path: Path, reason: str, variant: str | None = None) -> None:
    embedder = Embedder(path, variant=variant)
    for _ in range(2):  # a model that failed to open stays closed
        with pytest.raises(ModelLoadError, match=reason):
            embedder.encode("pan")
    assert "not opened" in repr(embedder)


def close(got: Any, *expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


PROMPTS = {
    "prompts": {"query": "query ", "double": "lid kettle ", "none": None},
    "default_prompt_name": "query",
}


def prompted(
    path: Path, *, include: bool = True, special: tuple[str, ...] = (), **more: Any
) -> Embedder:
    pooling = {"pooling_mode": "mean", "include_prompt": include}
    table = np.vstack([TABLE, [[100, 0], [0, 100]]]).astype(np.float32)
    configs = {"config_sentence_transformers": PROMPTS} | more
    return Embedder(
        folder(path / "words", pooling=pooling, table=table, special=special, **LISTED, **configs)
    )
