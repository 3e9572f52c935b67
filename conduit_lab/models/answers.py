"""Answers: what a graph gives becomes what the caller asked for: arrays, predictions, a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import TensorSpec
from conduit_lab.models.prediction import Prediction, Predictions


class Answers:
    """The outputs of one model, called `name` in errors; `labels` are class names in output order, or None.

    A classifier gives `Prediction`s: one with labels, and one whose graph ends in the label and a map of
    probabilities, as converters of scikit-learn models write it (ONNX-ML's ZipMap).
    """

    def __init__(self, name: str, specs: tuple[TensorSpec, ...], labels: Sequence[str] | None) -> None:
        self.name = name
        self.specs = specs
        self.labels = labels
        self._mapped = len(specs) == 2 and specs[1].dtype.startswith("seq(map(")
        # a label alone says nothing of confidence: the probabilities beside it do
        beside = len(specs) == 2 and len(specs[0].shape) == 1 and len(specs[1].shape) == 2
        self.probabilities = 1 if beside else 0

    def of(self, outputs: list[Any], single: bool) -> Any:
        """Return the answer: of one sample without the batch axis, of several outputs by their names."""
        if single and self.labels is not None and outputs[self.probabilities].ndim == 2:
            prediction = Prediction.from_array(outputs[self.probabilities][0], self.labels)
            return prediction if prediction.score == prediction.score else self._refuse_nan()
        predictions = self._predictions(outputs)
        if predictions is not None:
            return predictions[0] if single else predictions
        if len(outputs) == 1:
            return outputs[0][0] if single else outputs[0]
        return {spec.name: output[0] if single else output for spec, output in zip(self.specs, outputs, strict=True)}

    def _predictions(self, outputs: list[Any]) -> Predictions | None:
        """Return the predictions of a classifier, or None for any other model."""
        labels, rows = self.labels, outputs[self.probabilities] if outputs else None
        if self._mapped:
            labels = list(outputs[1][0]) if outputs[1] else []
            rows = np.array([[of[label] for label in labels] for of in outputs[1]], np.float32).reshape(-1, len(labels))
        if labels is None or rows is None or rows.ndim != 2:
            return None
        total = float(rows.sum())
        if total != total and np.isnan(rows).any():  # a sum is one pass, and what is infinite is not NaN
            self._refuse_nan()
        return Predictions(rows, [str(label) for label in labels] if self._mapped else labels)

    def _refuse_nan(self) -> NoReturn:
        raise ModelRunError(
            f"{self.name!r} gave NaN for a probability: its weights or its input are out of range "
            "(float16 holds numbers up to 65 504)"
        )

    def frame(self, outputs: list[Any], index: Any) -> Any:
        """Return a DataFrame with the rows' `index`: label, score and probabilities, or one column for each number."""
        import pandas as pd

        predictions = self._predictions(outputs)
        if predictions is not None:
            return predictions.to_pandas().set_axis(index)
        columns: dict[str, Any] = {}
        for spec, output in zip(self.specs, outputs, strict=True):
            flat = np.asarray(output).reshape(len(index), -1)
            names = [spec.name] if flat.shape[1] == 1 else [f"{spec.name}_{i}" for i in range(flat.shape[1])]
            columns.update(zip(names, flat.T, strict=True))
        return pd.DataFrame(columns, index=index)
