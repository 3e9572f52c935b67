"""Classifier: a folder's labels and logits, shared by text and token classifiers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.models.graphs import choose_graph, find_graphs
from conduit_lab.models.text.logits_graph import LogitsGraph, Postprocess
from conduit_lab.models.text.text_files import TextFiles
from conduit_lab.models.text.text_model import OpenedText, TextModel
from conduit_lab.models.text.tokenizer import Tokenizer
from conduit_lab.runtime.batching.unbatched import batcher_of
from conduit_lab.runtime.sessions.cache import Shared

_DEFAULT_MAX_TOKENS = 512  # if no file states a length
_MAX_SHOWN_LABELS = 12


@dataclass(frozen=True)
class OpenedClassifier(OpenedText[LogitsGraph]):
    """An opened classifier, with the folder's config and its labels in the order of the logits."""

    config: Mapping[str, Any]
    labels: tuple[str, ...]


class Classifier(TextModel[OpenedClassifier]):
    """A folder with a graph that returns logits, `tokenizer.json` and `config.json`.

    `labels` are class names in the order of the logits (default: `id2label` of the config).
    `variant` selects a graph other than `model.onnx`: "int8" is `model_int8.onnx`. `device`,
    `fallback` and `timeout` are those of `Options`. Opened by `open()` or on first use.
    """

    kind = "predict"
    main_call = "predict(texts)"
    what: ClassVar[str]  # names the model in errors, with its article
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
        self.given_labels = None if labels is None else list(labels)

    @abstractmethod
    def _scores(self, config: Mapping[str, Any]) -> Postprocess:
        """Return the function that converts logits to one score per label."""

    def _postprocess(self, config: Mapping[str, Any]) -> Postprocess:
        """Return the function that converts logits to the input of `_whole`: the scores."""
        return self._scores(config)

    def _open(self) -> OpenedClassifier:
        where = display(self.path)
        graph = choose_graph(find_graphs(self.path), self.variant, self.path)
        files = TextFiles(self.path, graph)
        length = files.max_length(_DEFAULT_MAX_TOKENS)
        tokenizer = files.tokenizer(length, stride=length // 4 if self.by_token else None)
        shared, postprocess = self._open_session(graph), self._postprocess(files.config)
        logits = self._logits(shared, tokenizer, files.padding, postprocess)
        labels = self.given_labels or _labels(where, files.config, logits.width)
        if len(labels) != logits.width:
            raise ModelLoadError(
                f"{where} has {figures.plural(len(labels), 'label')} and a graph that gives "
                f"{figures.plural(logits.width, 'logit')}: pass the class names in their order, "
                "load_model(folder, labels=[…])"
            )
        batcher = batcher_of(shared, self.name, logits)
        return OpenedClassifier(graph, tokenizer, logits, batcher, files.config, tuple(labels))

    def _logits(
        self, shared: Shared, tokenizer: Tokenizer, padding: int, postprocess: Postprocess
    ) -> LogitsGraph:
        return LogitsGraph(
            display(self.path),
            shared,
            self.what,
            tokenizer,
            padding,
            by_token=self.by_token,
            postprocess=postprocess,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in the order of the logits."""
        return self._parts().labels

    def _more_facts(self, opened: OpenedClassifier) -> list[tuple[str, str]]:
        shown = ", ".join(opened.labels[:_MAX_SHOWN_LABELS])
        more = ", … all of them: model.labels" if len(opened.labels) > _MAX_SHOWN_LABELS else ""
        labels = f"{len(opened.labels)}: {shown}{more}"
        return [("labels", labels), *super()._more_facts(opened)]


def _labels(where: str, config: Mapping[str, Any], width: int) -> list[str]:
    """Return `id2label` in numeric order; by default `LABEL_0` and so on, as in transformers."""
    named = config.get("id2label")
    if named is None:
        return [f"LABEL_{i}" for i in range(width)]
    try:
        numbered = sorted((int(key), label) for key, label in named.items())
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelLoadError(
            f"{where} has the id2label {str(named)[:100]} in config.json: "
            "expected a label per number"
        ) from error
    return [str(label) for _, label in numbered]
