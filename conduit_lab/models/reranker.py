"""Reranker: a cross-encoder folder that reads a query and a passage together and tells how well they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core import figures, trace
from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray, TensorSpec, describe
from conduit_lab.models.config import read_config
from conduit_lab.models.encoder import CPU_TOKENS, DEVICE_TOKENS, INPUTS
from conduit_lab.models.folder_model import FolderModel
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.tokenizer import Tokenizer, pad
from conduit_lab.runtime.cache import Shared, sessions
from conduit_lab.runtime.tuning import read_tuning

MAX_LENGTH = 512  # tokens of query and passage together, where no file says how many
WINDOW = 2048  # pairs that are tokenised and sorted together
_COMPANY = 32  # pairs of the first run, which shows whether company changes a score
_APART = 0.02  # how far a score may move in company, of its own size or of one: dynamic int8 moves it further
_UNSET = 10**9  # transformers writes 1e30 for "as many as you like"


class Reranker(FolderModel["_Opened"]):
    """A cross-encoder folder: a graph with one score or two classes a pair, `tokenizer.json` and `config.json`.

    The layout is that of sentence-transformers and of Hugging Face's sequence classification; `model.onnx` lies in the
    folder or in `onnx/`. `variant` chooses another graph than `model.onnx`: "int8" is `model_int8.onnx`. `device`,
    `fallback` and `timeout` are those of `Options`. Opened at `open()`, or at the first use.
    """

    kind = "predict"

    # Life

    def _open(self) -> _Opened:
        graph = choose_graph(find_graphs(self.path), self.variant, self.path)
        config = read_config(self.path / "config.json")
        tokenizer = Tokenizer(self.path / "tokenizer.json", _max_length(self.path, config))
        tuned = read_tuning(graph)
        shared = sessions.open(graph, self.options if tuned is None else tuned.options(self.options))
        return _Opened.checked(self.path, graph, tokenizer, shared)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One score a passage."""
        return (TensorSpec("score", "float32", ("batch",)),)

    @property
    def max_length(self) -> int:
        """Tokens of query and passage together that are read; what is longer is cut."""
        return self._parts().max_length

    # Work

    def score(self, query: str, passages: Sequence[str]) -> FloatArray:
        """Return float32 `[n]`, how well each passage answers the query: the model's logit, higher is better.

        Of a model with two classes it is the logit of the second above that of the first. 1 / (1 + exp(-score)) is
        the probability that the model was trained to give. A pair longer than `max_length` tokens is cut at the end
        of the longer of the two, which the trace tells. Raises `ModelInputError` for anything else than text.
        """
        return self._traced({"query": query, "passages": passages}, lambda: self._score(query, passages))

    def run(self, value: Any) -> FloatArray:
        """Score `{"query": …, "passages": […]}` without a trace; call the stage itself, or `score`, instead."""
        if not isinstance(value, Mapping) or set(value) != {"query", "passages"}:
            raise ModelInputError(f"{self.name!r} wants {{'query': …, 'passages': […]}}, got {str(value)[:100]}")
        return self._score(value["query"], value["passages"])

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return `sample` with its passages repeated to `rows`, or as it is, and the passages in it."""
        passages = list(sample["passages"])
        given = list(islice(cycle(passages), rows or len(passages)))
        return {**sample, "passages": given}, len(given)

    def _score(self, query: Any, passages: Any) -> FloatArray:
        if not isinstance(query, str):
            raise ModelInputError(f"{self.name!r} wants a text as query, got {type(query).__name__}")
        if isinstance(passages, str) or not isinstance(passages, Sequence):
            raise ModelInputError(f"{self.name!r} wants a list of texts as passages, got {type(passages).__name__}")
        strange = sorted({type(passage).__name__ for passage in passages if not isinstance(passage, str)})
        if strange:
            raise ModelInputError(f"{self.name!r} wants texts as passages, got {', '.join(strange)} among them")
        opened = self._parts()
        scores, cut = np.zeros(len(passages), np.float32), 0
        for start in range(0, len(passages), WINDOW):
            pairs = opened.pairs(query, passages[start : start + WINDOW])
            cut += sum(pair.cut for pair in pairs)
            for batch in opened.batches(pairs):
                scores[batch + start] = opened.scores([pairs[i] for i in batch])
        if cut and not opened.shared.note:  # the note of a device that failed is worth more
            trace.note(f"{cut} of {figures.plural(len(passages), 'passage')} cut at {opened.max_length} tokens")
        return scores

    # Showing

    def _more_facts(self, opened: _Opened) -> list[tuple[str, str]]:
        return [
            ("max length", f"{opened.max_length} tokens"),
            ("vocabulary", f"{figures.count(opened.tokenizer.vocabulary_size)} tokens"),
            ("calls", opened.shared.statistics()),
        ]


@dataclass(frozen=True)
class _Pair:
    """A query and a passage as tokens; `cut` where they are not all of them."""

    ids: Sequence[int]
    types: Sequence[int]
    cut: bool


@dataclass(frozen=True)
class _Opened:
    """One opened graph with its tokenizer. `independent` says whether a score is the same in any company."""

    graph: Path
    tokenizer: Tokenizer
    shared: Shared
    independent: bool = True

    @classmethod
    def checked(cls, path: Path, graph: Path, tokenizer: Tokenizer, shared: Shared) -> _Opened:
        """Run the graph once; `ModelLoadError` for one that gives no score a pair, or takes no such tokens."""
        where = display(path)
        names = [spec.name for spec in shared.inputs]
        if not set(INPUTS[:2]) <= set(names) <= set(INPUTS):
            raise ModelLoadError(
                f"{where} is no cross-encoder: its graph wants {', '.join(names)}; wanted {', '.join(INPUTS[:2])} and "
                f"perhaps {INPUTS[2]}"
            )
        opened = cls(graph, tokenizer, shared)
        added = tokenizer.backend.num_special_tokens_to_add(True)
        if opened.max_length <= added:
            raise ModelLoadError(
                f"{where} adds {added} tokens to each pair: a length of {opened.max_length} is too few"
            )
        # the tokenizer's last token first: one of another model may have it in excess
        tokens = np.linspace(tokenizer.vocabulary_size - 1, 0, _COMPANY).astype(np.int64).tolist()
        second = max(tokenizer.backend.encode("a", "a").type_ids, default=0)  # some models tell no types apart
        pairs = [_Pair([token] * (2 + i % 3), [0] + [second] * (1 + i % 3), False) for i, token in enumerate(tokens)]
        try:
            company = opened.scores(pairs, count=False)
        except ModelInputError as error:
            raise ModelLoadError(
                f"{where} has a graph that does not take its tokenizer's tokens up to {tokens[0]}: the tokenizer.json "
                f"belongs to another model, or the graph is no cross-encoder ({error})"
            ) from error
        places = (0, _COMPANY // 2)
        alone = np.concatenate([opened.scores([pairs[place]], count=False) for place in places])
        apart = np.abs(company[list(places)] - alone) > _APART * np.maximum(1, np.abs(alone))
        return cls(graph, tokenizer, shared, independent=not apart.any())

    @property
    def max_length(self) -> int:
        """The most tokens of a pair."""
        return int(self.tokenizer.backend.truncation["max_length"])

    def pairs(self, query: str, passages: Sequence[str]) -> list[_Pair]:
        """Return the query with each passage as tokens."""
        # a lone surrogate is valid in a JSON string and not in UTF-8: it becomes a question mark
        clean = [text.encode("utf-8", "replace").decode() for text in (query, *passages)]
        found = self.tokenizer.backend.encode_batch([(clean[0], passage) for passage in clean[1:]])
        return [_Pair(encoding.ids, encoding.type_ids, bool(encoding.overflowing)) for encoding in found]

    def batches(self, pairs: Sequence[_Pair]) -> Iterator[Array]:
        """Yield the places of the pairs of each run: neighbours in length, the longest first."""
        lengths = np.fromiter((len(pair.ids) for pair in pairs), np.int64, len(pairs))
        order = np.argsort(-lengths, kind="stable")
        budget = CPU_TOKENS if self.shared.device == "cpu" else DEVICE_TOKENS
        start = 0
        while start < len(order):
            size = max(1, budget // max(1, int(lengths[order[start]]))) if self.independent else 1
            yield order[start : start + size]
            start += size

    def scores(self, pairs: Sequence[_Pair], *, count: bool = True) -> FloatArray:
        """Return float32 `[n]`, computed in one run."""
        ids, mask = pad([pair.ids for pair in pairs])
        types, _ = pad([pair.types for pair in pairs])
        values = dict(zip(INPUTS, (ids, mask, types), strict=True))
        feeds = {spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in self.shared.inputs}
        logits = self.shared.run(feeds, len(pairs), count=count)[0]
        if logits.dtype.kind != "f" or logits.shape not in ((len(pairs), 1), (len(pairs), 2), (len(pairs),)):
            raise ModelLoadError(
                f"{display(self.graph)} gives {describe(logits)} for {len(pairs)} pairs: wanted one score or two "
                f"classes a pair, [{len(pairs)}, 1] or [{len(pairs)}, 2]"
            )
        logits = logits.astype(np.float32, copy=False).reshape(len(pairs), -1)
        scores: FloatArray = logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return scores


def is_reranker(path: Path) -> bool:
    """Tell whether a folder looks like a cross-encoder's."""
    architectures = read_config(path / "config.json").get("architectures")
    return isinstance(architectures, list) and any("SequenceClassification" in str(a) for a in architectures)


def _max_length(path: Path, config: Mapping[str, Any]) -> int:
    """Return the most tokens of a pair: the tokenizer's, and no more than the model has positions."""
    given = (read_config(path / "tokenizer_config.json").get("model_max_length"), config.get("max_position_embeddings"))
    return min((n for n in given if isinstance(n, int) and 0 < n < _UNSET), default=MAX_LENGTH)
