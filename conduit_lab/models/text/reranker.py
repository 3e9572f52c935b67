"""Reranker: a cross-encoder folder that reads a query and a passage together and tells how well they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import FloatArray, TensorSpec
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.text.text_files import TextFiles
from conduit_lab.models.text.token_graph import TRIAL_ROWS, LogitsGraph, Rows
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.measuring.tuning import read_tuning
from conduit_lab.runtime.sessions.cache import Shared, sessions

MAX_LENGTH = 512  # tokens of query and passage together, where no file says how many
WINDOW = 2048  # pairs that are tokenised and sorted together


class Reranker(FolderModel["_Opened"]):
    """A cross-encoder folder: a graph with one score or two classes a pair, `tokenizer.json` and
    `config.json`.

    The layout is that of sentence-transformers and of Hugging Face's sequence classification;
    `model.onnx` lies in the folder or in `onnx/`. `variant` chooses another graph than
    `model.onnx`: "int8" is `model_int8.onnx`. `device`, `fallback` and `timeout` are those of
    `Options`. Opened at `open()`, or at the first use.
    """

    kind = "predict"

    # Life

    def _open(self) -> _Opened:
        graph = choose_graph(find_graphs(self.path), self.variant, self.path)
        files = TextFiles(self.path, graph)
        tokenizer = files.tokenizer(files.max_length(MAX_LENGTH))
        tuned = read_tuning(graph)
        shared = sessions.open(
            graph, self.options if tuned is None else tuned.options(self.options)
        )
        return _Opened(
            graph, tokenizer, _Scorer(display(self.path), shared, tokenizer, files.padding)
        )

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One score a passage."""
        return (TensorSpec("score", "float32", ("batch",)),)

    @property
    def max_length(self) -> int:
        """Tokens of query and passage together that are read; what is longer is cut."""
        return self._parts().tokenizer.max_length

    # Work

    def score(self, query: str, passages: Sequence[str]) -> FloatArray:
        """Return float32 `[n]`, how well each passage answers the query: the model's logit, higher
        is better.

        Of a model with two classes it is the logit of the second above that of the first. 1 / (1 +
        exp(-score)) is the probability that the model was trained to give. A pair longer than
        `max_length` tokens is cut at the end of the longer of the two, which the trace tells.
        Raises `ModelInputError` for anything else than text.
        """
        return self._traced(
            {"query": query, "passages": passages}, lambda: self._score(query, passages)
        )

    def run(self, value: Any) -> FloatArray:
        """Score `{"query": …, "passages": […]}` without a trace; call the stage itself, or `score`, instead."""
        if not isinstance(value, Mapping) or set(value) != {"query", "passages"}:
            raise ModelInputError(
                f"{self.name!r} wants {{'query': …, 'passages': […]}}, got {str(value)[:100]}"
            )
        return self._score(value["query"], value["passages"])

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return `sample` with its passages repeated to `rows`, or as it is, and the passages in it."""
        passages = list(sample["passages"])
        given = list(islice(cycle(passages), rows or len(passages)))
        return {**sample, "passages": given}, len(given)

    def _score(self, query: Any, passages: Any) -> FloatArray:
        if not isinstance(query, str):
            raise ModelInputError(
                f"{self.name!r} wants a text as query, got {type(query).__name__}"
            )
        if isinstance(passages, str) or not isinstance(passages, Sequence):
            raise ModelInputError(
                f"{self.name!r} wants a list of texts as passages, got {type(passages).__name__}"
            )
        strange = sorted(
            {type(passage).__name__ for passage in passages if not isinstance(passage, str)}
        )
        if strange:
            raise ModelInputError(
                f"{self.name!r} wants texts as passages, got {', '.join(strange)} among them"
            )
        opened = self._parts()
        scores, cut = np.zeros(len(passages), np.float32), 0
        for start in range(0, len(passages), WINDOW):
            window = passages[start : start + WINDOW]
            encodings = opened.tokenizer.encode([(query, passage) for passage in window])
            cut += sum(bool(encoding.overflowing) for encoding in encodings)
            rows = Rows(
                [encoding.ids for encoding in encodings],
                [encoding.type_ids for encoding in encodings],
            )
            scores[start : start + WINDOW] = opened.scorer.answers(rows)
        if cut:
            recorder.annotate(
                detail=f"{cut} of {figures.plural(len(passages), 'passage')} cut at {opened.tokenizer.max_length} tokens"
            )
        return scores

    # Showing

    def _more_facts(self, opened: _Opened) -> list[tuple[str, str]]:
        return [
            ("max length", f"{opened.tokenizer.max_length} tokens"),
            ("vocabulary", f"{figures.count(opened.tokenizer.vocabulary_size)} tokens"),
            ("calls", opened.shared.statistics()),
        ]


class _Scorer(LogitsGraph):
    """A graph with one score or two classes for each pair of texts."""

    def __init__(self, where: str, shared: Shared, tokenizer: Tokenizer, padding: int) -> None:
        added = tokenizer.backend.num_special_tokens_to_add(True)
        if tokenizer.max_length <= added:
            raise ModelLoadError(
                f"{where} adds {added} tokens to each pair: a length of {tokenizer.max_length} is too few"
            )
        super().__init__(
            where, shared, "cross-encoder", tokenizer, padding, pairs=True, finish=_scores
        )
        if self.width > 2:
            raise ModelLoadError(
                f"{where} has a graph that gives float32 [{TRIAL_ROWS}, {self.width}] for {TRIAL_ROWS} pairs: wanted "
                "one score or two classes a pair; load a classifier with load_model(folder)"
            )


def _scores(logits: FloatArray) -> FloatArray:
    """Return float32 `[n]`: the logit, or that of the second class above that of the first."""
    scores: FloatArray = logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return scores


@dataclass(frozen=True)
class _Opened:
    graph: Path
    tokenizer: Tokenizer
    scorer: _Scorer

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.scorer.shared
