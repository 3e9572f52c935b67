"""The graph of SmolLM2 with the very weights of its GGUF file, for onnxruntime.

A GGUF block of 32 weights is scale · q + shift with q from 0 to 15. MatMulNBits multiplies with
scale · (q − 8), and its zero points are whole numbers, so the rest, scale · 8 + shift, is a second
product with the sums of each 32 inputs: a matrix of a 32nd of the size, in float32. The weights are
then those of the file, to float32 rounding, in its 4 bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf_file import BLOCK, GGUFFile
from graph_builder import Graph
from onnx import TensorProto, helper

OPSET = 17
IR_VERSION = 10  # the newest for onnxruntime 1.22
CONTRIB = "com.microsoft"
INT8_ACTIVATIONS = 4  # MatMulNBits accuracy_level: inputs in 8 bits per block, as in llama.cpp
EXACT = 1  # accuracy_level: inputs in float32, about 12 times as slow


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-like decoder; `context` is its number of positions."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    theta: float
    epsilon: float

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.hidden // self.heads

    @classmethod
    def read(cls, fields: Mapping[str, Any], context: int) -> "Shape":
        """Read the sizes from a GGUF file's fields; `context` bounds the positions."""
        return cls(
            layers=fields["llama.block_count"],
            hidden=fields["llama.embedding_length"],
            inner=fields["llama.feed_forward_length"],
            heads=fields["llama.attention.head_count"],
            kv_heads=fields["llama.attention.head_count_kv"],
            vocabulary=fields["llama.vocab_size"],
            context=min(context, fields["llama.context_length"]),
            theta=fields["llama.rope.freq_base"],
            epsilon=fields["llama.attention.layer_norm_rms_epsilon"],
        )


