"""Benchmark: how long a model takes, by batch size, or beside other models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core import figures, html
from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.models.comparison import Compared, Comparison, frame
from conduit_lab.models.difference import Difference, between
from conduit_lab.models.embedder import Embedder
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.runtime.timing import CALM, Call, Timing, longest, measure, ratio, seconds_of

BATCH_SIZES = (1, 8, 32, 128)
SECONDS = 2.0  # of measuring one model


class Benchmark(Sequence[Timing]):
    """How long one model takes: a `Timing` for each batch size."""

    def __init__(self, name: str, device: str, timings: Sequence[Timing], note: str = "") -> None:
        self.name = name
        self.device = device
        self.note = note
        self._timings = tuple(timings)

    def __getitem__(self, index: Any) -> Any:
        return self._timings[index]

    def __len__(self) -> int:
        return len(self._timings)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row a batch size; times in seconds. Needs the `[lab]` extra."""
        rows = [(t.rows, t.calls, t.p50, t.p90, t.p99, t.rate) for t in self]
        return frame(rows, ("batch", "calls", "p50", "p90", "p99", "samples_per_second"))

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (figures.count(t.rows), *map(figures.seconds, (t.p50, t.p90, t.p99)), t.samples, figures.count(t.calls))
            for t in self
        ]

    def __repr__(self) -> str:
        table = html.columns(_COLUMNS, self._rows(), _COLUMNS)
        return "\n".join([f"{self.name} on {self.device}", table, *filter(None, [self.note])])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header("Benchmark", self.name, filter(None, [self.device, self.note]))
        return html.bundle(repr(self), shown + html.table(_COLUMNS, self._rows(), _COLUMNS))


_COLUMNS = ("batch", "p50", "p90", "p99", "samples/s", "calls")


