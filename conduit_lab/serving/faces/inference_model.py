"""InferenceModel: a model with named input and output tensors, as the protocol requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.models.answers import classifier_outputs
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.text_classifier import TextClassifier
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.inference_tensors import DATATYPES

VERSION = "1"  # a model has one version at a time
LABEL, PROBABILITIES = "label", "probabilities"


class Outputs(NamedTuple):
    """The output arrays by name, and the class names of a classifier."""

    arrays: dict[str, Array]
    labels: Sequence[str] = ()


class InferenceModel:
    """The tensors of one open model: its `inputs`, its `outputs`, and its class `labels`.

    A classifier outputs the probabilities under their name in the graph, and the chosen label of
    each row as BYTES, under the name of the graph's label output, else `label`.
    """

    def __init__(self, model: Model | Embedder | TextClassifier) -> None:
        self.model = model
        self.labels: Sequence[str] = ()
        self.inputs: tuple[TensorSpec, ...] = model.takes or model.inputs
        gives = model.gives
        self._names: tuple[str, str] | None = None  # of a classifier's probabilities and label
        if gives == "Prediction":
            self.outputs = self._classifier(model)
        else:
            self.outputs = gives if isinstance(gives, tuple) else model.outputs
        for spec in (*self.inputs, *self.outputs):
            if spec.dtype not in DATATYPES:
                raise HttpError(
                    404,
                    "no_tensors",
                    f"model {model.name!r} has the tensor {spec.name!r} of {spec.dtype}, which "
                    "this protocol does not carry",
                )

    def _classifier(self, model: Any) -> tuple[TensorSpec, ...]:
        """Return the outputs of a classifier."""
        self.labels = model.labels or ()
        scores = TensorSpec(PROBABILITIES, "float32", ("batch", len(self.labels)))
        label = LABEL
        if isinstance(model, Model):
            specs = model.outputs
            place, own = classifier_outputs(specs)
            dtype = specs[place].dtype if specs[place].dtype in DATATYPES else "float32"
            classes = len(self.labels) or "classes"
            scores = TensorSpec(specs[place].name, dtype, ("batch", classes))
            label = LABEL if own is None else specs[own].name
        if label == scores.name:
            label = f"{label}_name"
        self._names = scores.name, label
        return TensorSpec(label, "str", ("batch",)), scores

    async def infer(self, arrays: Mapping[str, Array]) -> Outputs:
        """Return every output for one request; concurrent requests are batched together."""
        value: Any = arrays
        if len(self.inputs) == 1:
            value = arrays[self.inputs[0].name]
            if not isinstance(self.model, Model):
                value = value.tolist()
        return self._by_name(await self.model.acall(value))

    def _by_name(self, answer: Any) -> Outputs:
        if isinstance(answer, Prediction):
            answer = Predictions(answer.to_array()[None], answer.labels, [answer.label])
        if isinstance(answer, Predictions):
            scores, label = self._names or (self.outputs[0].name, LABEL)
            chosen = answer.chosen
            if chosen is None:
                best = answer.probabilities.argmax(axis=1) if len(answer) else ()
                chosen = [answer.labels[place] for place in best]
            named = {scores: answer.probabilities, label: np.array(chosen, object)}
            return Outputs(named, answer.labels)
        if isinstance(answer, dict):
            return Outputs({name: np.asarray(array) for name, array in answer.items()})
        return Outputs({self.outputs[0].name: np.asarray(answer)})


def inference_model(model: Any) -> InferenceModel:
    """Return a model's tensors; raise `HttpError` 404 for a kind of model without tensors."""
    if isinstance(model, Model | Embedder | TextClassifier):
        return InferenceModel(model)
    raise HttpError(
        404,
        "no_tensors",
        f"model {model.name!r} is a {type(model).__name__}, whose inputs are not tensors: "
        "use another protocol of this server",
    )
