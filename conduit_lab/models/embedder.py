"""Embedder: a sentence-transformers folder that turns text into vectors."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core import html
from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray, TensorSpec
from conduit_lab.core.stage import Stage
from conduit_lab.models.tokenizer import Tokenizer, pad
from conduit_lab.runtime.session import Session

BATCH = 32
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Embedder(Stage):
    """An embedding model: a folder with `model.onnx` (or `onnx/model.onnx`), `tokenizer.json` and its configs.

    The graph gives either one vector a text (`[batch, d]`), or one a token (`[batch, tokens, d]`), which is then
    pooled as `1_Pooling/config.json` says (mean by default) and normalised. Opened at `open()` or at the first use.
    """

    kind = "encode"

    def __init__(self, path: Path, *, device: str = "auto", name: str | None = None) -> None:
        self.path = path
        self.name = name or path.name
        self.wanted_device = device
        self._opened: tuple[Session, Tokenizer] | None = None
        self._opening = threading.Lock()
        self._pooling = "mean"

    def open(self) -> Embedder:
        """Load tokenizer and graph now; raises `ModelLoadError` or `DeviceError`. Does nothing the second time."""
        with self._opening:
            if self._opened is None:
                graph = next(
                    (p for p in (self.path / "model.onnx", self.path / "onnx" / "model.onnx") if p.is_file()), None
                )
                if graph is None:
                    raise ModelLoadError(
                        f"no model.onnx in {display(self.path)}: wanted it there or in its onnx/ folder"
                    )
                limit = _config(self.path / "sentence_bert_config.json").get("max_seq_length") or 256
                if not isinstance(limit, int) or limit < 1:
                    raise ModelLoadError(f"{display(self.path)} wants max_seq_length {limit!r}: wanted a whole number")
                pooling = _config(self.path / "1_Pooling" / "config.json")
                self._pooling = "cls" if pooling.get("pooling_mode_cls_token") else "mean"
                opened = Session(graph, self.wanted_device), Tokenizer(self.path / "tokenizer.json", limit)
                self._check(*opened)
                self._opened = opened
        return self

    def _check(self, session: Session, tokenizer: Tokenizer) -> None:
        """Refuse a graph that is no text encoder, and a tokenizer that knows more tokens than the graph."""
        strange = [spec.name for spec in session.inputs if spec.name not in INPUTS]
        if strange:
            raise ModelLoadError(
                f"{display(self.path)} is no embedding model: its graph wants {', '.join(strange)}; "
                f"known inputs are {', '.join(INPUTS)}"
            )
        known = _config(self.path / "config.json").get("vocab_size")
        if isinstance(known, int) and tokenizer.vocabulary_size > known:
            raise ModelLoadError(
                f"{display(self.path)} has a tokenizer of {tokenizer.vocabulary_size} tokens and a model of {known}: "
                "the tokenizer.json belongs to another model"
            )

    @property
    def session(self) -> Session:
        """The loaded graph; loads it at the first use."""
        return self._parts()[0]

    def _parts(self) -> tuple[Session, Tokenizer]:
        if self._opened is None:
            self.open()
        assert self._opened is not None
        return self._opened

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        last = self.session.outputs[0].shape[-1]
        return last if isinstance(last, int) else int(self.encode("a").shape[0])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One vector a text."""
        return (TensorSpec("embedding", "float32", ("batch", self.dimension)),)

    @property
    def device(self) -> str:
        """What the model really runs on."""
        return self.session.device

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        """Return float32 `[dimension]` for one text, `[n, dimension]` for a list, of unit length.

        Raises `ModelInputError` for anything else than text.
        """
        result: FloatArray = self(texts)
        return result

    def run(self, value: Any) -> FloatArray:
        """Encode without a trace; call `encode` instead."""
        texts = [value] if isinstance(value, str) else value
        texts = texts.tolist() if isinstance(texts, np.ndarray) and texts.ndim == 1 else texts
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise ModelInputError(f"{self.name!r} wants a text or a list of texts, got {_kind(value)}")
        session, tokenizer = self._parts()
        # a lone surrogate is valid in a JSON string and not in UTF-8: shown as the replacement character
        rows = tokenizer.ids([text.encode("utf-8", "replace").decode() for text in texts])
        if not rows:
            return np.zeros((0, self.dimension), np.float32)
        # neighbours in length share a batch, so that little is computed on padding
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        parts = [
            self._forward(session, [rows[i] for i in order[start : start + BATCH]])
            for start in range(0, len(order), BATCH)
        ]
        vectors = np.empty((len(rows), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors[0] if isinstance(value, str) else vectors

    def _forward(self, session: Session, rows: Sequence[Sequence[int]]) -> FloatArray:
        """Return unit vectors, float32 `[n, d]`, for the token ids of `n` texts."""
        ids, mask = pad(rows)
        known: Mapping[str, Array] = dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))
        hidden = session.run({spec.name: known[spec.name] for spec in session.inputs})[0]
        if hidden.ndim == 3:
            weights = mask[..., None].astype(np.float32)
            hidden = (
                hidden[:, 0] if self._pooling == "cls" else (hidden * weights).sum(1) / np.maximum(weights.sum(1), 1)
            )
            hidden = hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-12)
        return hidden.astype(np.float32, copy=False)

    def __repr__(self) -> str:
        state = "not opened" if self._opened is None else self._opened[0].device
        return f"Embedder({display(self.path)!r}, {state})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [("folder", display(self.path))]
        if self._opened is None:
            rows.append(("state", "not opened yet"))
        else:
            session, tokenizer = self._opened
            rows += [("device", session.device), ("vector", str(session.outputs[0])), ("pooling", self._pooling)]
            rows.append(("vocabulary", f"{tokenizer.vocabulary_size} tokens"))
        return html.bundle(repr(self), html.header("Embedder", self.name) + html.table(("property", "value"), rows))


def _config(path: Path) -> dict[str, Any]:
    """Return a JSON object from a config file, or an empty one where the file is absent."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelLoadError(f"{display(path)} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _kind(value: Any) -> str:
    """Return what `value` is, for an error: its type, or for a list its items' types."""
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
    return type(value).__name__
