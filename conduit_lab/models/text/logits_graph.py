"""LogitsGraph: a graph that returns logits per text, per pair of texts or per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.progress import inner_progress
from conduit_lab.core.spec import Array, FloatArray, describe
from conduit_lab.core.views import figures
from conduit_lab.models.text.token_graph import TRIAL_ROWS, TokenGraph, TokenRows
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.sessions.cache import Shared

Postprocess = Callable[[FloatArray], FloatArray]  # along the last axis of the logits
# relative for logits above 1, else absolute; dynamic int8 exceeds it if other rows share the run
_TOLERANCE = 0.02


class LogitsGraph(TokenGraph):
    """A graph that returns logits: `[n, width]`, or with `by_token` `[n, tokens, width]`.

    `postprocess` converts the logits of a run to answers. With `pairs` the first run, which checks
    the graph, uses pairs of texts.
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
        postprocess: Postprocess = lambda logits: logits,
    ) -> None:
        super().__init__(where, shared, kind, padding)
        names = [spec.name for spec in shared.outputs]
        self._output = names.index("logits") if "logits" in names else 0
        self._by_token = by_token
        self._postprocess = postprocess
        rows = _trial_rows(tokenizer, pairs=pairs)
        batched = self._logits(self._first_run(rows, tokenizer.vocabulary_size - 1), len(rows.ids))
        self.width = int(batched.shape[-1])
        for place in (0, TRIAL_ROWS // 2):
            feeds, _ = self._feeds(rows, np.array([place]))
            unbatched = self._logits(self.shared.run(feeds, 1, count=False), 1)[0]
            row = batched[place, : len(rows.ids[place])] if by_token else batched[place]
            near = np.abs(row - unbatched) <= _TOLERANCE * np.maximum(1, np.abs(unbatched))
            self.independent &= bool(np.all(near))

    def _logits(self, outputs: list[Array], n: int) -> FloatArray:
        logits = outputs[self._output]
        rank = 3 if self._by_token else 2
        if logits.shape == (n,) and rank == 2:
            logits = logits[:, None]
        if logits.ndim != rank or logits.dtype.kind != "f" or len(logits) != n:
            axes = "tokens, labels" if self._by_token else "labels"
            raise ModelLoadError(
                f"{self.where} has a graph that gives {describe(logits)} for "
                f"{figures.plural(n, 'text')}: expected floats [{n}, {axes}]"
            )
        single: FloatArray = logits.astype(np.float32, copy=False)
        return single

    def __call__(self, items: Sequence[TokenRows]) -> list[list[FloatArray]]:
        """Return the answers of several callers, batched together if rows are independent."""
        answers = self.answers(_concatenated(items))
        ends = np.cumsum([len(item.ids) for item in items])
        return [answers[end - len(item.ids) : end] for item, end in zip(items, ends, strict=True)]

    def answers(self, rows: TokenRows) -> list[FloatArray]:
        """Return the postprocessed logits of each row; by token, without padding."""
        answers: list[FloatArray] = [np.empty(0, np.float32)] * len(rows.ids)
        # a long text has several rows with a label per token
        with inner_progress(len(rows.ids), "row" if self._by_token else "text") as job:
            for batch in self.batches(rows.ids):
                outputs = self.shared.run(self._feeds(rows, batch)[0], len(batch))
                made = self._postprocess(self._logits(outputs, len(batch)))
                for place, answer in zip(batch, made, strict=True):
                    answers[place] = answer[: len(rows.ids[place])] if self._by_token else answer
                job.step(len(batch))
        return answers


def _concatenated(items: Sequence[TokenRows]) -> TokenRows:
    """Return the rows of all items; either all or none of them have types."""
    if len(items) == 1:
        return items[0]
    ids = [row for item in items for row in item.ids]
    return TokenRows(ids, [row for item in items for row in item.types])


def _trial_rows(tokenizer: Tokenizer, *, pairs: bool) -> TokenRows:
    """Return short rows with tokens from the whole vocabulary, between special tokens.

    The vocabulary's last token comes first: a graph of another model may not have it.
    """
    last = max(tokenizer.vocabulary_size - 1, 0)
    tokens = np.linspace(last, 0, TRIAL_ROWS).astype(np.int64).tolist()
    before, after = tokenizer.added()
    if not pairs:
        return TokenRows(
            [[*before, *([token] * (2 + i % 3)), *after] for i, token in enumerate(tokens)]
        )
    first = [[*before, token, *after] for token in tokens]
    other = [[*([token] * (1 + i % 3)), *after] for i, token in enumerate(tokens)]
    second = max(tokenizer.backend.encode("a", "a").type_ids, default=0)  # RoBERTa has one type
    types = [[0] * len(a) + [second] * len(b) for a, b in zip(first, other, strict=True)]
    return TokenRows([a + b for a, b in zip(first, other, strict=True)], types)
