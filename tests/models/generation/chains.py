"""Decoder folders that are Markov chains: a table determines the token after each token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

node, value = helper.make_node, helper.make_tensor_value_info


def chain(
    path: Path,
    tokenizer: Tokenizer,
    tokens: list[int],
    *,
    logits: int | None = None,
    embedded: int | None = None,
    noise: float = 0.0,
    files: Mapping[str, object] | None = None,
    **config: object,
) -> Path:
    """Write a model that goes on along `tokens`; elsewhere its logits are `noise` times normal.

    `logits` is their width, by default the tokenizer's size, and `embedded` the number of ids that
    the graph takes."""
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    width = logits or tokenizer.get_vocab_size()
    table = np.random.default_rng(0).standard_normal((embedded or width, width)) * noise
    for token, following in pairwise(tokens):
        table[token, following] += 20
    pasts = [f"past_key_values.0.{part}" for part in ("key", "value")]
    presents = [name.replace("past_key_values", "present") for name in pasts]
    nodes = [
        node("Gather", ["table", "input_ids"], ["logits"]),
        node("Cast", ["input_ids"], ["float"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["float", "axes"], ["added"]),
        node("Identity", ["attention_mask"], ["mask"]),
        *(
            node("Concat", [past, "added"], [present], axis=2)
            for past, present in zip(pasts, presents, strict=True)
        ),
    ]
    ints = [value(name, TensorProto.INT64, ["b", "s"]) for name in ("input_ids", "position_ids")]
    inputs = [*ints, value("attention_mask", TensorProto.INT64, ["b", "t"])]
    inputs += [value(name, TensorProto.FLOAT, ["b", 1, "p", 1]) for name in pasts]
    outputs = [value("logits", TensorProto.FLOAT, ["b", "s", width])]
    outputs += [value(name, TensorProto.FLOAT, ["b", 1, "q", 1]) for name in presents]
    constants = [
        numpy_helper.from_array(table.astype(np.float32), "table"),
        numpy_helper.from_array(np.array([1, 3]), "axes"),
    ]
    graph = helper.make_graph(nodes, "chain", inputs, outputs, constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        path / "model.onnx",
    )
    given = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": width,
        "max_position_embeddings": 4096,
        **config,
    }
    for name, content in {"config.json": given, **(files or {})}.items():
        (path / name).write_text(json.dumps(content))
    return path
