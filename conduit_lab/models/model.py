"""Model: one graph or weight file that predicts."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core import html
from conduit_lab.core.errors import ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec, describe
from conduit_lab.core.stage import Stage
from conduit_lab.models.prediction import Prediction
from conduit_lab.runtime.npz import Dense
from conduit_lab.runtime.session import Session, dtype_of, native


class Model(Stage):
    """A model file: `.onnx` through onnxruntime, `.npz` through NumPy.

    `path` is absolute. The file is opened at `open()`, or at the first use. `labels` are class names in output order;
    by default the file's own (`labels` in the ONNX metadata as a JSON list, or the array of that name).
    """

    kind = "predict"

    def __init__(
        self, path: Path, *, device: str = "auto", labels: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        self.path = path
        self.name = name or path.stem
        self.wanted_device = device
        self.wanted_labels = list(labels) if labels is not None else None
        self._engine: Session | Dense | None = None
        self._opening = threading.Lock()
        self._labels: list[str] | None = None

    def open(self) -> Model:
        """Load the file now; raises `ModelLoadError` or `DeviceError`. Does nothing the second time."""
        with self._opening:
            if self._engine is None:
                engine = Dense(self.path) if self.path.suffix == ".npz" else Session(self.path, self.wanted_device)
                self._labels = self._read_labels(engine)
                self._engine = engine
        return self

    def _read_labels(self, engine: Session | Dense) -> list[str] | None:
        labels = self.wanted_labels
        if labels is None:
            labels = engine.labels if isinstance(engine, Dense) else _metadata_labels(engine, self.path)
        classes = engine.outputs[0].shape[-1] if engine.outputs[0].shape else 0
        if labels is not None and isinstance(classes, int) and len(labels) != classes:
            raise ModelLoadError(f"{display(self.path)} gives {classes} classes and there are {len(labels)} labels")
        return labels

    @property
    def engine(self) -> Session | Dense:
        """The loaded session; loads it at the first use."""
        if self._engine is None:
            self.open()
        assert self._engine is not None
        return self._engine

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, the batch axis first."""
        return self.engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs, the batch axis first."""
        return self.engine.outputs

    @property
    def labels(self) -> list[str] | None:
        """Class names in output order, or None."""
        return self._labels if self.engine else None

    @property
    def device(self) -> str:
        """What the model really runs on, such as `cpu`, `cuda` or `numpy`."""
        return self.engine.device

    def predict(self, value: Any) -> Any:
        """Return the model's answer to one sample or a batch.

        `value` is an array or nested lists of the input's shape, with or without the batch axis, or a dict of them by
        input name. A model with labels gives a `Prediction` (a list of them for a batch), any other its output array
        (a dict of arrays where it has several outputs), without the batch axis for one sample.
        Raises `ModelInputError` for what does not fit.
        """
        return self(value)

    def run(self, value: Any) -> Any:
        """Predict without a trace; call `predict` instead."""
        feeds, single = self._feeds(value)
        outputs = self.engine.run(feeds)
        if self._labels is not None and outputs[0].ndim == 2:
            predictions = [Prediction.from_array(row, self._labels) for row in outputs[0]]
            return predictions[0] if single else predictions
        if single:
            outputs = [output[0] for output in outputs]
        if len(outputs) == 1:
            return outputs[0]
        return {spec.name: output for spec, output in zip(self.outputs, outputs, strict=True)}

    def _feeds(self, value: Any) -> tuple[dict[str, Array], bool]:
        """Return the input arrays by name, each with its batch axis, and whether it was one sample."""
        specs = self.inputs
        if isinstance(value, Mapping):
            names = {spec.name for spec in specs}
            if set(value) != names:
                raise ModelInputError(
                    f"{self.name!r} wants the inputs {', '.join(sorted(names))}, "
                    f"got {', '.join(map(str, value)) or 'none'}"
                )
            given = [value[spec.name] for spec in specs]
        elif len(specs) == 1:
            given = [value]
        else:
            raise ModelInputError(
                f"{self.name!r} has {len(specs)} inputs: pass a dict with {', '.join(s.name for s in specs)}"
            )
        arrays = [self._array(spec, item) for spec, item in zip(specs, given, strict=True)]
        single = [a.ndim == len(s.shape) - 1 and s.fits((1, *a.shape)) for a, s in zip(arrays, specs, strict=True)]
        if all(single):
            arrays = [array[None] for array in arrays]
        for spec, array in zip(specs, arrays, strict=True):
            if not spec.fits(array.shape):
                raise ModelInputError(f"{self.name!r} wants {spec.name} {spec}, got {describe(array)}")
        if len({array.shape[0] for array in arrays if array.ndim}) > 1 and len({s.shape[:1] for s in specs}) == 1:
            got = ", ".join(f"{spec.name} {describe(array)}" for spec, array in zip(specs, arrays, strict=True))
            raise ModelInputError(f"{self.name!r} wants inputs of one batch size, got {got}")
        return {spec.name: array for spec, array in zip(specs, arrays, strict=True)}, all(single)

    def _array(self, spec: TensorSpec, value: Any) -> Array:
        """Return `value` as an array of the spec's dtype; numbers in lists are cast, arrays only where it is exact."""
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ModelInputError(f"{self.name!r} wants {spec.name} {spec}, got lists of unequal length") from error
        wanted = dtype_of(spec)
        text = array.dtype.kind in "UO" and all(isinstance(item, str) for item in array.flat)
        if wanted == np.dtype(object) and text:
            return array.astype(object)
        if array.dtype == wanted and wanted != np.dtype(object):
            return native(array)
        numbers = array.dtype.kind in "biuf" and wanted.kind in "biuf"
        if not numbers or (array.dtype.kind == "f" and wanted.kind != "f"):
            raise ModelInputError(f"{self.name!r} wants {spec.name} {spec}, got {describe(array)}")
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(wanted)
            exact = _exact(array, cast)
        from_lists = not isinstance(value, np.ndarray) and wanted.kind == "f"
        overflow = wanted.kind == "f" and bool(np.any(np.isinf(cast) & np.isfinite(array)))
        if overflow or not (exact or from_lists):
            raise ModelInputError(
                f"{self.name!r} wants {spec.name} {spec}, got {describe(array)} whose values {wanted} cannot hold "
                f"exactly: cast it yourself with .astype('{wanted}')"
            )
        return cast

    def _facts(self) -> list[tuple[str, str]]:
        """The rows of the repr; a file that is not open yet stays closed."""
        if self._engine is None:
            return [("file", display(self.path)), ("state", "not opened yet")]
        rows = [("file", display(self.path)), ("device", self._engine.device)]
        rows += [(f"input {s.name}", str(s)) for s in self._engine.inputs]
        rows += [(f"output {s.name}", str(s)) for s in self._engine.outputs]
        return [*rows, ("labels", ", ".join(self._labels))] if self._labels else rows

    def __repr__(self) -> str:
        state = "not opened" if self._engine is None else self._engine.device
        return f"{type(self).__name__}({display(self.path)!r}, {state})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header(type(self).__name__, self.name) + html.table(("property", "value"), self._facts())
        return html.bundle(repr(self), shown)


def _exact(array: Array, cast: Array) -> bool:
    """Tell whether `cast` holds the very values of `array`."""
    if array.dtype.kind in "iu" and cast.dtype.kind == "f":
        # compared as they are, both would be rounded to float64 first
        beyond = float(np.iinfo(array.dtype).max) + 1
        return bool(np.all(cast < beyond)) and np.array_equal(cast.astype(array.dtype), array)
    return np.array_equal(cast, array, equal_nan=array.dtype.kind == "f")


def _metadata_labels(session: Session, path: Path) -> list[str] | None:
    """Return the class names of an ONNX file's metadata, a JSON list under `labels`, or None."""
    if "labels" not in session.metadata:
        return None
    try:
        labels = json.loads(session.metadata["labels"])
    except ValueError:
        labels = None
    if not isinstance(labels, list):
        raise ModelLoadError(f"{display(path)} has labels in its metadata that are not a JSON list")
    return [str(label) for label in labels]
