"""Model: one graph or weight file that predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np

from conduit_lab.core.errors import InputError, ModelInputError, ModelLoadError
from conduit_lab.core.frames import is_frame
from conduit_lab.core.paths import display, resolve
from conduit_lab.core.progress import counted, progress
from conduit_lab.core.spec import TensorSpec, ValueSpec
from conduit_lab.core.stage import Stage
from conduit_lab.core.trace.span import current
from conduit_lab.core.trace.tally import tallying
from conduit_lab.core.views import figures
from conduit_lab.models.answers import Answers, classifier_outputs, metadata_labels, with_batch
from conduit_lab.models.file_model import FileModel
from conduit_lab.models.inputs import Feeds, Inputs
from conduit_lab.runtime.batching.model_batcher import ModelBatcher
from conduit_lab.runtime.checks.classes import class_labels
from conduit_lab.runtime.measuring.tuning import Tuned, read_tuning
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.cache import Shared, sessions
from conduit_lab.runtime.sessions.session import Options
from conduit_lab.runtime.sessions.tensor import DeviceTensor

_BATCH = "batch"  # the argument of a span whose value is a list of inputs


@dataclass(frozen=True)
class _Opened:
    """One opened file. Each call holds one from start to finish, so a swap never mixes versions."""

    shared: Shared
    layout: Layout
    joined: ModelBatcher
    inputs: Inputs
    answers: Answers
    takes: tuple[TensorSpec, ...]  # the inputs with batch axes of any length
    tuned: Tuned | None
    hands_on: bool  # whether its output can stay on the device for the next model


class Model(FileModel[_Opened]):
    """A model file: `.onnx` run by onnxruntime or `.npz` run by NumPy.

    `path` is absolute. The file is opened by `open()` or on first use. `labels` are class
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
        self.given_labels = list(labels) if labels is not None else None

    # Life

    def swap(self, path: str | Path) -> Model:
        """Switch to another file with the same inputs, also under load.

        Each answer comes entirely from the old or the new file. Raises `ModelLoadError` for a file
        with other inputs; the old file then stays in use.
        """
        where = resolve(path)
        opened = self._open_at(where)
        old = self._opened
        if old is not None and _taken(opened.inputs.specs) != _taken(old.inputs.specs):
            expected, got = (
                ", ".join(f"{s.name} {s}" for s in o.inputs.specs) for o in (old, opened)
            )
            raise ModelLoadError(
                f"{display(where)} cannot replace {self.name!r}: expected {expected}, got {got}"
            )
        with self._opening:
            self.path = where
            self._hold(opened)
        return self

    def reload(self) -> Model:
        """Switch to the current content of the file, like `swap`."""
        return self.swap(self.path)

    def _open(self) -> _Opened:
        return self._open_at(self.path)

    def _open_at(self, path: Path) -> _Opened:
        tuned = read_tuning(path)
        shared = sessions.open(path, self.options if tuned is None else tuned.options(self.options))
        labels = self.given_labels
        if labels is None:
            labels = (
                shared.labels
                if shared.labels is not None
                else metadata_labels(shared.metadata, path)
            )
        if labels is not None and len(set(labels)) < len(labels):
            raise ModelLoadError(
                f"{display(path)} has a label twice in {', '.join(labels)}: expected one per class"
            )
        layout = Layout.of(shared, path)
        probabilities, own = classifier_outputs(shared.outputs)
        classes = class_labels(path) if own is not None else ()
        answers = Answers(self.name, shared.outputs, labels, layout.outputs, classes)
        shape = shared.outputs[probabilities].shape
        # a single score stands for both classes
        binary = labels is not None and len(labels) == 2 and shape[-1:] == (1,)
        if (
            labels is not None
            and shape
            and isinstance(shape[-1], int)
            and len(labels) != shape[-1]
            and not binary
        ):
            raise ModelLoadError(
                f"{display(path)} gives {figures.plural(shape[-1], 'class')}, got "
                f"{figures.plural(len(labels), 'label')}: expected one per class"
            )
        joined = ModelBatcher.of(shared, tuned.batch_size if tuned is not None else None, layout)
        inputs = Inputs(self.name, shared.inputs, layout)
        hands_on = path.suffix != ".npz" and labels is None and layout.outputs == (0,)
        takes = with_batch(shared.inputs, layout.inputs)
        return _Opened(shared, layout, joined, inputs, answers, takes, tuned, hands_on)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, the batch axis first."""
        return self.shared.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs, the batch axis first."""
        return self.shared.outputs

    def _takes(self, opened: _Opened) -> tuple[TensorSpec, ...]:
        return opened.takes

    def _gives(self, opened: _Opened) -> ValueSpec:
        return opened.answers.gives

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
        dict of them by input name, or a DataFrame (one row per sample). A classifier returns a
        `Prediction` (`Predictions` for a batch), any other model its output array (a dict of arrays
        for several outputs), without the batch axis for one sample; an output without a batch axis
        is returned whole. A DataFrame returns a DataFrame with the same index. Raises
        `ModelInputError` for an invalid value and `ModelRunError` for a failed run.
        """
        return self.run(value) if current() is None and tallying() is None else self(value)

    def run(self, value: Any) -> Any:
        """Predict without a trace; call `predict` instead."""
        opened = self._opened or self._parts()
        inputs, shared = opened.inputs, opened.shared
        # fast path: an array that needs no conversion, for a model that no other caller runs now
        if type(value) is np.ndarray and value.dtype is inputs.exact and not shared.active:
            shape = value.shape
            if shape == inputs.sample:
                return opened.answers.of(shared.run({inputs.only: value[None]}), True)
            if shape[1:] == inputs.sample and shape[0]:
                return opened.answers.of(shared.run({inputs.only: value}, shape[0]), False)
        if type(value) is DeviceTensor:
            return self._bound(value, keep=False)
        feeds = inputs.feeds(value)
        if _is_table(value):
            return self._table(opened, feeds, value.index)
        return opened.answers.of(self._outputs(opened, feeds), feeds.single)

    def hand_on(self, value: Any, following: Stage) -> Any:
        """Predict for the next stage; between two models on one device the answer stays there."""
        opened = self._opened or self._parts()
        if opened.hands_on and self._shares_device(following):
            return self._traced(value, lambda: self._bound(value, keep=True))
        return self.run(value) if current() is None and tallying() is None else self(value)

    async def ahand_on(self, value: Any, following: Stage) -> Any:
        """Predict for the next stage from an event loop, like `hand_on`."""
        if not (self._parts().hands_on and self._shares_device(following)):
            return await self.acall(value)
        return await anyio.to_thread.run_sync(self.hand_on, value, following)

    def _shares_device(self, following: Stage) -> bool:
        """Return whether `following` takes its input from the same device's memory."""
        memory = self._parts().shared.memory
        return (
            bool(memory)
            and isinstance(following, Model)
            and following.shared.memory == memory
            and following.layout.inputs == (0,)
        )

    def _bound(self, value: Any, keep: bool) -> Any:
        """Predict on values that may be on the device; `keep` leaves the answer there."""
        opened = self._parts()
        feeds = opened.inputs.feeds(value)
        outputs = opened.shared.run(feeds.arrays, feeds.rows, keep=keep)
        if not keep:
            return opened.answers.of(outputs, feeds.single)
        if isinstance(outputs[0], DeviceTensor):  # not after a fallback to the CPU
            outputs[0].single = feeds.single
            return outputs[0]
        return outputs[0][0] if feeds.single else outputs[0]

    async def arun(self, value: Any) -> Any:
        """Predict without blocking the event loop; concurrent calls are batched together."""
        opened = self._opened
        if opened is None or not opened.shared.loaded:
            await anyio.to_thread.run_sync(self._load)
            opened = self._parts()
        feeds = opened.inputs.feeds(value)
        is_whole = _is_table(value) or type(value) is DeviceTensor  # never batched with others
        if is_whole or not feeds.rows or 0 < opened.layout.size < feeds.rows:
            return await anyio.to_thread.run_sync(self.run, value)
        # each additional coroutine costs a tenth of a small run
        if current() is None and opened.joined.is_settled:
            outputs = await opened.joined.acall(
                (feeds.arrays, feeds.rows), feeds.rows, self.options.timeout
            )
        else:
            outputs = await opened.joined.arun(feeds.arrays, feeds.rows)
        return opened.answers.of(outputs, feeds.single)

    def submit(
        self, value: Any, done: Callable[[Any, BaseException | None], None], caller: int
    ) -> Callable[[], None] | None:
        """Predict like `acall`, but without a task: pass the answer or the error to `done`.

        A `caller` makes one call at a time; the call of the only caller is answered at once. Return
        the function that cancels the call, or None if it requires `acall`.
        """
        opened = self._opened
        if opened is None or not opened.shared.loaded or not opened.joined.is_settled:
            return None
        feeds = opened.inputs.feeds(value)
        if not feeds.rows or 0 < opened.layout.size < feeds.rows or _is_table(value):
            return None
        answer = partial(opened.answers.of, single=feeds.single)
        call, timeout = (feeds.arrays, feeds.rows), self.options.timeout
        return opened.joined.submit(call, timeout, answer, done, caller)

    def batch(self, values: Sequence[Any]) -> list[Any]:
        """Return one answer per sample, computed in one run if that does not change them."""
        opened = self._parts()
        if len(values) < 2 or not opened.layout.joins or any(_is_table(value) for value in values):
            return super().batch(values)
        return self._traced(values, lambda: self._batch(opened, values), _BATCH)

    def run_again(self, value: Any, arguments: Any) -> Any:
        """Predict again for the value of an earlier span, or for each value of a batch."""
        if arguments == _BATCH:
            return [self.run(each) for each in value]
        return self.run(value)

    @staticmethod
    def _batch(opened: _Opened, values: Sequence[Any]) -> list[Any]:
        feeds = [opened.inputs.feeds(value) for value in values]
        outputs = opened.joined.run_batch([(feed.arrays, feed.rows) for feed in feeds])
        return [
            opened.answers.of(own, feed.single) for own, feed in zip(outputs, feeds, strict=True)
        ]

    def feeds(self, value: Any) -> Feeds:
        """Return the feeds for `value`: arrays by input name, rows, whether it is one sample."""
        return self._parts().inputs.feeds(value)

    def repeat(self, sample: Any, rows: int | None = None) -> tuple[Any, int]:
        """Return `sample`, repeated to `rows` if given, and its number of rows."""
        feeds = self.feeds(sample)
        if feeds.rows == 0:
            raise InputError(f"the sample for {self.name!r} is empty: expected at least one row")
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
        # a bare array takes the fast path of `predict`
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays, count

    def _outputs(self, opened: _Opened, feeds: Feeds) -> list[Any]:
        """Return the outputs; a graph with a fixed batch axis runs piece by piece."""
        layout = opened.layout
        if not feeds.rows and layout.splits:  # many graphs reject an empty batch
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
                f"{self.name!r} takes {layout.size} at a time, since it gives {whole} for the "
                f"whole run; got {figures.plural(feeds.rows, 'row')}. Pass them one by one: "
                "[model.predict(row) for row in rows]"
            )
        pieces = layout.pieces(feeds.arrays, layout.size)
        with progress(len(pieces), "run", f"{self.name}.predict"):
            return layout.joined(
                [opened.joined.run(piece, layout.size) for piece in counted(pieces, "run")]
            )

    def _table(self, opened: _Opened, feeds: Feeds, index: Any) -> Any:
        """Return the answers to a DataFrame, row by row if an output has no entry per row."""
        if opened.layout.splits or not feeds.rows:
            return opened.answers.frame(self._outputs(opened, feeds), index)
        pieces = opened.layout.pieces(feeds.arrays, 1)
        with progress(len(pieces), "row", f"{self.name}.predict"):
            alone = [opened.joined.run(piece, 1) for piece in counted(pieces, "row")]
        outputs = opened.answers.rowwise(alone)
        if outputs is None:
            raise ModelInputError(
                f"{self.name!r} returns answers of different sizes, not columns: pass each "
                f"row separately, [model.predict(row) for row in frame.to_numpy()]"
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
    """Return the inputs as callers see them: names of free axes do not matter."""
    return [
        (s.name, s.dtype, tuple(a if isinstance(a, int) else "?" for a in s.shape)) for s in specs
    ]