class ChatGraph(Graph):
    """The graph under construction, of one GGUF file."""

    def __init__(self, file: GGUFFile, shape: Shape, accuracy: int) -> None:
        super().__init__()
        self.file = file
        self.shape = shape
        self.accuracy = accuracy

    def block_sums(self, value: str, columns: int) -> str:
        """Append the sums of each 32 values of the last axis."""
        blocks = self.node("Reshape", value, self.integers(0, 0, columns // BLOCK, BLOCK))
        return self.node("ReduceSum", blocks, self.integers(3), keepdims=0)

    def linear(self, name: str, value: str, sums: str, tensors: Sequence[str]) -> str:
        """Append the product with the rows of some Q4_1 matrices, one below the other."""
        parts = [self.file.blocks(tensor) for tensor in tensors]
        scale, shift, q = (
            np.concatenate([getattr(part, of) for part in parts]) for of in ("scale", "shift", "q")
        )
        packed = q[..., 0::2] | q[..., 1::2] << 4
        product = self.node(
            "MatMulNBits",
            value,
            self.weight(f"{name}.q", packed),
            self.weight(f"{name}.scale", scale),
            domain=CONTRIB,
            K=q.shape[1] * BLOCK,
            N=len(q),
            bits=4,
            block_size=BLOCK,
            accuracy_level=self.accuracy,
        )
        rest = self.weight(f"{name}.rest", (shift + 8 * scale).T)
        return self.node("Add", product, self.node("MatMul", sums, rest))

    def norm(self, tensor: str, value: str) -> str:
        """Append the first root mean square norm."""
        weight = self.weight(tensor, self.file.vector(tensor))
        return self.node(
            "SimplifiedLayerNormalization", value, weight, axis=-1, epsilon=self.shape.epsilon
        )

    def add_norm(self, tensor: str, value: str, stream: str) -> tuple[str, str]:
        """Append a value's sum with the residual stream and its norm; return norm and stream."""
        weight = self.weight(tensor, self.file.vector(tensor))
        total = f"stream_{len(self.nodes)}"
        normed = self.node(
            "SkipSimplifiedLayerNormalization",
            value,
            stream,
            weight,
            more=("", "", total),
            domain=CONTRIB,
            epsilon=self.shape.epsilon,
        )
        return normed, total


def build_model(file: GGUFFile, shape: Shape, accuracy: int = INT8_ACTIVATIONS) -> Any:
    """Build the decoder as one ONNX model with the interface of Hugging Face's exports.

    Inputs: input_ids, int64 [batch, tokens]; attention_mask, int64 [batch, all_tokens];
    num_logits_to_keep, int64 scalar; past_key_values.N.key and .value, float32 [batch, kv_heads,
    tokens, head]. Outputs: logits of the last tokens, float32 [batch, kept, vocabulary], and
    present.N.key and .value.
    """
    graph = ChatGraph(file, shape, accuracy)
    _embedding_table(graph)
    stream = _embed(graph)
    lengths = _lengths(graph)
    normed = graph.norm("blk.0.attn_norm.weight", stream)
    for layer in range(shape.layers):
        last = layer + 1 == shape.layers
        attended = _attention(graph, layer, normed, lengths)
        if last:  # behind the last attention a token is on its own
            attended, stream = _last_tokens(graph, attended), _last_tokens(graph, stream)
        normed, stream = graph.add_norm(f"blk.{layer}.ffn_norm.weight", attended, stream)
        following = "output_norm.weight" if last else f"blk.{layer + 1}.attn_norm.weight"
        normed, stream = graph.add_norm(following, _feed_forward(graph, layer, normed), stream)
    graph.node(
        "MatMulNBits",
        normed,
        "embedding.q",
        "embedding.scale",
        output="logits",
        domain=CONTRIB,
        K=shape.hidden,
        N=shape.vocabulary,
        bits=8,
        block_size=BLOCK,
        accuracy_level=accuracy,
    )
    return _model(graph)


def _embedding_table(graph: ChatGraph) -> None:
    """Store the Q8_0 embedding, which is the head as well, with 128 as its zero."""
    table = graph.file.blocks("token_embd.weight")
    graph.weight("embedding.q", (table.q.astype(np.int16) + 128).astype(np.uint8))
    graph.weight("embedding.scale", table.scale)


def _embed(graph: ChatGraph) -> str:
    """Append the embeddings of the tokens, [batch, tokens, hidden]."""
    q = graph.node("Cast", graph.node("Gather", "embedding.q", "input_ids"), to=TensorProto.FLOAT)
    scale = graph.node("Gather", "embedding.scale", "input_ids")
    scale = graph.node("Unsqueeze", scale, graph.integers(3))
    values = graph.node("Mul", graph.node("Sub", q, graph.scalar(128)), scale)
    return graph.node("Reshape", values, graph.integers(0, 0, graph.shape.hidden))


def _lengths(graph: ChatGraph) -> tuple[str, str]:
    """Append each row's tokens less one, int32 [batch], and the mask's width, an int32 scalar."""
    counts = graph.node("ReduceSum", "attention_mask", graph.integers(1), keepdims=0)
    counts = graph.node("Sub", counts, graph.integers(1))
    width = graph.node("Shape", "attention_mask", start=1, end=2)
    width = graph.node("Squeeze", width, graph.integers(0))
    return (
        graph.node("Cast", counts, to=TensorProto.INT32),
        graph.node("Cast", width, to=TensorProto.INT32),
    )


def _attention(graph: ChatGraph, layer: int, normed: str, lengths: tuple[str, str]) -> str:
    """Append attention; GGUF keeps the rows of query and key for interleaved rotation."""
    shape, name = graph.shape, f"blk.{layer}.attn"
    tensors = [f"{name}_{part}.weight" for part in "qkv"]
    sums = graph.block_sums(normed, shape.hidden)
    attended = graph.node(
        "GroupQueryAttention",
        graph.linear(f"{name}_qkv", normed, sums, tensors),
        "",
        "",
        f"past_key_values.{layer}.key",
        f"past_key_values.{layer}.value",
        *lengths,
        *_rotation(graph),
        output=name,
        more=(f"present.{layer}.key", f"present.{layer}.value"),
        domain=CONTRIB,
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        do_rotary=1,
        rotary_interleaved=1,
    )
    sums = graph.block_sums(attended, shape.hidden)
    return graph.linear(f"{name}_output", attended, sums, [f"{name}_output.weight"])


def _rotation(graph: ChatGraph) -> tuple[str, str]:
    """Store the cosines and sines of all positions, float32 [context, head / 2]."""
    shape = graph.shape
    steps = shape.theta ** (-np.arange(0, shape.head, 2) / shape.head)
    angles = np.arange(shape.context)[:, None] * steps
    return (
        graph.weight("cosine", np.cos(angles).astype(np.float32)),
        graph.weight("sine", np.sin(angles).astype(np.float32)),
    )


def _feed_forward(graph: ChatGraph, layer: int, normed: str) -> str:
    name = f"blk.{layer}.ffn"
    sums = graph.block_sums(normed, graph.shape.hidden)
    gate = graph.linear(f"{name}_gate", normed, sums, [f"{name}_gate.weight"])
    up = graph.linear(f"{name}_up", normed, sums, [f"{name}_up.weight"])
    inner = graph.node("Mul", graph.node("Mul", gate, graph.node("Sigmoid", gate)), up)
    sums = graph.block_sums(inner, graph.shape.inner)
    return graph.linear(f"{name}_down", inner, sums, [f"{name}_down.weight"])


def _last_tokens(graph: ChatGraph, value: str) -> str:
    """Append a cut of axis 1 to the last `num_logits_to_keep` tokens."""
    start = graph.node("Neg", "num_logits_to_keep")
    start = graph.node("Unsqueeze", start, graph.integers(0))
    ends = graph.integers(np.iinfo(np.int64).max)
    return graph.node("Slice", value, start, ends, graph.integers(1))


def _model(graph: ChatGraph) -> Any:
    shape = graph.shape

    def tensor(name: str, *axes: str | int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, axes)

    def cache(kind: str, tokens: str) -> list[Any]:
        return [
            tensor(f"{kind}.{layer}.{part}", "batch", shape.kv_heads, tokens, shape.head)
            for layer in range(shape.layers)
            for part in ("key", "value")
        ]

    integers = TensorProto.INT64
    inputs = [
        tensor("input_ids", "batch", "tokens", kind=integers),
        tensor("attention_mask", "batch", "all_tokens", kind=integers),
        tensor("num_logits_to_keep", kind=integers),
        *cache("past_key_values", "past_tokens"),
    ]
    logits = tensor("logits", "batch", "kept_tokens", shape.vocabulary)
    outputs = [logits, *cache("present", "present_tokens")]
    weights = list(graph.initializers.values())
    return helper.make_model(
        helper.make_graph(graph.nodes, "SmolLM2-135M-Instruct", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)],
        ir_version=IR_VERSION,
        producer_name="conduit_lab data/make/chat.py",
    )
