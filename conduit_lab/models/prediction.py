"""Prediction: a label with its confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from conduit_lab.core import html
from conduit_lab.core.spec import Array


class Prediction(Mapping[str, Any]):
    """The answer of a model with labels: `label`, `score` and `probabilities`, the same in JSON.

    `score` is the probability of `label`; `probabilities` maps each label to its own, in the model's order.
    """

    def __init__(self, label: str, score: float, probabilities: dict[str, float]) -> None:
        self.label = label
        self.score = score
        self.probabilities = probabilities

    @classmethod
    def from_array(cls, probabilities: Array, labels: Sequence[str]) -> Prediction:
        """Return the prediction for one row of probabilities, float `[classes]`."""
        best = int(np.argmax(probabilities))
        values = [float(p) for p in probabilities]
        return cls(labels[best], values[best], dict(zip(labels, values, strict=True)))

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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        rows = [(label, f"{p:.3f}") for label, p in ranked]
        shown = html.header("Prediction", self.label, [f"{self.score:.3f}"])
        return html.bundle(repr(self), shown + html.table(("label", "probability"), rows, numeric=("probability",)))
