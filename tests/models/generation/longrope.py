"""LongRoPE decoder folders: the graph chooses one of two rotary caches by the sequence length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

VOCABULARY, WIDTH, HEADS, KV_HEADS, HEAD = 96, 32, 4, 2, 16
LAYERS = 2
SWITCH = 40
CONTEXT = 256

node, value = helper.make_node, helper.make_tensor_value_info


class Builder:
    """Nodes and constants of one graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(7)
        self._count = 0

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant((self._random.standard_normal(shape) * scale).astype(np.float32))

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        self._count += 1
        name = f"v{self._count}"
        self.nodes.append(node(operator, list(inputs), [name], **attributes))
        return name


def angles(factor: float) -> np.ndarray:
    inverse = 1.0 / 10000 ** (np.arange(0, HEAD, 2) / HEAD)
    made: np.ndarray = np.outer(np.arange(CONTEXT), inverse / factor).astype(np.float32)
    return made


def caches(graph: Builder, is_long: str, by: str) -> list[str]:
    """Return the names of the chosen cosines and sines."""
    if by == "Where":
        return [
            graph.add(
                "Where",
                is_long,
                graph.constant(made(angles(8.0))),
                graph.constant(made(angles(1.0))),
            )
            for made in (np.cos, np.sin)
        ]
    branches = []
    for tag, factor in (("large", 8.0), ("small", 1.0)):
        outputs = [f"cos_{tag}", f"sin_{tag}"]
        nodes = [
            node(
                "Constant",
                [],
                [name],
                value=numpy_helper.from_array(made(angles(factor)).astype(np.float32)),
            )
            for name, made in zip(outputs, (np.cos, np.sin), strict=True)
        ]
        types = [value(name, TensorProto.FLOAT, [CONTEXT, HEAD // 2]) for name in outputs]
        branches.append(helper.make_graph(nodes, tag, [], types))
    graph.nodes.append(
        node("If", [is_long], ["cos", "sin"], then_branch=branches[0], else_branch=branches[1])
    )
    return ["cos", "sin"]


def comparison(graph: Builder, kind: str, switch: int) -> str:
    """Return the name of a bool that says whether a run is longer than the switch."""
    if kind == "mask width":  # as written by onnxruntime-genai's builder
        total = graph.add("Gather", graph.add("Shape", "attention_mask"), graph.constant(1), axis=0)
        return graph.add("Greater", total, graph.constant(switch))
    if kind == "mask width, reversed":
        total = graph.add("Gather", graph.add("Shape", "attention_mask"), graph.constant(1), axis=0)
        return graph.add("Not", graph.add("Less", total, graph.constant(switch + 1)))
    if kind == "highest position":  # as written by Optimum's patch of transformers
        total = graph.add(
            "Add", graph.add("ReduceMax", "position_ids", keepdims=0), graph.constant(1)
        )
        return graph.add("Greater", total, graph.constant(switch))
    if kind == "tokens of the mask":
        tokens = graph.add("ReduceSum", "attention_mask", graph.constant([1]), keepdims=0)
        return graph.add(
            "GreaterOrEqual", graph.add("ReduceMax", tokens, keepdims=0), graph.constant(switch + 1)
        )
    raise AssertionError(kind)


def grouped(graph: Builder, x: str, layer: int, rotary: list[str]) -> str:
    """Add GroupQueryAttention, whose cache is one buffer."""
    packed = graph.add("MatMul", x, graph.weight(WIDTH, (HEADS + 2 * KV_HEADS) * HEAD))
    cache = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
    outputs = [f"a{layer}", f"present.{layer}.key", f"present.{layer}.value"]
    if layer == 0:
        tokens = graph.add("ReduceSum", "attention_mask", graph.constant([1]), keepdims=0)
        last = graph.add("Sub", tokens, graph.constant([1]))
        total = graph.add("Gather", graph.add("Shape", "attention_mask"), graph.constant(1), axis=0)
        graph.nodes.append(node("Cast", [last], ["last"], to=TensorProto.INT32))
        graph.nodes.append(node("Cast", [total], ["total"], to=TensorProto.INT32))
    graph.nodes.append(
        node(
            "GroupQueryAttention",
            [packed, "", "", *cache, "last", "total", *rotary],
            outputs,
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=KV_HEADS,
            do_rotary=1,
        )
    )
    return outputs[0]


def plain(graph: Builder, x: str, layer: int, rotary: list[str]) -> str:
    """Add attention of standard operators with a growing KV cache and as many KV as query heads."""

    def heads(size: int) -> str:
        made = graph.add("MatMul", x, graph.weight(WIDTH, size * HEAD))
        apart = graph.add("Reshape", made, graph.constant([0, 0, size, HEAD]))
        return graph.add("Transpose", apart, perm=[0, 2, 1, 3])

    def turned(each: str) -> str:
        cos, sin = (
            graph.add("Unsqueeze", graph.add("Gather", r, "position_ids"), one) for r in rotary
        )
        low = graph.add(
            "Slice", each, graph.constant([0]), graph.constant([HEAD // 2]), graph.constant([3])
        )
        high = graph.add(
            "Slice", each, graph.constant([HEAD // 2]), graph.constant([HEAD]), graph.constant([3])
        )
        first = graph.add("Sub", graph.add("Mul", low, cos), graph.add("Mul", high, sin))
        second = graph.add("Add", graph.add("Mul", high, cos), graph.add("Mul", low, sin))
        return graph.add("Concat", first, second, axis=3)

    one = graph.constant([1])
    query, key, val = turned(heads(KV_HEADS)), turned(heads(KV_HEADS)), heads(KV_HEADS)
    past = f"past_key_values.{layer}."
    graph.nodes.append(node("Concat", [past + "key", key], [f"present.{layer}.key"], axis=2))
    graph.nodes.append(node("Concat", [past + "value", val], [f"present.{layer}.value"], axis=2))
    scores = graph.add(
        "MatMul", query, graph.add("Transpose", f"present.{layer}.key", perm=[0, 1, 3, 2])
    )
    if layer == 0:  # attend to columns that are tokens at or before the query's own
        columns = graph.add("Sub", graph.add("CumSum", "attention_mask", graph.constant(1)), one)
        positions = graph.add("Unsqueeze", "position_ids", graph.constant([2]))
        later = graph.add("Greater", graph.add("Unsqueeze", columns, one), positions)
        padding = graph.add(
            "Equal", graph.add("Unsqueeze", "attention_mask", one), graph.constant(0)
        )
        graph.nodes.append(node("Or", [later, padding], ["hidden"]))
        graph.nodes.append(node("Unsqueeze", ["hidden", one], ["hidden_heads"]))
    scaled = graph.add("Mul", scores, graph.constant(np.float32(HEAD**-0.5)))
    seen = graph.add("Where", "hidden_heads", graph.constant(np.float32(-1e9)), scaled)
    mixed = graph.add("MatMul", graph.add("Softmax", seen, axis=-1), f"present.{layer}.value")
    back = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.add("Reshape", back, graph.constant([0, 0, KV_HEADS * HEAD]))


def folder(
    path: Path,
    kind: str = "mask width",
    by: str = "If",
    *,
    whole: bool = True,
    switch: int = SWITCH,
) -> Path:
    """Write a decoder with another rotary cache beyond `switch` tokens.

    `whole` has GroupQueryAttention.
    """
    graph = Builder()
    rotary = caches(graph, comparison(graph, kind, switch), by)
    x = graph.add("Gather", graph.weight(VOCABULARY, WIDTH, scale=1.0), "input_ids")
    norm = graph.constant(np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        attended = (grouped if whole else plain)(
            graph, graph.add("LayerNormalization", x, norm), layer, rotary
        )
        size = (HEADS if whole else KV_HEADS) * HEAD
        x = graph.add("Add", x, graph.add("MatMul", attended, graph.weight(size, WIDTH)))
    final = graph.add("LayerNormalization", x, norm)
    graph.nodes.append(node("MatMul", [final, graph.weight(WIDTH, VOCABULARY)], ["logits"]))
    ints = TensorProto.INT64
    inputs = [value("input_ids", ints, ["b", "s"]), value("attention_mask", ints, ["b", "t"])]
    if not whole or kind == "highest position":
        inputs.append(value("position_ids", ints, ["b", "s"]))
    outputs = [value("logits", TensorProto.FLOAT, ["b", "s", VOCABULARY])]
    for layer in range(LAYERS):
        for part in ("key", "value"):
            shape = ["b", KV_HEADS, "past", HEAD]
            inputs.append(value(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, shape))
            outputs.append(
                value(f"present.{layer}.{part}", TensorProto.FLOAT, ["b", KV_HEADS, "t", HEAD])
            )
    made = helper.make_graph(graph.nodes, "decoder", inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), path / "model.onnx")
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    decoder = {"filename": "model.onnx", "head_size": HEAD, "num_key_value_heads": KV_HEADS}
    config = {"model": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "decoder": decoder}}
    (path / "genai_config.json").write_text(json.dumps(config))
    return path


def reference(path: Path, prompt: list[int], tokens: int) -> list[int]:
    """Return the greedy tokens of plain onnxruntime, without a KV cache."""
    session = onnxruntime.InferenceSession(
        str(path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = {each.name for each in session.get_inputs()}
    ids = list(prompt)
    for _ in range(tokens):
        feeds = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        feeds["position_ids"] = np.arange(len(ids))[None]
        empty = np.zeros((1, KV_HEADS, 0, HEAD), np.float32)
        feeds |= {
            f"past_key_values.{layer}.{part}": empty
            for layer in range(LAYERS)
            for part in ("key", "value")
        }
        logits = session.run(
            ["logits"], {name: feed for name, feed in feeds.items() if name in names}
        )[0]
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]
