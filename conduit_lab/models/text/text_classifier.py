"""TextClassifier: a sequence classification folder that labels a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

from conduit_lab.core.errors import ModelLoadError, ModelRunError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import FloatArray, TensorSpec, ValueSpec
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.models.text.classifier import Classifier, OpenedClassifier
from conduit_lab.models.text.logits_graph import Postprocess
from conduit_lab.models.text.text_model import Encode, TextColumn, TextPair
from conduit_lab.models.text.token_graph import TokenRows
from conduit_lab.models.text.tokenized_model import TruncationCount
from conduit_lab.models.text.tokenizer import TextOrPair
from conduit_lab.runtime.sessions.npz import ACTIVATIONS

_BY_PROBLEM = {"multi_label_classification": "sigmoid", "regression": "identity"}


class TextClassifier(Classifier):
    """A sequence classification folder: a graph with one row of logits per text.

    `problem_type` in `config.json` selects their activation: softmax over the labels by default,
    sigmoid per label for `multi_label_classification` (and for a single label), none for
    `regression`. A text longer than `max_length` tokens is truncated at its end, a pair at the end
    of the longer text; the trace reports it.
    """

    what = "a text classifier"
    by_token = False
    takes_pairs = True

    # Any is for regression: only the folder's config decides the kind of answer
    @overload
    def predict(self, texts: str | TextPair) -> Prediction | Any: ...
    @overload
    def predict(self, texts: Sequence[str | TextPair] | TextColumn) -> Predictions | Any: ...
    def predict(
        self, texts: str | TextPair | Sequence[str | TextPair] | TextColumn
    ) -> Prediction | Predictions | FloatArray | float:
        """Classify one text, or a list, tuple, 1-D array or Series of texts.

        One text returns a `Prediction`, several return `Predictions`. A pair of texts, such as
        premise and hypothesis, is `{"text": …, "text_pair": …}`. For multi-label models `label` is
        the most likely one, and `probabilities` need not sum to 1. A regression returns a float for
        one text and float32 `[n]` for several; with several outputs float32 `[outputs]` or `[n,
        outputs]`. Raises `ModelInputError` for anything other than text, `ModelRunError` if the
        model returns NaN.
        """
        answer: Prediction | Predictions | FloatArray | float
        answer = self._traced(texts, lambda: self.run(texts))
        return answer

    def _open(self) -> OpenedClassifier:
        opened = super()._open()
        if len(set(opened.labels)) < len(opened.labels):  # `probabilities` has one entry per name
            raise ModelLoadError(
                f"{display(self.path)} has a label twice in {', '.join(opened.labels)[:200]}: "
                "pass distinct class names in their order, load_model(folder, labels=[…])"
            )
        return opened

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """One number per label."""
        return _numbers(self._parts())

    def _gives(self, opened: OpenedClassifier) -> ValueSpec:
        if _activation(opened.config) != "identity":
            return "Prediction"
        return None if len(opened.labels) == 1 else _numbers(opened)  # one number is not an array

    def _scores(self, config: Mapping[str, Any]) -> Postprocess:
        return lambda logits: ACTIVATIONS[_activation(config, logits.shape[-1])](logits)

    def _encoder(self, opened: OpenedClassifier) -> Encode:
        truncations = TruncationCount("text", opened.tokenizer.max_length)

        def encode(texts: Sequence[TextOrPair]) -> TokenRows:
            encodings = opened.tokenizer.encode(texts)
            truncations.add(encodings)
            return TokenRows.of(encodings)

        return encode

    def _whole(
        self, opened: OpenedClassifier, parts: Sequence[tuple[Any, Any]], value: Any
    ) -> Prediction | Predictions | FloatArray | float:
        rows = [row for _, answers in parts for row in answers]
        values = np.stack(rows) if rows else np.zeros((0, len(opened.labels)), np.float32)
        if np.isnan(values).any():
            raise ModelRunError(
                f"{self.name!r} returned NaN for a label: its weights or its input are out of range"
            )
        if _activation(opened.config) == "identity":
            numbers: FloatArray = values[:, 0] if len(opened.labels) == 1 else values
            if not self._is_one(value):
                return numbers
            first: FloatArray = numbers[0]
            return float(first) if numbers.ndim == 1 else first
        predictions = Predictions(values, opened.labels)
        return predictions[0] if self._is_one(value) else predictions

    def _more_facts(self, opened: OpenedClassifier) -> list[tuple[str, str]]:
        activation = _activation(opened.config, len(opened.labels))
        return [("scores", activation), *super()._more_facts(opened)]


def _numbers(opened: OpenedClassifier) -> tuple[TensorSpec, ...]:
    name = "values" if _activation(opened.config) == "identity" else "probabilities"
    return (TensorSpec(name, "float32", ("batch", len(opened.labels))),)


def _activation(config: Mapping[str, Any], width: int = 2) -> str:
    """Return the activation's name; sigmoid for a single label, as in transformers."""
    return _BY_PROBLEM.get(str(config.get("problem_type")), "sigmoid" if width == 1 else "softmax")
