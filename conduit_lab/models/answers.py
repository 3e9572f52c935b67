"""Answers: convert a graph's outputs to arrays, predictions or a DataFrame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from conduit_lab.core.errors import ModelLoadError, ModelRunError
from conduit_lab.core.frames import pandas
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec, ValueSpec
from conduit_lab.models.prediction import Prediction, Predictions


class Answers:
    """Converts the outputs of one model, called `name` in errors, with batch `axes` (or None).

    A classifier returns `Prediction`s. It has `labels`, class names in output order, or its graph
    ends in a map of probabilities (ONNX-ML's ZipMap), as converted scikit-learn models do. If the
    graph also outputs a label, the prediction uses it: a threshold or a vote may choose another
    class than the most likely one. `classes` are the values of that label in column order, if the
    graph names them.
    """

    def __init__(
        self,
        name: str,
        specs: tuple[TensorSpec, ...],
        labels: Sequence[str] | None,
        axes: Sequence[int | None],
        classes: Sequence[str | int] = (),
    ) -> None:
        self.name = name
        self.specs = specs
        self.labels = labels
        self._classes = classes
        self._axes = tuple(axes)
        self._first = [_first(axis) for axis in axes]
        self.probabilities, self._own = classifier_outputs(specs)
        self._mapped = bool(specs) and specs[self.probabilities].dtype.startswith("seq(map(")
        # multi-label: several labels per sample
        several = len(specs) == 2 and self._own is None and specs[0].dtype in _LABELS
        beside = axes[self.probabilities] in (0, None) if specs else False
        self._classifies = not several and (self._mapped or (labels is not None and beside))
        self._plain = self._classifies and self._own is None and not self._mapped
        self._row = (1, len(labels or ()))
        is_array = len(specs) == 1 and "(" not in specs[0].dtype  # no seq(…) and no map(…)
        self._one_array = is_array and self._axes == (0,) and not self._classifies

    @property
    def gives(self) -> ValueSpec:
        """The outputs, or `Prediction`; None if only a run can decide between the two."""
        if not self._classifies:
            return with_batch(self.specs, self._axes)
        scores = self.specs[self.probabilities]
        if self._mapped or (scores.ranked and len(scores.shape) == 2):
            return "Prediction"
        return with_batch(self.specs, self._axes) if scores.ranked else None

    def of(self, outputs: list[Any], single: bool) -> Any:
        """Return the answer: without the batch axis for one sample, by name for several outputs."""
        # the fast paths: an array without labels, or one labelled row
        if self._one_array:
            return outputs[0][0] if single else outputs[0]
        if single and self._plain and outputs[self.probabilities].shape == self._row:
            prediction = Prediction.from_array(outputs[self.probabilities][0], self.labels or ())
            return prediction if prediction.score == prediction.score else self._refuse_nan()
        predictions = self._predictions(outputs)
        if predictions is not None:
            return predictions[0] if single and len(predictions) == 1 else predictions
        if len(outputs) == 1:
            return self._one(outputs[0], self._first[0]) if single else outputs[0]
        if not single:
            return {spec.name: output for spec, output in zip(self.specs, outputs, strict=True)}
        parts = zip(self.specs, outputs, self._first, strict=True)
        return {spec.name: self._one(output, first) for spec, output, first in parts}

    @staticmethod
    def _one(output: Any, first: Any) -> Any:
        """Return one sample's part of an output, or all of it if it has no batch axis."""
        if not isinstance(output, list):
            return output[first]
        if output and isinstance(output[0], np.ndarray):
            return [array[first] for array in output]
        return output if first is ... else output[first]

    def _predictions(self, outputs: list[Any]) -> Predictions | None:
        """Return the predictions of a classifier, or None for any other model."""
        if not self._classifies:
            return None
        rows, classes = outputs[self.probabilities], self._classes
        if self._mapped:
            classes = list(rows[0]) if rows and set(rows[0]) != set(classes) else classes
            rows = np.array([[of[c] for c in classes] for of in rows], np.float32).reshape(
                len(rows), len(classes)
            )
        if rows.ndim != 2:
            return None
        labels = self.labels
        if labels is None or (self._mapped and len(labels) != len(classes)):
            labels = [str(label) for label in classes]
        if rows.shape[1] == 1 and len(labels) == 2:
            rows = np.concatenate([1 - rows, rows], axis=1)  # a single score is the second class's
        # argmax returns the index of the first NaN, if any
        if rows.size and (largest := rows.item(int(rows.argmax()))) != largest:
            self._refuse_nan()
        if self._own is None:
            return Predictions(rows, labels)
        values = classes if len(classes) == len(labels) else range(len(labels))
        names = dict(zip(values, labels, strict=True))
        own = np.asarray(outputs[self._own]).ravel().tolist()
        return Predictions(rows, labels, [names.get(value, str(value)) for value in own])

    def _refuse_nan(self) -> NoReturn:
        raise ModelRunError(
            f"{self.name!r} returned NaN for a probability: its weights or input are out of range "
            "(float16 holds numbers up to 65 504)"
        )

    def frame(self, outputs: list[Any], index: Any) -> Any:
        """Return a DataFrame: label, score and probabilities, or one column per number."""
        predictions = self._predictions(outputs)
        if predictions is not None:
            return predictions.to_pandas().set_axis(index)
        columns: dict[str, Any] = {}
        for spec, output, axis in zip(self.specs, outputs, self._axes, strict=True):
            listed = isinstance(output, list)
            for place, array in enumerate(output if listed else [output]):
                flat = np.moveaxis(np.asarray(array), axis or 0, 0).reshape(len(index), -1)
                name = f"{spec.name}_{place}" if listed else spec.name
                names = (
                    [name] if flat.shape[1] == 1 else [f"{name}_{i}" for i in range(flat.shape[1])]
                )
                columns.update(zip(names, flat.T, strict=True))
        return pandas("predict of a DataFrame").DataFrame(columns, index=index)

    def rowwise(self, answers: Sequence[list[Any]]) -> list[Array] | None:
        """Stack the outputs of samples that ran one by one; None if their sizes differ."""
        parts = [
            [np.asarray(self._one(o, first)) for o, first in zip(a, self._first, strict=True)]
            for a in answers
        ]
        columns = list(zip(*parts, strict=True))
        if any(len({array.shape for array in column}) > 1 for column in columns):
            return None
        return [np.stack(column) for column in columns]


def classifier_outputs(specs: Sequence[TensorSpec]) -> tuple[int, int | None]:
    """Return the indices of the probabilities and of the graph's own label, if any."""
    for own, other in ((0, 1), (1, 0)) if len(specs) == 2 else ():
        label, probabilities = specs[own], specs[other]
        column = len(label.shape) == 1 or label.shape[1:] == (1,)
        mapped = probabilities.dtype.startswith("seq(map(")
        scores = len(probabilities.shape) == 2 and probabilities.dtype.startswith("float")
        if (mapped or scores) and label.dtype in _LABELS and column:
            return other, own
    return (1 if len(specs) == 2 and specs[1].dtype.startswith("seq(map(") else 0), None


def metadata_labels(metadata: dict[str, str], path: Path) -> list[str] | None:
    """Return the class names of an ONNX file's metadata, a JSON list under `labels`, or None."""
    if "labels" not in metadata:
        return None
    try:
        labels = json.loads(metadata["labels"])
    except ValueError:
        labels = None
    if not isinstance(labels, list):
        raise ModelLoadError(f"{display(path)} has labels in its metadata that are not a JSON list")
    return [str(label) for label in labels]


def with_batch(specs: Sequence[TensorSpec], axes: Sequence[int | None]) -> tuple[TensorSpec, ...]:
    """Return the specs with batch axes of any length: a fixed batch is run in pieces."""
    return tuple(
        spec
        if axis is None or not spec.ranked
        else replace(spec, shape=(*spec.shape[:axis], "batch", *spec.shape[axis + 1 :]))
        for spec, axis in zip(specs, axes, strict=True)
    )


_LABELS = frozenset({"str", "bool", "int8", "int16", "int32", "int64", "uint8"})


def _first(axis: int | None) -> Any:
    """Return the index of the first sample along an axis, or of everything for None."""
    return ... if axis is None else 0 if axis == 0 else (*(slice(None),) * axis, 0)
