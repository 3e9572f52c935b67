"""Folders of small text and token classifiers, written by each test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.runtime import graphs

Logits = npt.NDArray[np.float32]
PIECES = (
    *(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "a",
        "b",
        "c",
        "##a",
        "##b",
        "##c",
        "anna",
        "new",
        "york",
        "##er",
        "in",
    ),
    *(",", ".", "-", "東", "京", "zoe", "##ly", "good", "bad", "so"),
)


def bert(*more: str, pieces: Sequence[str] = PIECES) -> Tokenizer:
    """Return a tokenizer as BERT has it, lower-case, with `[CLS] a [SEP] b [SEP]`."""
    vocabulary = {piece: i for i, piece in enumerate((*pieces, *more))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.add_special_tokens([token for token in special if token in vocabulary])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return made


def table(tokenizer: Tokenizer, width: int, rows: Mapping[str, Sequence[float]]) -> Logits:
    """Return float32 `[vocabulary, width]`: the logits of some tokens, and zeros."""
    made = np.zeros((tokenizer.get_vocab_size(), width), np.float32)
    for token, row in rows.items():
        made[tokenizer.token_to_id(token)] = row
    return made


def folder(
    path: Path,
    tokenizer: Tokenizer,
    logits: Logits,
    *,
    head: str | None,
    by_token: bool = False,
    outputs: Sequence[str] = ("logits",),
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    **config: Any,
) -> Path:
    """Write a model whose logits are the rows of a table: by token, or the sum over a text's
    tokens.

    A token of the second text of a pair counts ten times.
    """
    path.mkdir(parents=True, exist_ok=True)
    node = graphs.node
    nodes = [node("Gather", ["table", "input_ids"], ["rows"])]
    rank, made = ["batch", "tokens"], "rows"
    if not by_token:
        nodes += [
            node("Cast", ["attention_mask"], ["mask"], to=1),
            node("Cast", [inputs[-1]], ["second"], to=1),
            node("Mul", ["second", "nine"], ["extra"]),
            node("Mul", ["mask", "extra"], ["weighted"]),
            node(
                "Add",
                ["mask", "weighted"] if inputs[-1] == "token_type_ids" else ["mask", "nothing"],
                ["weights"],
            ),
            node("Unsqueeze", ["weights", "middle"], ["row"]),
            node("MatMul", ["row", "rows"], ["sums"]),
            node("Squeeze", ["sums", "middle"], ["sum"]),
        ]
        rank, made = ["batch"], "sum"
    nodes += [node("Identity", [made], [name]) for name in outputs]
    constants = [
        graphs.constant("table", logits),
        graphs.constant("nine", np.float32(9)),
        graphs.constant("nothing", np.float32(0)),
        graphs.constant("middle", np.array([1])),
    ]
    graphs.save(
        path / "model.onnx",
        nodes,
        [graphs.value(name, ["batch", "tokens"], "int64") for name in inputs],
        [graphs.value(name, [*rank, logits.shape[1]]) for name in outputs],
        constants,
    )
    tokenizer.save(str(path / "tokenizer.json"))
    if head is not None:
        config = {
            "architectures": [head],
            "vocab_size": len(logits),
            "max_position_embeddings": 512,
        } | config
    if config:
        (path / "config.json").write_text(json.dumps(config))
    return path


def softmax(logits: Any) -> Any:
    """Return the probabilities of logits, in float64."""
    raised = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
