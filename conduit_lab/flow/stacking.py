"""stacking: combine the answers of an ensemble's members with a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.spec import Array, TensorSpec, ValueSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.flow.averages import to_numbers
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.decision_profile import holds_predictions
from conduit_lab.models.prediction import Prediction, Predictions


class stacking(Combinator):
    """Combine answers with a model: `Ensemble(models, stacking(meta_model))`.

    The input of `meta_model` is one array of features, the concatenated outputs of the members: the
    probabilities of a `Prediction` in its model's order, the values of an array, or a number. Its
    shape is `[features]`, or `[n, features]` for a batch of answers: `Predictions`, and arrays with
    at least two axes. Its dtype is that of the meta model's input, float64 for a plain function.
    """

    def __init__(self, meta_model: Any, *, name: str = "stacking") -> None:
        self.meta_model = as_stage(meta_model)
        self.name = name

    @property
    def children(self) -> tuple[Stage, ...]:
        """The meta model."""
        return (self.meta_model,)

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """None: it takes the list of the members' answers."""
        return None

    @property
    def gives(self) -> ValueSpec:
        """The values that the meta model returns."""
        return self.meta_model.gives

    def run(self, value: Sequence[Any]) -> Any:
        """Return the meta model's answer to the members' answers."""
        return self.meta_model(self.features(value))

    async def arun(self, value: Sequence[Any]) -> Any:
        """Await the meta model."""
        return await self.meta_model.acall(self.features(value))

    def features(self, answers: Sequence[Any]) -> Array:
        """Return the meta model's input for the members' answers, also useful for training it.

        Raises `CompositionError` for text and other non-numeric answers, and for batches of
        different lengths.
        """
        if len(answers) == 0:
            raise InputError(f"{self.name} expected at least one answer, got none")
        parts = [self._numbers(place, answer) for place, answer in enumerate(answers, 1)]
        is_batch = any(part.ndim > 1 for part in parts)
        if is_batch and len({part.shape[:1] for part in parts}) > 1:
            got = ", ".join(str(list(part.shape)) for part in parts)
            raise CompositionError(f"{self.name} expected answers to one batch, got shapes {got}")
        columns = [part.reshape(len(part), -1) if is_batch else part.ravel() for part in parts]
        specs = self.meta_model.inputs
        known = len(specs) == 1 and specs[0].dtype.startswith("float")
        dtype = specs[0].dtype if known else "float64"
        return np.concatenate(columns, axis=-1).astype(dtype)

    def _numbers(self, place: int, answer: Any) -> Array:
        if isinstance(answer, Prediction):
            return answer.to_array()
        if isinstance(answer, Predictions):
            return np.asarray(answer.probabilities)
        if holds_predictions(answer):
            rows = [prediction.to_array() for prediction in answer]
            if all(prediction.labels == answer[0].labels for prediction in answer):
                return np.stack(rows)
        return to_numbers(self.name, answer, place)
