"""Prediction: a label with its confidence; Predictions: the predictions for a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from conduit_lab.core import views
from conduit_lab.core.frames import pandas
from conduit_lab.core.spec import Array
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed


class Prediction(Mapping[str, Any], Viewed):
    """The answer of a model with labels: `label`, `score` and `probabilities`, also in JSON.

    `score` is the probability of `label`; `probabilities` maps each label to its probability, in
    the model's order. The label is the most likely one, or the one chosen by the graph itself; the
    score of a label without a probability is 0.
    """

    __slots__ = ("_labels", "_row", "label", "score")

    def __init__(self, label: str, score: float, probabilities: Mapping[str, float]) -> None:
        self.label = label
        self.score = score
        self._labels: Sequence[str] = tuple(probabilities)
        self._row: Any = tuple(probabilities.values())

    @classmethod
    def from_array(
        cls, probabilities: Array, labels: Sequence[str], label: str | None = None
    ) -> Self:
        """Return the prediction for probabilities `[classes]`; by default the most likely label."""
        prediction = cls.__new__(cls)
        if label is None:
            best = int(probabilities.argmax())
            prediction.label, prediction.score = labels[best], probabilities.item(best)
        else:
            prediction.label = label
            prediction.score = probabilities.item(labels.index(label)) if label in labels else 0.0
        prediction._labels, prediction._row = labels, probabilities  # rarely read: not converted
        return prediction

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each label, in the model's order."""
        return dict(zip(self._labels, map(float, self._row), strict=True))

    @property
    def labels(self) -> list[str]:
        """The labels with a probability, in the model's order."""
        return list(self._labels)

    def to_array(self) -> Array:
        """Return the probabilities as float64 `[classes]`, in the order of `labels`."""
        return np.asarray(self._row, np.float64)

    def __getitem__(self, key: str) -> Any:
        if key not in ("label", "score", "probabilities"):
            raise KeyError(f"a prediction has label, score and probabilities, not {key!r}")
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(("label", "score", "probabilities"))

    def __len__(self) -> int:
        return 3

    def __repr__(self) -> str:
        return f"Prediction({self.label!r}, {self.score:.3f})"

    def _view(self) -> views.View:
        return views.View("Prediction", self.label, [f"{self.score:.3f}"], pieces=[self._bars()])

    def _bars(self) -> views.Bars:
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        bars = [views.Bar(label, p, f"{p:.3f}", label == self.label) for label, p in ranked]
        return views.Bars(bars, whole="prediction.probabilities")


class Predictions(Sequence[Prediction], Viewed):
    """The predictions for a batch, one per row, each created on access.

    `probabilities` is float `[n, classes]`, `labels` the class names in its order. `chosen` are the
    labels chosen by the graph itself, one per row; without them each row has its most likely label.
    """

    def __init__(
        self, probabilities: Array, labels: Sequence[str], chosen: Sequence[str] | None = None
    ) -> None:
        self.probabilities = probabilities
        self.labels = list(labels)
        self.chosen = None if chosen is None else list(chosen)

    def __getitem__(self, index: Any) -> Any:
        chosen = None if self.chosen is None else self.chosen[index]
        if isinstance(index, slice):
            return Predictions(self.probabilities[index], self.labels, chosen)
        return Prediction.from_array(self.probabilities[index], self.labels, chosen)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def to_pandas(self) -> Any:
        """Return a DataFrame with label, score and the probability of each label."""
        frame = pandas("Predictions.to_pandas()").DataFrame(self.probabilities, columns=self.labels)
        if self.chosen is None and len(self):
            best = self.probabilities.argmax(axis=1)
            labels = [self.labels[i] for i in best]
            scores = self.probabilities[np.arange(len(self)), best]
        else:
            labels = self.chosen or []
            scores = np.array([p.score for p in self], self.probabilities.dtype)
        frame.insert(0, "score", scores)
        frame.insert(0, "label", labels)
        return frame

    def _table(self) -> views.Table:
        first = [
            (str(row), p.label, views.html.Cell(f"{p.score:.3f}", share=p.score))
            for row, p in enumerate(self[: views.html.MAX_ROWS])
        ]
        columns, more = ("row", "label", "score"), f"predictions[{views.html.MAX_ROWS}:]"
        return views.Table(columns, first, ("row", "score"), total=len(self), whole=more)

    def _view(self) -> views.View:
        return views.View("Predictions", figures.count(len(self)), tables=[self._table()])

    def __repr__(self) -> str:
        return self._table().plain()
