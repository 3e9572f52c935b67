"""Reranker: a cross-encoder folder that scores how well a passage answers a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.progress import progress
from conduit_lab.core.spec import FloatArray, TensorSpec
from conduit_lab.core.views import figures
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.text.logits_graph import LogitsGraph
from conduit_lab.models.text.text_files import TextFiles
from conduit_lab.models.text.text_model import type_names
from conduit_lab.models.text.token_graph import TRIAL_ROWS, TokenRows
from conduit_lab.models.text.tokenized_model import (
    MAX_WINDOW_TEXTS,
    OpenedTokens,
    TokenizedModel,
    TruncationCount,
)
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.sessions.cache import Shared

_DEFAULT_MAX_TOKENS = 512  # of query and passage together, if no file states a length


class Reranker(TokenizedModel[OpenedTokens["_Scorer"]]):
    """A cross-encoder folder: a graph with one score or two classes per pair of texts.

    The folder has `tokenizer.json` and `config.json`, in the layout of sentence-transformers and
    of Hugging Face's sequence classification; `model.onnx` is in it or in `onnx/`. `variant`
    selects a graph other than `model.onnx`: "int8" is `model_int8.onnx`. `device`, `fallback` and
    `timeout` are those of `Options`. Opened by `open()` or on first use.
    """

    kind = "predict"
    main_call = "score(query, passages)"

    def _open(self) -> OpenedTokens[_Scorer]:
        graph = choose_graph(find_graphs(self.path), self.variant, self.path)
        files = TextFiles(self.path, graph)
        tokenizer = files.tokenizer(files.max_length(_DEFAULT_MAX_TOKENS))
        shared = self._open_session(graph)
        scorer = _Scorer(display(self.path), shared, tokenizer, files.padding)
        return OpenedTokens(graph, tokenizer, scorer)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One score per passage."""
        return (TensorSpec("score", "float32", ("batch",)),)

    def _gives(self, opened: OpenedTokens[_Scorer]) -> tuple[TensorSpec, ...]:
        return self.outputs

    def score(self, query: str, passages: Sequence[str]) -> FloatArray:
        """Score how well each passage answers the query: float32 `[n]`, higher is better.

        The score is the model's logit, or for two classes the second logit minus the first; 1 / (1
        + exp(-score)) is the probability that the model was trained to predict. A pair longer than
        `max_length` tokens is truncated at the end of the longer text; the trace reports it. Raises
        `ModelInputError` for anything other than text.
        """
        return self._traced(
            {"query": query, "passages": passages}, lambda: self._score(query, passages)
        )

    def count_truncated(self, query: str, passages: Sequence[str]) -> int:
        """Return the number of pairs that `score` truncates."""
        pairs = [(query, passage) for passage in passages]
        return sum(bool(each.overflowing) for each in self._parts().tokenizer.encode(pairs))

    def run(self, value: Any) -> FloatArray:
        """Score `{"query": …, "passages": […]}` without a trace; call `score` instead."""
        if not isinstance(value, Mapping) or set(value) != {"query", "passages"}:
            raise ModelInputError(
                f"{self.name!r} expects {{'query': …, 'passages': […]}}, got {str(value)[:100]}"
            )
        return self._score(value["query"], value["passages"])

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return a sample, its passages optionally repeated to `rows`, and their number."""
        passages = list(sample["passages"])
        given = list(islice(cycle(passages), rows or len(passages)))
        return {**sample, "passages": given}, len(given)

    def _score(self, query: Any, passages: Any) -> FloatArray:
        if not isinstance(query, str):
            raise ModelInputError(
                f"{self.name!r} expects a text as query, got {type(query).__name__}"
            )
        if isinstance(passages, str) or not isinstance(passages, Sequence):
            raise ModelInputError(
                f"{self.name!r} expects a list of texts as passages, got {type(passages).__name__}"
            )
        if not all(isinstance(passage, str) for passage in passages):
            raise ModelInputError(
                f"{self.name!r} expects a list of texts as passages, "
                f"got {type_names(list(passages))}"
            )
        opened = self._parts()
        scores = np.zeros(len(passages), np.float32)
        truncations = TruncationCount("passage", opened.tokenizer.max_length)
        with progress(len(passages), "text", f"{self.name}.score") as job:
            for start in range(0, len(passages), MAX_WINDOW_TEXTS):
                window = passages[start : start + MAX_WINDOW_TEXTS]
                encodings = opened.tokenizer.encode([(query, passage) for passage in window])
                truncations.add(encodings)
                answers = opened.token_graph.answers(TokenRows.of(encodings))
                scores[start : start + MAX_WINDOW_TEXTS] = answers
                job.step(len(window))
        return scores


class _Scorer(LogitsGraph):
    """A graph with one score or two classes per pair of texts."""

    def __init__(self, where: str, shared: Shared, tokenizer: Tokenizer, padding: int) -> None:
        added = tokenizer.backend.num_special_tokens_to_add(True)
        if tokenizer.max_length <= added:
            raise ModelLoadError(
                f"{where} adds {figures.plural(added, 'token')} to each pair: "
                f"a length of {tokenizer.max_length} is too few"
            )
        super().__init__(
            where, shared, "a cross-encoder", tokenizer, padding, pairs=True, postprocess=_scores
        )
        if self.width > 2:
            raise ModelLoadError(
                f"{where} has a graph that gives float32 [{TRIAL_ROWS}, {self.width}] for "
                f"{TRIAL_ROWS} pairs: expected one score or two classes per pair; "
                "load a classifier with load_model(folder)"
            )


def _scores(logits: FloatArray) -> FloatArray:
    """Return float32 `[n]`: the only logit, or the second minus the first."""
    scores: FloatArray = logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return scores
