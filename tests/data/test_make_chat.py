"""The parts of the chat model's script, on a tiny GGUF file made here."""

from __future__ import annotations

import json
import struct
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.data.scripts import script

HIDDEN, INNER, HEADS, KV_HEADS, LAYERS, VOCABULARY = 64, 96, 4, 2, 2, 40
HEAD = HIDDEN // HEADS
FIELDS: dict[str, Any] = {
    "llama.block_count": LAYERS,
    "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.vocab_size": VOCABULARY,
    "llama.context_length": 64,
    "llama.rope.freq_base": 1e4,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": [
        "<|endoftext|>",
        "<|im_end|>",
        "a",
        "b",
        "Ġ",
        "1",
        "2",
        "ab",
        "Ġab",
        "12",
    ],
    "tokenizer.ggml.token_type": [3, 3, 1, 1, 1, 1, 1, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b", "Ġ ab", "1 2"],
}


@pytest.fixture(scope="module")
def gguf() -> ModuleType:
    return script("gguf_file")


@pytest.fixture(scope="module")
def chat_graph() -> ModuleType:
    return script("chat_graph")


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def field(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    kind = struct.pack("<I", 8 if isinstance(value[0], str) else 4)
    return (
        struct.pack("<I", 9)
        + kind
        + struct.pack("<Q", len(value))
        + b"".join(
            text(item) if isinstance(item, str) else struct.pack("<I", item) for item in value
        )
    )


class TinyFile:
    """Random tensors as the bytes of a GGUF file, and their weights in float32."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(3)
        self._tensors: list[tuple[str, tuple[int, ...], int, bytes]] = []
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.q8_0("token_embd.weight", VOCABULARY, HIDDEN)
        for layer in range(LAYERS):
            self.f32(f"blk.{layer}.attn_norm.weight", HIDDEN)
            self.f32(f"blk.{layer}.ffn_norm.weight", HIDDEN)
            width = KV_HEADS * HEAD
            for name, rows, columns in (
                ("attn_q", HIDDEN, HIDDEN),
                ("attn_k", width, HIDDEN),
                ("attn_v", width, HIDDEN),
                ("attn_output", HIDDEN, HIDDEN),
                ("ffn_gate", INNER, HIDDEN),
                ("ffn_up", INNER, HIDDEN),
                ("ffn_down", HIDDEN, INNER),
            ):
                self.q4_1(f"blk.{layer}.{name}.weight", rows, columns)
        self.f32("output_norm.weight", HIDDEN)

    def f32(self, name: str, count: int) -> None:
        values = self._random.normal(1, 0.2, count).astype(np.float32)
        self._add(name, (count,), 0, values.tobytes(), values)

    def q8_0(self, name: str, rows: int, columns: int) -> None:
        scale = self._random.uniform(0.001, 0.01, rows * columns // 32).astype(np.float16)
        q = self._random.integers(-127, 128, (len(scale), 32), dtype=np.int8)
        data = b"".join(s.tobytes() + row.tobytes() for s, row in zip(scale, q, strict=True))
        values = scale.astype(np.float32)[:, None] * q
        self._add(name, (columns, rows), 8, data, values.reshape(rows, columns))

    def q4_1(self, name: str, rows: int, columns: int) -> None:
        count = rows * columns // 32
        scale = self._random.uniform(0.01, 0.05, count).astype(np.float16)
        shift = self._random.uniform(-0.4, -0.1, count).astype(np.float16)
        q = self._random.integers(0, 16, (count, 32), dtype=np.uint8)
        data = b"".join(
            s.tobytes() + m.tobytes() + (row[:16] | row[16:] << 4).tobytes()
            for s, m, row in zip(scale, shift, q, strict=True)
        )
        values = scale.astype(np.float32)[:, None] * q + shift.astype(np.float32)[:, None]
        self._add(name, (columns, rows), 3, data, values.reshape(rows, columns))

    def _add(self, name: str, shape: tuple[int, ...], kind: int, data: bytes, values: Any) -> None:
        self._tensors.append((name, shape, kind, data + b"\0" * (-len(data) % 32)))
        self.weights[name] = values.astype(np.float32)

    def data(self) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self._tensors), len(FIELDS))
        head += b"".join(text(name) + field(value) for name, value in FIELDS.items())
        offset = 0
        for name, shape, kind, data in self._tensors:
            head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            head += struct.pack("<IQ", kind, offset)
            offset += len(data)
        head += b"\0" * (-len(head) % 32)
        return head + b"".join(data for *_, data in self._tensors)


@pytest.fixture(scope="module")
def tiny() -> TinyFile:
    return TinyFile()


def test_fields_and_tensors_are_read(gguf: ModuleType, tiny: TinyFile) -> None:
    file = gguf.GGUFFile(tiny.data())
    assert {**file.fields, **{n: pytest.approx(FIELDS[n]) for n in FIELDS if "eps" in n}} == FIELDS
    assert file.tensors == list(tiny.weights)
    for name, expected in tiny.weights.items():
        read = file.vector(name) if expected.ndim == 1 else file.blocks(name).weights()
        np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("cut", [3, 20, 200, -40])
def test_a_cut_file_is_refused(gguf: ModuleType, tiny: TinyFile, cut: int) -> None:
    with pytest.raises(gguf.GGUFError, match=r"download it again|expected GGUF"):
        gguf.GGUFFile(tiny.data()[:cut]).vector("output_norm.weight")


def test_another_tensor_type_is_refused(gguf: ModuleType, tiny: TinyFile) -> None:
    with pytest.raises(gguf.GGUFError, match="expects the tensor type 0, got 8"):
        gguf.GGUFFile(tiny.data()).vector("token_embd.weight")


def test_the_graph_equals_a_forward_pass_in_numpy(
    gguf: ModuleType, chat_graph: ModuleType, tiny: TinyFile
) -> None:
    file = gguf.GGUFFile(tiny.data())
    shape = chat_graph.Shape.read(file.fields, 32)
    assert shape.context == 32
    model = chat_graph.build_model(file, shape, chat_graph.EXACT)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 9)
    expected = llama_logits(tiny.weights, ids)
    first, cache = run(session, ids[:6], None, kept=2)
    then, _ = run(session, ids[6:], cache, kept=3)
    np.testing.assert_allclose(np.concatenate([first, then]), expected[4:], atol=2e-4)


def run(session: Any, ids: Any, cache: Any, kept: int) -> tuple[Any, Any]:
    """Return the last logits and the KV cache."""
    pasts = [value.name for value in session.get_inputs() if value.name.startswith("past")]
    if cache is None:
        cache = [np.zeros((1, KV_HEADS, 0, HEAD), np.float32) for _ in pasts]
    feeds = dict(zip(pasts, cache, strict=True))
    feeds["input_ids"] = np.array([ids])
    feeds["attention_mask"] = np.ones((1, len(ids) + cache[0].shape[2]), np.int64)
    feeds["num_logits_to_keep"] = np.array(kept)
    presents = [name.replace("past_key_values", "present") for name in pasts]
    logits, *cache = session.run(["logits", *presents], feeds)
    return logits[0], cache


def llama_logits(weights: dict[str, NDArray[np.float32]], ids: Any) -> NDArray[np.float64]:
    """Return the logits of every token (Touvron et al. 2023; grouped queries, pairs rotated)."""
    w = {name.removesuffix(".weight"): value.astype(np.float64) for name, value in weights.items()}
    count = len(ids)
    angles = np.arange(count)[:, None] * 1e4 ** (-np.arange(0, HEAD, 2) / HEAD)
    turn = np.exp(1j * angles)[:, None]

    def norm(x: Any, name: str) -> Any:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[name]

    def rotated(x: Any) -> Any:
        pairs = x.reshape(count, -1, HEAD // 2, 2)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
        return np.stack([turned.real, turned.imag], -1).reshape(count, -1, HEAD)

    x = w["token_embd"][ids]
    future = np.triu(np.full((count, count), -np.inf), 1)
    for layer in (f"blk.{index}." for index in range(LAYERS)):
        h = norm(x, layer + "attn_norm")
        query, key = (rotated(h @ w[f"{layer}attn_{part}"].T) for part in "qk")
        value = (h @ w[layer + "attn_v"].T).reshape(count, -1, HEAD)
        mixed = []
        for head in range(HEADS):
            own = head * KV_HEADS // HEADS
            scores = np.exp(query[:, head] @ key[:, own].T / HEAD**0.5 + future)
            mixed.append(scores / scores.sum(-1, keepdims=True) @ value[:, own])
        x = x + np.concatenate(mixed, -1) @ w[layer + "attn_output"].T
        h = norm(x, layer + "ffn_norm")
        gate = h @ w[layer + "ffn_gate"].T
        inner = gate / (1 + np.exp(-gate)) * (h @ w[layer + "ffn_up"].T)
        x = x + inner @ w[layer + "ffn_down"].T
    return np.asarray(norm(x, "output_norm") @ w["token_embd"].T)


def test_the_tokenizer_splits_digits_and_keeps_spaces() -> None:
    tokenizer = Tokenizer.from_str(json.dumps(script("chat").tokenizer_of(FIELDS)))
    encoded = tokenizer.encode("ab12 ab<|im_end|>")
    assert encoded.tokens == ["ab", "1", "2", "Ġab", "<|im_end|>"]
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == "ab12 ab<|im_end|>"


def test_another_kind_of_tokenizer_is_refused() -> None:
    chat = script("chat")
    with pytest.raises(Exception, match="the tokenizer is gpt2, llama-bpe: expected gpt2, smollm"):
        chat.tokenizer_of({**FIELDS, "tokenizer.ggml.pre": "llama-bpe"})
