"""Folders of small cross-encoders, written by each test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.text import embedders
from tests.runtime import graphs

SPECIAL = ("[CLS]", "[SEP]")
CLASSIFIER = {"architectures": ["BertForSequenceClassification"], "max_position_embeddings": 16}
# the weight of a word shared by query and passage: [UNK] kettle pan lid query Kettle
# [CLS] [SEP]
WORTH = np.array([0, 5, 3, 1, 0, 2, 0, 0], np.float32)


def folder(
    path: Path,
    *,
    classes: int = 1,
    worth: Sequence[float] = tuple(WORTH),
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    dtype: str = "int64",
    graph: str = "model.onnx",
    config: dict[str, Any] | None = CLASSIFIER,
    compared: bool = False,
) -> Path:
    """Write a model whose score is the worth of the words that query and passage share, each as
    often as both do.

    The words are those of `embedders`; a pair is `[CLS] query [SEP] passage [SEP]`. Where scores
    are `compared`, each is its distance below the best of its run."""
    overlap_graph(path / graph, np.asarray(worth, np.float32), classes, inputs, dtype, compared)
    words = len(embedders.WORDS)
    pair = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]
    pair += [
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    pair += [
        {"Sequence": {"id": "B", "type_id": 1}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
    ]
    ids = {
        token: {"id": token, "ids": [words + i], "tokens": [token]}
        for i, token in enumerate(SPECIAL)
    }
    template = {
        "type": "TemplateProcessing",
        "single": pair[:3],
        "pair": pair,
        "special_tokens": ids,
    }
    # as in saved files: with their own padding and truncation
    padding: dict[str, Any] = {
        "strategy": {"Fixed": 128},
        "direction": "Right",
        "pad_to_multiple_of": None,
    }
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"}
    truncation: dict[str, Any] = {
        "direction": "Right",
        "max_length": 128,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    embedders.tokenizer(
        path / "tokenizer.json",
        SPECIAL,
        post_processor=template,
        padding=padding,
        truncation=truncation,
    )
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return path


def overlap_graph(
    path: Path, worth: Any, classes: int, inputs: Sequence[str], dtype: str, compared: bool
) -> Path:
    """Write the graph; of two classes the logits are minus half and half of the score."""
    path.parent.mkdir(parents=True, exist_ok=True)
    node = graphs.node
    nodes = [
        node("Cast", ["attention_mask"], ["mask"], to=1),
        node("Cast", [inputs[-1]], ["second"], to=1),
        node("Mul", ["mask", "second"], ["in_passage"]),
        node("Sub", ["mask", "in_passage"], ["in_query"]),
        node("Gather", ["table", "input_ids"], ["words"]),
    ]
    for part in ("query", "passage"):
        nodes.append(node("Unsqueeze", [f"in_{part}", "last"], [f"{part}_column"]))
        nodes.append(node("Mul", ["words", f"{part}_column"], [f"{part}_words"]))
        nodes.append(node("ReduceSum", [f"{part}_words", "middle"], [f"{part}_counts"], keepdims=0))
    nodes.append(node("Mul", ["query_counts", "passage_counts"], ["shared"]))
    nodes.append(node("MatMul", ["shared", "heads"], ["scores"]))
    nodes.append(node("ReduceMax", ["scores"], ["best"], axes=[0]))
    nodes.append(node("Sub", ["scores", "best" if compared else "nothing"], ["logits"]))
    heads = worth[:, None] * np.array(
        [[1.0]] if classes == 1 else [[-0.5, 0.5] * (classes // 2)], np.float32
    )
    return graphs.save(
        path,
        nodes,
        [graphs.value(name, ["batch", "tokens"], dtype) for name in inputs],
        [graphs.value("logits", ["batch", classes])],
        [
            graphs.constant("table", np.eye(len(worth), dtype=np.float32)),
            graphs.constant("heads", heads),
            graphs.constant("nothing", np.zeros(1, np.float32)),
            graphs.constant("last", np.array([2])),
            graphs.constant("middle", np.array([1])),
        ],
    )


def score(query: str, passage: str, room: int = 16) -> float:
    """Return the score in plain Python, of a pair whose passage is the longer text."""
    words = [embedders.WORDS.get(word, 0) for word in query.split()]
    others = [embedders.WORDS.get(word, 0) for word in passage.split()][: room - len(words) - 3]
    return float(sum(WORTH[word] * words.count(word) * others.count(word) for word in set(words)))
