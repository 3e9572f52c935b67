"""Model: one graph or weight file that predicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np

from conduit_lab.core.errors import InputError, ModelInputError, ModelLoadError
from conduit_lab.core.paths import display, resolve
from conduit_lab.core.spec import TensorSpec
from conduit_lab.core.stage import Stage
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.models.answers import Answers, classifier
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.inputs import Feeds, Inputs, is_frame
from conduit_lab.runtime.batching.model_batcher import ModelBatcher
from conduit_lab.runtime.checks.classes import class_labels
from conduit_lab.runtime.checks.content import identity
from conduit_lab.runtime.measuring.tuning import Tuned, read_tuning
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import Shared, sessions
from conduit_lab.runtime.sessions.session import Options
from conduit_lab.runtime.sessions.tensor import DeviceTensor


@dataclass(frozen=True)
class _Opened:
    """What one file gave; a run uses one of these from its begin to its end, so that a swap never mixes two."""

    shared: Shared
    layout: Layout
    joined: ModelBatcher
    inputs: Inputs
    answers: Answers
    tuned: Tuned | None


class Model(FileModel[_Opened]):
    """A model file: `.onnx` through onnxruntime, `.npz` through NumPy.

    `path` is absolute. The file is opened at `open()`, or at the first use. `labels` are class
    names in output order; by default the file's own (`labels` in the ONNX metadata as a JSON list,
    or the array of that name). `device`, `fallback` and `timeout` are those of `Options`.
    """

    kind = "predict"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        fallback: bool | None = None,
        labels: Sequence[str] | None = None,
        name: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(path, name or path.stem, Options(device, fallback, timeout=timeout))
        self.wanted_labels = list(labels) if labels is not None else None

    # Life

    def swap(self, path: str | Path) -> Model:
        """Go over to another file with the same inputs, while others are calling.

        Each answer is whole from the old file or from the new one. Raises `ModelLoadError` for a
        file that cannot take the place; then the old one goes on.
        """
        where = resolve(path)
        opened = self._open_at(where)
        old = self._opened
        if old is not None and _taken(opened.inputs.specs) != _taken(old.inputs.specs):
            wanted, got = (
                ", ".join(f"{s.name} {s}" for s in o.inputs.specs) for o in (old, opened)
            )
            raise ModelLoadError(
                f"{display(where)} cannot take the place of {self.name!r}: it wants {got}, not {wanted}"
            )
        with self._opening:
            self.path, self._opened = where, opened
        return self

    def reload(self) -> Model:
        """Go over to what the file holds now, as `swap` does."""
        return self.swap(self.path)

    def _open(self) -> _Opened:
        return self._open_at(self.path)

    def _open_at(self, path: Path) -> _Opened:
        tuned = read_tuning(path)
        shared = sessions.open(path, self.options if tuned is None else tuned.options(self.options))
        labels = self.wanted_labels
        if labels is None:
            labels = (
                shared.labels
                if shared.labels is not None
                else _metadata_labels(shared.metadata, path)
            )
        if labels is not None and len(set(labels)) < len(labels):
            raise ModelLoadError(
                f"{display(path)} has a label twice in {', '.join(labels)}: each class wants its own"
            )
        layout = Layout.of(shared, path)
        probabilities, own = classifier(shared.outputs)
        classes = class_labels(path, identity(path)) if own is not None else ()
        answers = Answers(self.name, shared.outputs, labels, layout.outputs, classes)
        shape = shared.outputs[probabilities].shape
        binary = (
            labels is not None and len(labels) == 2 and shape[-1:] == (1,)
        )  # one score says both
        if (
            labels is not None
            and shape
            and isinstance(shape[-1], int)
            and len(labels) != shape[-1]
            and not binary
        ):
            raise ModelLoadError(
                f"{display(path)} gives {shape[-1]} classes and there are {len(labels)} labels"
            )
        joined = ModelBatcher.of(shared, tuned.batch_size if tuned is not None else None, layout)
        return _Opened(
            shared, layout, joined, Inputs(self.name, shared.inputs, layout), answers, tuned
        )

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, the batch axis first."""
        return self.shared.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs, the batch axis first."""
        return self.shared.outputs

    @property
    def layout(self) -> Layout:
        """The batch axis of each input and output."""
        return self._parts().layout

    @property
    def labels(self) -> list[str] | None:
        """Class names in output order, or None."""
        labels = self._parts().answers.labels
        return None if labels is None else list(labels)

    # Work

    def predict(self, value: Any) -> Any:
        """Return the model's answer to one sample or a batch.

        `value` is an array or nested lists of the input's shape, with or without the batch axis, a
        dict of them by input name, or a DataFrame (one row a sample). A classifier gives a
        `Prediction` (`Predictions` for a batch), any other model its output array (a dict of arrays
        where it has several outputs), without the batch axis for one sample; an output that has
        none is handed back whole. For a DataFrame it is a DataFrame with the same index. Raises
        `ModelInputError` for what does not fit, `ModelRunError` for a run that fails.
        """
        return self(value)

    def run(self, value: Any) -> Any:
        """Predict without a trace; call `predict` instead."""
        if type(value) is DeviceTensor:
            return self._bound(value, keep=False)
        opened = self._parts()
        feeds = opened.inputs.feeds(value)
        if _is_table(value):
            return self._table(opened, feeds, value.index)
        return opened.answers.of(self._outputs(opened, feeds), feeds.single)

    def hand_on(self, value: Any, following: Stage) -> Any:
        """Predict for the next stage of a sequence: between two models of one device the answer stays there."""
        here = self._parts().shared.memory
        if (
            not here
            or not isinstance(following, Model)
            or following.shared.memory != here
            or self.labels is not None
        ):
            return self(value)
        if self.layout.outputs != (0,) or following.layout.inputs != (0,):
            return self(value)
        return self._traced(value, lambda: self._bound(value, keep=True))

    def _bound(self, value: Any, keep: bool) -> Any:
        """Predict on what may lie on the device, and leave the answer there where it is to be kept."""
        opened = self._parts()
        feeds = opened.inputs.feeds(value)
        outputs = opened.shared.run(feeds.arrays, feeds.rows, keep=keep)
        if not keep:
            return opened.answers.of(outputs, feeds.single)
        if isinstance(outputs[0], DeviceTensor):  # not where the CPU did it instead
            outputs[0].single = feeds.single
            return outputs[0]
        return outputs[0][0] if feeds.single else outputs[0]

    async def acall(self, value: Any) -> Any:
        """Predict from an event loop, which stays free; calls that come together are run together."""
        opened = self._opened
        if opened is None or not opened.shared.loaded:
            await anyio.to_thread.run_sync(self._load)
            opened = self._parts()
        feeds = opened.inputs.feeds(value)
        if not feeds.rows or 0 < opened.layout.size < feeds.rows or _is_table(value):
            return await anyio.to_thread.run_sync(self, value)
        if (
            recorder.current() is None
        ):  # the short way: each coroutine more costs a tenth of a small run
            outputs = await opened.joined.acall(
                (feeds.arrays, feeds.rows), feeds.rows, self.options.timeout
            )
            return opened.answers.of(outputs, feeds.single)
        with recorder.span(self.name, self.kind, self, value) as span:
            outputs = await opened.joined.arun(feeds.arrays, feeds.rows)
            result = opened.answers.of(outputs, feeds.single)
            if span is not None:
                span.output = result
            return result

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one answer for each sample, computed in one run where that changes none of them."""
        opened = self._parts()
        if len(values) < 2 or not opened.layout.joins or any(_is_table(value) for value in values):
            return super().batch(values)
        return self._traced(values, lambda: self._batch(opened, values))

    @staticmethod
    def _batch(opened: _Opened, values: Sequence[Any]) -> list[Any]:
        feeds = [opened.inputs.feeds(value) for value in values]
        outputs = opened.joined.run_batch([(feed.arrays, feed.rows) for feed in feeds])
        return [
            opened.answers.of(own, feed.single) for own, feed in zip(outputs, feeds, strict=True)
        ]

    def feeds(self, value: Any) -> Feeds:
        """Return what `predict` hands to the graph: arrays by input name, rows, whether it is one sample."""
        return self._parts().inputs.feeds(value)

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return what `predict` takes, `sample` repeated to `rows` or as it is, and the rows in it."""
        feeds = self.feeds(sample)
        if feeds.rows == 0:
            raise InputError(f"the sample for {self.name!r} is empty: wanted at least one row")
        layout = self.layout
        count = feeds.rows if rows is None else rows
        if count != feeds.rows and all(axis is None for axis in layout.inputs):
            raise InputError(
                f"{self.name!r} has no batch axis: measure it with batch_sizes=[1], got {count}"
            )
        arrays = layout.repeat(
            {name: np.asarray(array) for name, array in feeds.arrays.items()}, count
        )
        if feeds.single and count == 1:
            axes = zip(layout.names, layout.inputs, strict=True)
            arrays = {
                n: arrays[n] if axis is None else np.take(arrays[n], 0, axis) for n, axis in axes
            }
        # the one array itself is the short way into `predict`
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays, count

    def _outputs(self, opened: _Opened, feeds: Feeds) -> list[Any]:
        """Return the outputs; a graph whose batch axis is fixed takes its rows piece by piece."""
        layout = opened.layout
        if not feeds.rows and layout.splits:  # many graphs refuse an empty run
            return layout.split(opened.shared.run(layout.blank(feeds.arrays), 0, count=False), [0])[
                0
            ]
        if not layout.size or feeds.rows <= layout.size:
            return opened.joined.run(feeds.arrays, feeds.rows)
        if not layout.splits:
            whole = ", ".join(
                f"{spec.name} {spec}"
                for spec, axis in zip(opened.shared.outputs, layout.outputs, strict=True)
                if axis is None
            )
            raise ModelInputError(
                f"{self.name!r} takes {layout.size} at a time, since it gives {whole} for the whole run; got "
                f"{feeds.rows} rows. Pass them one by one: [model.predict(row) for row in rows]"
            )
        return layout.joined(
            [
                opened.joined.run(piece, layout.size)
                for piece in layout.pieces(feeds.arrays, layout.size)
            ]
        )

    def _table(self, opened: _Opened, feeds: Feeds, index: Any) -> Any:
        """Return the answers to a DataFrame, row by row where an output has no entry per row."""
        if opened.layout.splits or not feeds.rows:
            return opened.answers.frame(self._outputs(opened, feeds), index)
        alone = [opened.joined.run(piece, 1) for piece in opened.layout.pieces(feeds.arrays, 1)]
        outputs = opened.answers.rowwise(alone)
        if outputs is None:
            raise ModelInputError(
                f"{self.name!r} gives answers of different sizes, which are no columns: pass each row by itself, "
                f"[model.predict(row) for row in frame.to_numpy()]"
            )
        return opened.answers.frame(outputs, index)

    # Showing

    def _facts(self) -> list[tuple[str, str]]:
        opened = self._opened
        if opened is None:
            return [("file", display(self.path)), ("state", "not opened yet")]
        shared = opened.shared
        rows = [("file", f"{display(self.path)}, {figures.size(shared.size)}")]
        rows.append(("device", f"{shared.state} ({shared.note})" if shared.note else shared.state))
        rows += [(f"input {s.name}", str(s)) for s in shared.inputs]
        rows += [(f"output {s.name}", str(s)) for s in shared.outputs]
        if opened.answers.labels is not None:
            rows.append(("labels", ", ".join(opened.answers.labels)))
        if shared.graph is not None:
            rows.append(
                ("opset", f"{shared.graph.opset}, {shared.graph.producer}".removesuffix(", "))
            )
        if opened.tuned is not None:
            rows.append(("tuned", str(opened.tuned)))
        rows.append(("calls", shared.statistics()))
        return rows


def _is_table(value: Any) -> bool:
    return type(value) is not np.ndarray and is_frame(value)


def _taken(specs: tuple[TensorSpec, ...]) -> list[tuple[str, str, tuple[Any, ...]]]:
    """Return what a caller must know of the inputs: names of free axes do not matter."""
    return [
        (s.name, s.dtype, tuple(a if isinstance(a, int) else "?" for a in s.shape)) for s in specs
    ]


def _metadata_labels(metadata: dict[str, str], path: Path) -> list[str] | None:
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
