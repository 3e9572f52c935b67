"""Encoder: token ids to vectors, by one opened graph and what the folder says comes after it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray, TensorSpec, describe
from conduit_lab.models.folder import Folder
from conduit_lab.models.pooling import DenseLayer, Layer, Pooling
from conduit_lab.models.tokenizer import pad
from conduit_lab.runtime.cache import Shared

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Tokens of one run, padding included. On a CPU more cost time and do not save it: what is between the layers leaves
# the cache. Measured on two cores, where 512 is best with one thread as with two; with more cores each gets 256.
CPU_TOKENS = 512
CORE_TOKENS = 256
DEVICE_TOKENS = 16_384  # a GPU needs many to be busy
_COMPANY = 32  # texts of the first run, which shows whether company changes a vector
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_APART = 5e-3  # of its length: how far a vector may move in company. float16 stays below 1e-3, dynamic int8 above 0.04


@dataclass(frozen=True)
class Tokens:
    """Token ids of some texts; pooling may have to leave out the first `skipped`, which are a prompt's."""

    rows: Sequence[Sequence[int]]
    skipped: int = 0


class Encoder:
    """One graph that is open, the pooling and the layers after it.

    `dimension` is the length of a vector. `independent` says whether a text's vector is the same in any company. It
    is not where a graph scales all texts of a run together, as dynamic int8 does; then each text runs alone.
    """

    def __init__(self, folder: Folder, shared: Shared, tokens: int) -> None:
        """Check that the graph fits the folder's configs and a tokenizer of so many `tokens`."""
        self.shared = shared
        self._where = display(folder.path)
        self._inputs = _inputs(self._where, shared.inputs)
        self._output = _output(self._where, shared.outputs, listed=folder.listed)
        self.pooling: Pooling | None = None
        self.layers: tuple[Layer, ...] = ()
        self.independent = True
        # the tokenizer's last token first: one of another model may have it in excess
        ids, mask = pad(np.linspace(max(tokens - 1, 0), 0, _COMPANY).astype(np.int64)[:, None].tolist())
        hidden = self._first_run(ids, mask)
        if hidden.ndim == 3:
            if folder.pooling is None:
                raise ModelLoadError(f"{self._where} gives one vector a token, and its modules.json has no Pooling")
            self.pooling, self.layers = folder.pooling, folder.layers
        elif folder.listed:
            self.layers = _after(hidden.shape[1], folder.layers)
        self._check_widths(hidden.shape[-1] * (len(self.pooling.modes) if self.pooling else 1))
        company = self._finish(hidden, mask, np.zeros(len(mask), np.int64))
        self.dimension = int(company.shape[1])
        places = (0, _COMPANY // 2)
        alone = np.concatenate([self._alone(ids[place, None], mask[place, None]) for place in places])
        apart = np.linalg.norm(company[list(places)] - alone, axis=1)
        self.independent = bool(np.all(apart <= _APART * np.linalg.norm(alone, axis=1)))

    def _alone(self, ids: Array, mask: Array) -> FloatArray:
        hidden = self.shared.run(self._feeds(ids, mask), 1, count=False)[self._output]
        return self._finish(hidden.astype(np.float32, copy=False), mask, np.zeros(1, np.int64))

    def _first_run(self, ids: Array, mask: Array) -> FloatArray:
        """Return what the graph gives for texts of one token, float32; refuse a graph that does not take them."""
        try:
            hidden = self.shared.run(self._feeds(ids, mask), len(ids), count=False)[self._output]
        except ModelInputError as error:
            raise ModelLoadError(
                f"{self._where} has a graph that does not take its tokenizer's tokens up to {ids[0, 0]}: the "
                f"tokenizer.json belongs to another model, or the graph is no text encoder ({error})"
            ) from error
        if hidden.ndim not in (2, 3) or hidden.dtype.kind != "f" or len(hidden) != len(ids):
            raise ModelLoadError(
                f"{self._where} has a graph that gives {describe(hidden)} for {len(ids)} texts of one token: wanted "
                f"floats [{len(ids)}, 1, dimension] or [{len(ids)}, dimension]"
            )
        vectors: FloatArray = hidden.astype(np.float32, copy=False)
        return vectors

    def _check_widths(self, width: int) -> None:
        for layer in self.layers:
            if isinstance(layer, DenseLayer):
                if layer.weight.shape[0] != width:
                    raise ModelLoadError(f"{self._where} has a {layer} after a vector of {width}: they do not fit")
                width = layer.weight.shape[1]

    def __call__(self, items: Sequence[Tokens]) -> list[FloatArray]:
        """Return the vectors of several callers, computed together where company changes none."""
        if len(items) == 1 or not self.independent:
            return [self.vectors(item) for item in items]
        skipped = np.repeat([item.skipped for item in items], [len(item.rows) for item in items])
        vectors = self._vectors([row for item in items for row in item.rows], skipped, None)
        return np.split(vectors, np.cumsum([len(item.rows) for item in items])[:-1])

    def vectors(self, tokens: Tokens, most: int | None = None) -> FloatArray:
        """Return float32 `[n, dimension]`; with `most`, so many texts share a run whatever their length."""
        return self._vectors(tokens.rows, np.full(len(tokens.rows), tokens.skipped), most)

    def _vectors(self, rows: Sequence[Sequence[int]], skipped: Array, most: int | None) -> FloatArray:
        parts, places = [], []
        for batch in self._batches(rows, most):
            ids, mask = pad([rows[i] for i in batch])
            hidden = self.shared.run(self._feeds(ids, mask), len(batch))[self._output]
            parts.append(self._finish(hidden.astype(np.float32, copy=False), mask, skipped[batch]))
            places.append(batch)
        vectors = np.empty((len(rows), parts[0].shape[1]), np.float32)
        vectors[np.concatenate(places)] = np.concatenate(parts)
        return vectors

    def _finish(self, hidden: FloatArray, mask: Array, skipped: Array) -> FloatArray:
        if self.pooling is not None:
            if skipped.any():
                mask = mask * (np.arange(mask.shape[1]) >= skipped[:, None])
            hidden = self.pooling(hidden, mask)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden

    def _batches(self, rows: Sequence[Sequence[int]], most: int | None) -> Iterator[Array]:
        """Yield the places of the texts of each run: neighbours in length, so that little is computed on padding."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        order = np.argsort(-lengths, kind="stable")  # the longest first: what needs most memory fails at once
        budget = max(CPU_TOKENS, CORE_TOKENS * _CORES) if self.shared.device == "cpu" else DEVICE_TOKENS
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            size = most or (max(1, budget // max(1, longest)) if self.independent else 1)
            yield order[start : start + size]
            start += size

    def feeds(self, tokens: Tokens) -> list[dict[str, Array]]:
        """Return what the graph is fed for the texts, run by run."""
        return [self._feeds(*pad([tokens.rows[i] for i in batch])) for batch in self._batches(tokens.rows, None)]

    def _feeds(self, ids: Array, mask: Array) -> dict[str, Array]:
        values = {"input_ids": ids, "attention_mask": mask}
        return {
            spec.name: (values[spec.name] if spec.name in values else np.zeros_like(ids)).astype(spec.dtype, copy=False)
            for spec in self._inputs
        }

    def __str__(self) -> str:
        """Return what comes out of the graph and after it: `mean, dense 384 → 128 (tanh), unit length`."""
        return ", ".join(map(str, (self.pooling or "in the graph", *self.layers)))


def _inputs(where: str, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Refuse a graph that is no text encoder."""
    strange = [spec.name for spec in specs if spec.name not in INPUTS]
    if strange:
        raise ModelLoadError(
            f"{where} is no embedding model: its graph wants {', '.join(strange)}; known inputs are {', '.join(INPUTS)}"
        )
    missing = [name for name in INPUTS[:2] if name not in {spec.name for spec in specs}]
    if missing:
        raise ModelLoadError(
            f"{where} is no embedding model: its graph does not take {', '.join(missing)}, so texts of different "
            "length could not share a run"
        )
    return specs


def _output(where: str, specs: tuple[TensorSpec, ...], *, listed: bool) -> int:
    """Return the place of the output to go on with: tokens where `modules.json` says how, else the finished vector.

    A BERT's second output, `pooler_output`, is none of them.
    """
    names = [spec.name for spec in specs]
    tokens = [place for place, spec in enumerate(specs) if len(spec.shape) == 3]
    if listed and tokens:
        return tokens[0]
    return names.index("sentence_embedding") if "sentence_embedding" in names else 0


def _after(width: int, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers that a graph which pools has left to do.

    Whether its dense layers are in it is told by the width of its vector; where that does not tell, they are.
    """
    dense = [layer for layer in layers if isinstance(layer, DenseLayer)]
    if not dense or width != dense[-1].weight.shape[1]:
        return layers
    return tuple(layer for layer in layers if not isinstance(layer, DenseLayer))
