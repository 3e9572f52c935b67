"""Encoder: encode token ids as vectors with an opened graph and the folder's pooling and layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.progress import inner_progress
from conduit_lab.core.spec import Array, FloatArray, TensorSpec, describe
from conduit_lab.core.views import figures
from conduit_lab.models.text.folder import Folder
from conduit_lab.models.text.pooling import DenseLayer, Layer, Pooling
from conduit_lab.models.text.token_graph import TRIAL_ROWS, TokenGraph, TokenRows
from conduit_lab.models.text.tokenizer import pad_rows
from conduit_lab.runtime.sessions.cache import Shared

# relative to a vector's length, batched or not: float16 stays below 1e-3, dynamic int8 above 0.04
_BATCH_TOLERANCE = 5e-3


class Encoder(TokenGraph):
    """An opened graph with the pooling and the layers after it; its vectors have `dimension`."""

    def __init__(self, folder: Folder, shared: Shared, tokens: int, padding: int = 0) -> None:
        """Check that the graph matches the folder's configs and a tokenizer of `tokens` tokens."""
        super().__init__(display(folder.path), shared, "an embedding model", padding)
        self._output = _output(self.where, shared.outputs, listed=folder.listed)
        self.pooling: Pooling | None = None
        self.layers: tuple[Layer, ...] = ()
        # the tokenizer's last token first: a graph of another model may not have it
        trial = np.linspace(max(tokens - 1, 0), 0, TRIAL_ROWS).astype(np.int64)
        rows = TokenRows(trial[:, None].tolist())
        _, mask = pad_rows(rows.ids)
        hidden = self._checked(self._first_run(rows, tokens - 1)[self._output], len(mask))
        if hidden.ndim == 3:
            if folder.pooling is None:
                raise ModelLoadError(
                    f"{self.where} gives one vector per token, and its modules.json has no Pooling"
                )
            self.pooling, self.layers = folder.pooling, folder.layers
        elif folder.listed:
            self.layers = _remaining(hidden.shape[1], folder.layers)
        self._check_widths(hidden.shape[-1] * (len(self.pooling.modes) if self.pooling else 1))
        batched = self._pool(hidden, mask, np.zeros(len(mask), np.int64))
        self.dimension = int(batched.shape[1])
        places = (0, TRIAL_ROWS // 2)
        unbatched = np.concatenate([self._unbatched(rows, np.array([place])) for place in places])
        distances = np.linalg.norm(batched[list(places)] - unbatched, axis=1)
        limits = _BATCH_TOLERANCE * np.linalg.norm(unbatched, axis=1)
        self.independent = bool(np.all(distances <= limits))

    def _unbatched(self, rows: TokenRows, batch: Array) -> FloatArray:
        feeds, mask = self._feeds(rows, batch)
        hidden = self.shared.run(feeds, len(batch), count=False)[self._output]
        return self._pool(
            hidden.astype(np.float32, copy=False), mask, np.zeros(len(batch), np.int64)
        )

    def _checked(self, hidden: Array, n: int) -> FloatArray:
        """Return the output as float32; reject it unless it has a vector per text or per token."""
        if hidden.ndim not in (2, 3) or hidden.dtype.kind != "f" or len(hidden) != n:
            raise ModelLoadError(
                f"{self.where} has a graph that gives {describe(hidden)} for "
                f"{figures.plural(n, 'text')} of one token: "
                f"expected floats [{n}, 1, dimension] or [{n}, dimension]"
            )
        vectors: FloatArray = hidden.astype(np.float32, copy=False)
        return vectors

    def _check_widths(self, width: int) -> None:
        for layer in self.layers:
            if isinstance(layer, DenseLayer):
                if layer.weight.shape[0] != width:
                    raise ModelLoadError(
                        f"{self.where} has a {layer} after a vector of {width}: they do not fit"
                    )
                width = layer.weight.shape[1]

    def __call__(self, items: Sequence[TokenRows]) -> list[FloatArray]:
        """Return the vectors of several callers, batched together if rows are independent."""
        if len(items) == 1:
            return [self.vectors(items[0])]
        sizes = [len(item.ids) for item in items]
        skipped = np.repeat([item.skipped for item in items], sizes)
        rows = TokenRows([row for item in items for row in item.ids])
        return np.split(self._vectors(rows, skipped, None), np.cumsum(sizes)[:-1])

    def vectors(self, rows: TokenRows, batch_size: int | None = None) -> FloatArray:
        """Return float32 `[n, dimension]`; `batch_size` rows share a run, or a token budget."""
        return self._vectors(rows, np.full(len(rows.ids), rows.skipped), batch_size)

    def _vectors(self, rows: TokenRows, skipped: Array, batch_size: int | None) -> FloatArray:
        places = list(self.batches(rows.ids, batch_size))
        parts = []
        # by tokens: the longest texts come first, so a count of texts would mislead
        lengths = np.fromiter(map(len, rows.ids), np.int64, len(rows.ids))
        per_token = len(lengths) / max(1, lengths.sum())
        with inner_progress(len(lengths), "text") as job:
            for batch in places:
                parts.append(self._run(rows, batch, skipped[batch]))
                job.step(per_token * lengths[batch].sum())
        vectors = np.empty((len(rows.ids), parts[0].shape[1]), np.float32)
        vectors[np.concatenate(places)] = np.concatenate(parts)
        return vectors

    def _run(self, rows: TokenRows, batch: Array, skipped: Array) -> FloatArray:
        feeds, mask = self._feeds(rows, batch)
        hidden = self.shared.run(feeds, len(batch))[self._output]
        return self._pool(hidden.astype(np.float32, copy=False), mask, skipped)

    def _pool(self, hidden: FloatArray, mask: Array, skipped: Array) -> FloatArray:
        if self.pooling is not None:
            if skipped.any():
                mask = mask * (np.arange(mask.shape[1]) >= skipped[:, None])
            hidden = self.pooling(hidden, mask)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden

    def __str__(self) -> str:
        """Return the pooling and its layers: `mean, dense 384 → 128 (tanh), unit length`."""
        return ", ".join(map(str, (self.pooling or "in the graph", *self.layers)))


def _output(where: str, specs: tuple[TensorSpec, ...], *, listed: bool) -> int:
    """Return the index of the output to use: token vectors with `modules.json`, else one vector.

    BERT's second output, `pooler_output`, and logits are never used.
    """
    names = [spec.name for spec in specs]
    places = [place for place, name in enumerate(names) if not name.endswith("logits")]
    if not places:
        raise ModelLoadError(
            f"{where} is not an embedding model: its graph returns {', '.join(names)}; "
            "export it without its head, with optimum-cli export onnx --task feature-extraction"
        )
    if not listed:
        return names.index("sentence_embedding") if "sentence_embedding" in names else places[0]
    tokens = [place for place in places if len(specs[place].shape) == 3]
    return (tokens or places)[0]


def _remaining(width: int, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers still to apply after a graph with its own pooling.

    A vector as wide as the last dense layer's output shows that the graph has the dense layers.
    """
    dense = [layer for layer in layers if isinstance(layer, DenseLayer)]
    if not dense or width != dense[-1].weight.shape[1]:
        return layers
    return tuple(layer for layer in layers if not isinstance(layer, DenseLayer))
