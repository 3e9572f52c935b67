"""TokenGraph: an opened graph that takes token ids, and runs that batch rows of all lengths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.models.text.tokenizer import pad_rows
from conduit_lab.runtime.sessions.cache import Shared

# Tokens per run, including padding. On a CPU a larger run is slower: activations no longer fit into
# the cache. Measured on two cores, where 512 is best with one and with two threads; with more
# cores, each core gets 256.
MIN_CPU_RUN_TOKENS = 512
CORE_RUN_TOKENS = 256
DEVICE_RUN_TOKENS = 16_384  # fewer would leave a GPU idle
TRIAL_ROWS = 32  # of the first run, which shows whether other rows of a batch affect an answer
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class TokenRows:
    """Token ids of some texts, one row per text or window, unpadded.

    `types` are the token types, empty if all are 0. Pooling skips the first `skipped` tokens of
    each row, which belong to a prompt.
    """

    ids: Sequence[Sequence[int]]
    types: Sequence[Sequence[int]] = field(default=())
    skipped: int = 0

    @classmethod
    def of(cls, encodings: Sequence[Any]) -> TokenRows:
        """Return the rows of a tokenizer's encodings, with their types."""
        return cls([e.ids for e in encodings], [e.type_ids for e in encodings])


class TokenGraph:
    """An opened graph that takes `input_ids`, `attention_mask` and optionally `token_type_ids`.

    `where` and `kind` name the folder and its model in errors; `padding` is the id that pads the
    shorter rows of a run. `independent` is whether a row's answer is unaffected by the other rows
    of a batch; if not, as with dynamic int8, each row is run separately.
    """

    def __init__(self, where: str, shared: Shared, kind: str, padding: int = 0) -> None:
        self.where = where
        self.shared = shared
        self.independent = True
        self.padding = padding
        self._inputs = shared.inputs
        _check_inputs(where, shared.inputs, kind)

    def batches(
        self, ids: Sequence[Sequence[int]], batch_size: int | None = None
    ) -> Iterator[Array]:
        """Yield the row indices of each run: rows of similar length, to minimize padding.

        By default a run has as many rows as its token budget allows.
        """
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        # longest first: a run that exceeds the memory fails immediately
        order = np.argsort(-lengths, kind="stable")
        budget = DEVICE_RUN_TOKENS
        if self.shared.device == "cpu":
            budget = max(MIN_CPU_RUN_TOKENS, CORE_RUN_TOKENS * _CORES)
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            size = batch_size or (max(1, budget // max(1, longest)) if self.independent else 1)
            yield order[start : start + size]
            start += size

    def feeds(self, rows: TokenRows) -> list[dict[str, Array]]:
        """Return the graph's input arrays for the rows, one dict per run."""
        return [self._feeds(rows, batch)[0] for batch in self.batches(rows.ids)]

    def _feeds(self, rows: TokenRows, batch: Array) -> tuple[dict[str, Array], Array]:
        """Return the input arrays of one run, and its mask."""
        ids, mask = pad_rows([rows.ids[i] for i in batch], self.padding)
        types = pad_rows([rows.types[i] for i in batch])[0] if rows.types else np.zeros_like(ids)
        values = dict(zip(_INPUTS, (ids, mask, types), strict=True))
        return {
            spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in self._inputs
        }, mask

    def _first_run(self, rows: TokenRows, last: int) -> list[Array]:
        """Return the outputs for all rows in one run; reject a graph without ids up to `last`."""
        feeds, _ = self._feeds(rows, np.arange(len(rows.ids)))
        try:
            return self.shared.run(feeds, len(rows.ids), count=False)
        except ModelInputError as error:
            raise ModelLoadError(
                f"{self.where} has a graph that does not take its tokenizer's tokens up to {last}: "
                "the tokenizer.json belongs to another model, or the graph is not a text encoder "
                f"({error})"
            ) from error


def _check_inputs(where: str, specs: tuple[TensorSpec, ...], kind: str) -> None:
    """Reject a graph with inputs other than tokens, or without a mask."""
    names = [spec.name for spec in specs]
    unknown = [name for name in names if name not in _INPUTS]
    if unknown:
        raise ModelLoadError(
            f"{where} is not {kind}: its graph has the inputs {', '.join(unknown)}; "
            f"expected {', '.join(_INPUTS)}"
        )
    missing = [name for name in _INPUTS[:2] if name not in names]
    if missing:
        raise ModelLoadError(
            f"{where} is not {kind}: its graph does not take {', '.join(missing)}, "
            "so texts of different length cannot be batched"
        )
