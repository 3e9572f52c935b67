"""Embedder folders: lengths, variants and graphs that do not fit the tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.models.text.embedder import Embedder
from tests.models.text.embedders import (
    POOLING,
    TRANSFORMER,
    close,
    folder,
    refused,
    tokens_graph,
    unit,
)
from tests.runtime import graphs

# Length


@pytest.mark.parametrize(
    ("configs", "length"),
    [
        ({}, 256),
        ({"sentence_bert_config": {"max_seq_length": 3}}, 3),
        ({"sentence_roberta_config": {"max_seq_length": 4}}, 4),
        ({"sentence_bert_config": {"max_seq_length": None}}, 256),
        ({"tokenizer_config": {"model_max_length": 5}}, 5),
        ({"tokenizer_config": {"model_max_length": 10**30}}, 256),
        (
            {"tokenizer_config": {"model_max_length": 9}, "config": {"max_position_embeddings": 6}},
            6,
        ),
        (
            {
                "sentence_bert_config": {"max_seq_length": 2},
                "tokenizer_config": {"model_max_length": 9},
            },
            2,
        ),
        (
            {
                "sentence_bert_config": {"max_seq_length": 9},
                "config": {"max_position_embeddings": 7},
            },
            7,
        ),
        (
            {
                "sentence_bert_config": {"max_seq_length": 9},
                "config": {"max_position_embeddings": -1},
            },
            9,
        ),
    ],
)
def test_text_is_read_as_far_as_the_files_say(
    tmp_path: Path, configs: dict[str, Any], length: int
) -> None:
    embedder = Embedder(
        folder(
            tmp_path,
            modules=[TRANSFORMER, POOLING],
            pooling={"pooling_mode": "lasttoken"},
            **configs,
        )
    )
    assert embedder.max_length == length
    close(embedder.encode(["pan " * (length - 1) + "lid kettle"]), [3, 4])


@pytest.mark.parametrize("length", ["many", -1, 0, 2.5, [1], True])
def test_invalid_length_is_refused(tmp_path: Path, length: object) -> None:
    refused(folder(tmp_path, sentence_bert_config={"max_seq_length": length}), "has max_seq_length")


def test_lower_case_is_read_from_the_config(tmp_path: Path) -> None:
    embedder = Embedder(folder(tmp_path, sentence_bert_config={"do_lower_case": True}))
    close(embedder.encode(["Kettle"]), [1, 0])


# Graphs


def test_variant_chooses_among_the_graphs(tmp_path: Path) -> None:
    folder(tmp_path)
    for number, name in enumerate(("model_int8.onnx", "onnx/model_q4.onnx", "onnx/model.onnx"), 1):
        tokens_graph(tmp_path / name, np.full((6, 2), [1, 10.0**number], np.float32))
    close(Embedder(tmp_path).encode(["pan"]), [0, 1])  # the folder's own graph precedes onnx/
    close(Embedder(tmp_path, variant="int8").encode(["pan"]), unit([1, 10]))
    close(Embedder(tmp_path, variant="q4").encode(["pan"]), unit([1, 100]))


def test_graph_may_lie_in_the_onnx_folder(tmp_path: Path) -> None:
    close(Embedder(folder(tmp_path, graph="onnx/model.onnx")).encode(["lid"]), unit([3, 4]))


@pytest.mark.parametrize(
    ("graph", "variant", "reason"),
    [
        ("model.onnx", "int8", r"no model_int8\.onnx in .*; there is model\.onnx"),
        (
            "model_int8.onnx",
            None,
            r"no model\.onnx in .*; there is model_int8\.onnx \(variant='int8'\)",
        ),
        ("model.onnx", "../x", r"no model_\.\./x\.onnx"),
        ("other.onnx", None, "there is no other graph either"),
    ],
)
def test_missing_variant_is_refused_with_those_there_are(
    tmp_path: Path, graph: str, variant: str | None, reason: str
) -> None:
    refused(folder(tmp_path, graph=graph), reason, variant)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_ids_have_the_graphs_own_type(tmp_path: Path, dtype: str) -> None:
    inputs = ("token_type_ids", "attention_mask", "input_ids")
    close(Embedder(folder(tmp_path, inputs=inputs, dtype=dtype)).encode(["lid"]), unit([3, 4]))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (
            ("input_ids", "attention_mask", "position_ids"),
            "is not an embedding model: its graph has the inputs position_ids",
        ),
        (("input_ids",), "its graph does not take attention_mask"),
    ],
)
def test_graph_with_unknown_inputs_is_refused(
    tmp_path: Path, inputs: tuple[str, ...], reason: str
) -> None:
    refused(folder(tmp_path, inputs=inputs), reason)


def test_graph_that_gives_no_vectors_is_refused(tmp_path: Path) -> None:
    inputs = [
        graphs.value(name, ["batch", "tokens"], "int64") for name in ("input_ids", "attention_mask")
    ]
    graphs.save(
        folder(tmp_path) / "model.onnx",
        [graphs.node("Identity", ["input_ids"], ["ids"])],
        inputs,
        [graphs.value("ids", ["batch", "tokens"], "int64")],
    )
    refused(
        tmp_path,
        r"has a graph that gives int64 \[32, 1\] for 32 texts of one token: expected floats",
    )


# Tokenizers of another model


def test_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    assert Embedder(folder(tmp_path, config={"vocab_size": 6})).encode("pan").any()
    refused(
        folder(tmp_path, config={"vocab_size": 5}),
        r"tokenizer of 6 tokens and a model of 5.*another model",
    )


def test_tokenizer_is_tried_on_the_graph_without_a_config(tmp_path: Path) -> None:
    refused(
        folder(tmp_path, table=np.ones((5, 2), np.float32)),
        r"does not take its tokenizer's tokens up to 5:.*another model",
    )


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_files_may_be_links_as_in_the_cache_of_hugging_face(tmp_path: Path) -> None:
    real = folder(tmp_path / "blobs", modules=[TRANSFORMER, POOLING], pooling={})
    linked = tmp_path / "snapshot"
    for file in real.rglob("*.*"):
        if file.is_file():
            (linked / file.relative_to(real)).parent.mkdir(parents=True, exist_ok=True)
            (linked / file.relative_to(real)).symlink_to(file)
    close(Embedder(linked).encode(["lid"]), [3, 4])
