"""TokenGraph: one opened graph that takes token ids, and the runs that rows of different length share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.spec import Array, FloatArray, TensorSpec, describe
from conduit_lab.models.text.tokenizer import Tokenizer, pad
from conduit_lab.runtime.sessions.cache import Shared

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Tokens of one run, padding included. On a CPU more of them cost time: activations no longer fit
# the cache. Measured on two cores, where 512 is best with one thread as with two; with more cores
# each gets 256.
CPU_TOKENS = 512
CORE_TOKENS = 256
DEVICE_TOKENS = 16_384  # a GPU needs many to be busy
TRIAL_ROWS = 32  # of the first run, which shows whether other rows of a run change an answer
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Finish = Callable[[FloatArray], FloatArray]
# of a logit's size or of one: dynamic int8 moves logits further when other rows share their run
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Rows:
    """Token ids of some texts, and the type of each token where a text has several (empty: all of
    type 0).

    `skipped` is the number of tokens at each row's begin that pooling leaves out: those of a
    prompt.
    """

    ids: Sequence[Sequence[int]]
    types: Sequence[Sequence[int]] = field(default=())
    skipped: int = 0


class TokenGraph:
    """An opened graph that takes `input_ids`, `attention_mask` and perhaps `token_type_ids`.

    `where` and `kind` name the folder and its model in errors, `padding` is the id that fills the
    shorter rows of a run. `independent` says whether a row's answer is the same whatever rows share
    its run; where it is not, as with dynamic int8, each row runs alone.
    """

    def __init__(self, where: str, shared: Shared, kind: str, padding: int = 0) -> None:
        self.where = where
        self.shared = shared
        self.independent = True
        self.padding = padding
        self._inputs = _inputs(where, shared.inputs, kind)

    def batches(self, ids: Sequence[Sequence[int]], most: int | None = None) -> Iterator[Array]:
        """Yield the places of the rows of each run: neighbours in length, so that little is
        computed on padding.

        With `most`, this many rows share a run whatever their length.
        """
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        order = np.argsort(
            -lengths, kind="stable"
        )  # the longest first: what needs most memory fails at once
        budget = (
            max(CPU_TOKENS, CORE_TOKENS * _CORES) if self.shared.device == "cpu" else DEVICE_TOKENS
        )
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            size = most or (max(1, budget // max(1, longest)) if self.independent else 1)
            yield order[start : start + size]
            start += size

    def feeds(self, rows: Rows) -> list[dict[str, Array]]:
        """Return the feeds for the rows, one dict per run."""
        return [self._feeds(rows, batch)[0] for batch in self.batches(rows.ids)]

    def _feeds(self, rows: Rows, batch: Array) -> tuple[dict[str, Array], Array]:
        """Return the feeds of one run, and its mask."""
        ids, mask = pad([rows.ids[i] for i in batch], self.padding)
        types = pad([rows.types[i] for i in batch])[0] if rows.types else np.zeros_like(ids)
        values = dict(zip(INPUTS, (ids, mask, types), strict=True))
        return {
            spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in self._inputs
        }, mask

    def _first_run(self, rows: Rows, last: int) -> list[Array]:
        """Return the outputs for all rows in one run; refuse a graph that does not take ids up to `last`."""
        try:
            return self.shared.run(
                self._feeds(rows, np.arange(len(rows.ids)))[0], len(rows.ids), count=False
            )
        except ModelInputError as error:
            raise ModelLoadError(
                f"{self.where} has a graph that does not take its tokenizer's tokens up to {last}: the "
                f"tokenizer.json belongs to another model, or the graph is no text encoder ({error})"
            ) from error


class LogitsGraph(TokenGraph):
    """A graph that gives logits: `[n, width]`, or with `by_token` `[n, tokens, width]`.

    `finish` is computed from the logits of a run, along their last axis. The first run is of
    `pairs` where the model is made for them.
    """

    def __init__(
        self,
        where: str,
        shared: Shared,
        kind: str,
        tokenizer: Tokenizer,
        padding: int = 0,
        *,
        by_token: bool = False,
        pairs: bool = False,
        finish: Finish = lambda logits: logits,
    ) -> None:
        super().__init__(where, shared, kind, padding)
        names = [spec.name for spec in shared.outputs]
        self._output = names.index("logits") if "logits" in names else 0
        self._by_token = by_token
        self._finish = finish
        rows = _trial(tokenizer, pairs=pairs)
        together = self._logits(self._first_run(rows, tokenizer.vocabulary_size - 1), len(rows.ids))
        self.width = int(together.shape[-1])
        for place in (0, TRIAL_ROWS // 2):
            feeds = self._feeds(rows, np.array([place]))[0]
            alone = self._logits(self.shared.run(feeds, 1, count=False), 1)
            among = together[place, : len(rows.ids[place])] if by_token else together[place]
            self.independent &= bool(
                np.all(np.abs(among - alone[0]) <= _TOLERANCE * np.maximum(1, np.abs(alone[0])))
            )

    def _logits(self, outputs: list[Array], n: int) -> FloatArray:
        logits = outputs[self._output]
        rank = 3 if self._by_token else 2
        if logits.shape == (n,) and rank == 2:
            logits = logits[:, None]
        if logits.ndim != rank or logits.dtype.kind != "f" or len(logits) != n:
            axes = "tokens, labels" if self._by_token else "labels"
            raise ModelLoadError(
                f"{self.where} has a graph that gives {describe(logits)} for {n} texts: expected floats [{n}, {axes}]"
            )
        single: FloatArray = logits.astype(np.float32, copy=False)
        return single

    def __call__(self, items: Sequence[Rows]) -> list[list[FloatArray]]:
        """Return the answers of several callers, computed together where that changes none."""
        if len(items) == 1 or not self.independent:
            return [self.answers(item) for item in items]
        types = any(item.types for item in items)
        made = self.answers(
            Rows(
                [row for item in items for row in item.ids],
                [
                    row
                    for item in items
                    for row in (item.types or [[0] * len(ids) for ids in item.ids])
                ]
                if types
                else (),
            )
        )
        ends = np.cumsum([len(item.ids) for item in items])
        return [made[end - len(item.ids) : end] for item, end in zip(items, ends, strict=True)]

    def answers(self, rows: Rows) -> list[FloatArray]:
        """Return the finished logits of each row, by token without those of its padding."""
        made: list[FloatArray] = [np.empty(0, np.float32)] * len(rows.ids)
        for batch in self.batches(rows.ids):
            outputs = self.shared.run(self._feeds(rows, batch)[0], len(batch))
            for place, answer in zip(
                batch, self._finish(self._logits(outputs, len(batch))), strict=True
            ):
                made[place] = answer[: len(rows.ids[place])] if self._by_token else answer
        return made


def _trial(tokenizer: Tokenizer, *, pairs: bool) -> Rows:
    """Return short rows with tokens from all over the vocabulary between the tokens that the
    tokenizer adds.

    Its last token comes first: one of another model may have it in excess.
    """
    tokens = (
        np.linspace(max(tokenizer.vocabulary_size - 1, 0), 0, TRIAL_ROWS).astype(np.int64).tolist()
    )
    before, after = tokenizer.added()
    if not pairs:
        return Rows([[*before, *([token] * (2 + i % 3)), *after] for i, token in enumerate(tokens)])
    first = [[*before, token, *after] for token in tokens]
    other = [[*([token] * (1 + i % 3)), *after] for i, token in enumerate(tokens)]
    second = max(
        tokenizer.backend.encode("a", "a").type_ids, default=0
    )  # some models tell no types apart
    types = [[0] * len(a) + [second] * len(b) for a, b in zip(first, other, strict=True)]
    return Rows([a + b for a, b in zip(first, other, strict=True)], types)


def _inputs(where: str, specs: tuple[TensorSpec, ...], kind: str) -> tuple[TensorSpec, ...]:
    """Refuse a graph that takes more than a text's tokens, or no mask."""
    names = [spec.name for spec in specs]
    strange = [name for name in names if name not in INPUTS]
    if strange:
        raise ModelLoadError(
            f"{where} is no {kind}: its graph wants {', '.join(strange)}; known inputs are {', '.join(INPUTS)}"
        )
    missing = [name for name in INPUTS[:2] if name not in names]
    if missing:
        raise ModelLoadError(
            f"{where} is no {kind}: its graph does not take {', '.join(missing)}, so texts of different "
            "length could not share a run"
        )
    return specs
