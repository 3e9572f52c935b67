"""The chat model computes what llama.cpp does with its weights (`data/make/chat_reference.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from conduit_lab import load_model

FOLDER = Path(__file__).resolve().parents[2] / "data" / "models" / "chat"
RECORDED = json.loads((Path(__file__).parent / "chat_tokens.json").read_text("utf-8"))
# A token whose two best logits are nearer is a near-tie: the graph rounds inputs to 8 bits, as
# llama.cpp does, which leaves its own float32 tokens at margins of up to 0.49. float32 moves 1e-4.
NEAR_TIE = 0.5
FLOAT_TIE = 1e-3

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (FOLDER / "model.onnx").is_file(), reason="no data/models/chat: run `make chat-model`"
    ),
]


@pytest.fixture(scope="module")
def writer() -> Iterator[Any]:
    model: Any = load_model(FOLDER)
    yield model
    model.unload()


@pytest.fixture(scope="module")
def exact() -> Any:
    """The graph with float32 inputs of its matrices, as plain onnxruntime runs it."""
    model = onnx.load(str(FOLDER / "model.onnx"))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def generated(writer: Any, entry: dict[str, Any]) -> Any:
    options = {"max_tokens": len(entry["tokens"]), "temperature": 0}
    if "messages" in entry:
        return writer.chat(entry["messages"], **options)
    return writer.generate(entry["prompt"], **options)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: str(entry["ids"][-3:]))
def test_the_weights_give_the_tokens_of_float32(exact: Any, entry: dict[str, Any]) -> None:
    ids = np.array([entry["ids"] + entry["tokens"][:-1]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    feeds["num_logits_to_keep"] = np.array(len(entry["tokens"]))
    for value in exact.get_inputs():
        if value.name.startswith("past"):
            feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    chosen = exact.run(["logits"], feeds)[0][0].argmax(-1).tolist()
    ties = [margin < FLOAT_TIE for margin in entry["margins"]]
    assert [
        tie or got == token for tie, got, token in zip(ties, chosen, entry["tokens"], strict=True)
    ] == [True] * len(chosen)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: str(entry["ids"][-3:]))
def test_a_generation_leaves_the_recorded_one_only_at_a_near_tie(
    writer: Any, entry: dict[str, Any]
) -> None:
    generation = generated(writer, entry)
    assert generation.usage.prompt == len(entry["ids"])
    got = [token.id for token in generation.tokens]
    pairs = zip(got, entry["tokens"], entry["margins"], strict=False)
    margins = [margin for token, recorded, margin in pairs if token != recorded]
    assert not margins or margins[0] < NEAR_TIE
