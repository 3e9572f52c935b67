"""Classifier: labels and logits of a folder, shared by text and token classifiers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views import figures
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.text.text_files import TextFiles
from conduit_lab.models.text.text_model import TextModel
from conduit_lab.models.text.token_graph import Finish, LogitsGraph, Rows
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.measuring.tuning import read_tuning
from conduit_lab.runtime.sessions.cache import Shared, sessions

MAX_LENGTH = 512  # tokens of a text, where no file says how many


@dataclass(frozen=True)
class OpenedClassifier:
    """An opened graph with its tokenizer, the folder's config and its labels in the order of the logits."""

    graph: Path
    config: Mapping[str, Any]
    tokenizer: Tokenizer
    logits: LogitsGraph
    labels: tuple[str, ...]
    joined: Batcher[Rows, list[FloatArray]]

    @property
    def shared(self) -> Shared:
        """The opened graph."""
        return self.logits.shared

    @property
    def token_graph(self) -> LogitsGraph:
        """The graph that gives the logits."""
        return self.logits


class Classifier(TextModel[OpenedClassifier]):
    """A folder with a graph that gives logits, `tokenizer.json` and `config.json`.

    `labels` are class names in the order of the logits (default: `id2label` of the config).
    `variant` chooses another graph than `model.onnx`: "int8" is `model_int8.onnx`. `device`,
    `fallback` and `timeout` are those of `Options`. Opened at `open()`, or at the first use.
    """

    kind = "predict"
    what: ClassVar[str]  # names the model in errors
    by_token: ClassVar[bool]

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        fallback: bool | None = None,
        labels: Sequence[str] | None = None,
        name: str | None = None,
        timeout: float | None = None,
        variant: str | None = None,
    ) -> None:
        super().__init__(
            path, device=device, fallback=fallback, name=name, timeout=timeout, variant=variant
        )
        self.wanted_labels = None if labels is None else list(labels)

    @abstractmethod
    def _scores(self, config: Mapping[str, Any]) -> Finish:
        """Return the function from logits to one score per label, along the last axis."""

    def _finish(self, config: Mapping[str, Any]) -> Finish:
        """Return the function from logits to the numbers that answers are made of, along the last axis."""
        return self._scores(config)

    def _open(self) -> OpenedClassifier:
        where = display(self.path)
        graph = choose_graph(find_graphs(self.path), self.variant, self.path)
        files = TextFiles(self.path, graph)
        length = files.max_length(MAX_LENGTH)
        tokenizer = files.tokenizer(length, stride=length // 4 if self.by_token else None)
        tuned = read_tuning(graph)
        shared = sessions.open(
            graph, self.options if tuned is None else tuned.options(self.options)
        )
        logits = self._logits(shared, tokenizer, files.padding, self._finish(files.config))
        labels = self.wanted_labels or _labels(where, files.config, logits.width)
        if len(labels) != logits.width:
            raise ModelLoadError(
                f"{where} has {figures.plural(len(labels), 'label')} and a graph that gives {logits.width} logits: "
                "pass the class names in their order, load_model(folder, labels=[…])"
            )
        return OpenedClassifier(
            graph, files.config, tokenizer, logits, tuple(labels), Batcher(self.name, logits)
        )

    def _logits(
        self, shared: Shared, tokenizer: Tokenizer, padding: int, finish: Finish
    ) -> LogitsGraph:
        where = display(self.path)
        return LogitsGraph(
            where, shared, self.what, tokenizer, padding, by_token=self.by_token, finish=finish
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in the order of the logits."""
        return self._parts().labels

    @property
    def max_length(self) -> int:
        """Tokens of a text that one run reads."""
        return self._parts().tokenizer.max_length

    def _more_facts(self, opened: OpenedClassifier) -> list[tuple[str, str]]:
        shown = ", ".join(opened.labels[:12]) + (", …" if len(opened.labels) > 12 else "")
        return [
            ("labels", f"{len(opened.labels)}: {shown}"),
            ("max length", f"{opened.tokenizer.max_length} tokens"),
            ("vocabulary", f"{figures.count(opened.tokenizer.vocabulary_size)} tokens"),
            ("calls", opened.shared.statistics()),
        ]


def _labels(where: str, config: Mapping[str, Any], width: int) -> list[str]:
    """Return the values of `id2label` by their numbers; without it `LABEL_0`, `LABEL_1`, …, as transformers does."""
    named = config.get("id2label")
    if named is None:
        return [f"LABEL_{i}" for i in range(width)]
    try:
        return [
            str(label) for _, label in sorted((int(key), label) for key, label in named.items())
        ]
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelLoadError(
            f"{where} has the id2label {str(named)[:100]} in config.json: expected a label per number"
        ) from error