def benchmark(
    stage: Callable[[Any], Any], sample: Any, *, batch_sizes: Sequence[int] | None = None, seconds: float = SECONDS
) -> Benchmark:
    """Measure a model, an embedder, any stage or function on `sample`, repeated to each of `batch_sizes`.

    What is timed is what people call: `predict` with all that it does for its caller, `encode` with a text or a list
    of texts, and for any other stage a call, or `batch` for more samples. `seconds` is the time for all sizes
    together, which take turns; each is called three times at least, so slow models take longer. By default the sizes
    are 1, 8, 32 and 128, without those that would take too long. Raises what the model raises for a sample that does
    not fit.
    """
    stage = as_stage(stage)
    sizes = list(BATCH_SIZES if batch_sizes is None else batch_sizes)
    if not sizes or not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise InputError(f"batch_sizes are whole numbers from 1 on, got {sizes}")
    fixed = _fixed_rows(stage)
    if batch_sizes is None and fixed:
        sizes = list(dict.fromkeys(fixed * max(1, size // fixed) for size in sizes))
    calls: list[Call] = []
    left_out: list[str] = []
    for i, size in enumerate(sizes):
        call, _ = call_of(stage, sample, size)
        call()  # the first may open the file
        calls.append(call)
        following = sizes[i + 1] if i + 1 < len(sizes) else size
        if batch_sizes is None and longest(seconds_of(call) * following / size) > seconds:
            left_out = [str(rest) for rest in sizes[i + 1 :]]
            break
    timings = [Timing.of(size, turns) for size, turns in zip(sizes, measure(calls, seconds), strict=False)]
    note = f"without batches of {', '.join(left_out)}, which take long: ask for them with batch_sizes=" * bool(left_out)
    return Benchmark(stage.name, device_of(stage), timings, note)


def compare_models(
    models: Sequence[Callable[[Any], Any] | str | Path], sample: Any, *, seconds: float = SECONDS
) -> Comparison:
    """Measure models side by side on one `sample` or batch, in turn, and compare their answers with the first's.

    A model is what `load_model` returns or a path, or any stage or function; one file on two devices is two models.
    `seconds` is the time for each. Raises what a model raises for a sample that does not fit.
    """
    stages = [as_stage(load_model(model) if isinstance(model, str | Path) else model) for model in models]
    if not stages:
        raise InputError("compare_models wants at least one model, got none")
    made = [call_of(stage, sample) for stage in stages]
    outputs = [_outputs(call(), rows) for call, rows in made]
    turns = measure([call for call, _ in made], seconds * len(stages), calm=CALM)
    compared = []
    for i, (stage, label) in enumerate(zip(stages, _labels(stages), strict=True)):
        compared.append(
            Compared(
                label=label,
                path=getattr(stage, "path", None),
                size=stage.shared.size if isinstance(stage, Model | Embedder) else None,
                device=device_of(stage),
                timing=Timing.of(made[i][1], turns[i]),
                speed=ratio(turns[0], turns[i]),
                difference=_difference(stages[0], outputs[0], stage, outputs[i]) if i else None,
            )
        )
    return Comparison(compared)


def call_of(stage: Stage, sample: Any, rows: int | None = None) -> tuple[Call, int]:
    """Return a call of `stage` on `sample`, repeated to `rows` or as it is, and the rows in it."""
    if isinstance(stage, Model):
        value, rows = _batch(stage, sample, rows)
        return (lambda: stage.predict(value)), rows
    if isinstance(stage, Embedder):
        if isinstance(sample, str) and rows in (None, 1):
            return (lambda: stage.encode(sample)), 1
        given = [sample] if isinstance(sample, str) else list(sample)
        if not given:
            raise InputError(f"the sample for {stage.name!r} is empty: wanted at least one text")
        texts = list(islice(cycle(given), rows or len(given)))
        return (lambda: stage.encode(texts)), len(texts)
    if rows is None or rows == 1:
        return (lambda: stage(sample)), 1
    values = [sample] * rows
    return (lambda: stage.batch(values)), rows


def _batch(model: Model, sample: Any, rows: int | None) -> tuple[Any, int]:
    """Return what `predict` takes, `sample` repeated to `rows` or as it is, and the rows in it."""
    feeds = model.feeds(sample)
    if feeds.rows == 0:
        raise InputError(f"the sample for {model.name!r} is empty: wanted at least one row")
    arrays = {name: np.asarray(array) for name, array in feeds.arrays.items()}
    count = feeds.rows if rows is None else rows
    if feeds.single and count == 1:
        arrays = {name: array[0] for name, array in arrays.items()}
    else:
        arrays = {name: repeated(array, feeds.rows, count) for name, array in arrays.items()}
    # the one array itself is the short way into `predict`
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays, count


def repeated(array: Array, rows: int, count: int) -> Array:
    """Return the `rows` of an array again and again, up to `count`; as it is where it has no batch axis."""
    return np.resize(array, (count, *array.shape[1:])) if array.shape[:1] == (rows,) else array


def _fixed_rows(stage: Stage) -> int:
    """Return the rows that a graph fixes, or 0 where its batch axis is free."""
    axes = {spec.shape[0] for spec in stage.inputs if spec.shape} if isinstance(stage, Model) else set()
    fixed = axes.pop() if len(axes) == 1 else 0
    return fixed if isinstance(fixed, int) else 0


def device_of(stage: Stage) -> str:
    """Return what a stage runs on, such as `cpu`; `python` for one that has no model."""
    return str(getattr(stage, "device", "python"))


def _difference(first: Stage, old: list[Array], stage: Stage, new: list[Array]) -> Difference | None:
    """Return how far two models' answers are apart, or None for answers of different kinds."""
    labels = getattr(first, "labels", None)
    alike = labels == getattr(stage, "labels", None) and [a.shape for a in old] == [a.shape for a in new]
    if not alike or not old:
        return None
    vectors = isinstance(first, Embedder) and isinstance(stage, Embedder)
    return between(old, new, labelled=labels is not None, vectors=vectors)


def _outputs(answer: Any, rows: int) -> list[Array]:
    """Return an answer as arrays with one row a sample; none for one that is no array."""
    if isinstance(answer, Prediction):
        return [np.array([list(answer.probabilities.values())])]
    if isinstance(answer, Predictions):
        return [answer.probabilities]
    if isinstance(answer, Mapping):
        return [output for value in answer.values() for output in _outputs(value, rows)]
    if isinstance(answer, Sequence) and answer and all(isinstance(item, Prediction) for item in answer):
        return [np.array([list(item.probabilities.values()) for item in answer])]
    if not isinstance(answer, np.ndarray | np.generic | int | float):
        return []
    array = np.asarray(answer)
    return [array if array.shape[:1] == (rows,) else array[None]]


def _labels(stages: Sequence[Stage]) -> list[str]:
    """Return a name for each that no other has: its own, with the device, file or number that tells it from others."""
    names = [stage.name for stage in stages]
    for further in ([device_of(stage) for stage in stages], [_file(stage) for stage in stages]):
        there: dict[str, set[str]] = {}
        for name, more in zip(names, further, strict=True):
            there.setdefault(name, set()).add(more)
        names = [f"{name}, {more}" if len(there[name]) > 1 else name for name, more in zip(names, further, strict=True)]
    numbers = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [f"{name}, {i}" if names.count(name) > 1 else name for name, i in zip(names, numbers, strict=True)]


def _file(stage: Stage) -> str:
    path = getattr(stage, "path", None)
    return display(path) if isinstance(path, Path) else "no file"
