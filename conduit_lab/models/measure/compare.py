"""`compare_models`: several models measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.models.benchmark import BENCHMARK_SECONDS, call_of, device_of
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.comparison import Compared, Comparison
from conduit_lab.models.measure.difference import Difference, between
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.entity import Entities
from conduit_lab.runtime.measuring.timing import PAUSE_SECONDS, Timing, measure, speedup


def compare_models(
    models: Sequence[Callable[[Any], Any] | str | Path],
    sample: Any,
    *,
    seconds: float = BENCHMARK_SECONDS,
) -> Comparison:
    """Measure models side by side on one `sample` or batch, in turn, and compare their answers with
    the first's.

    A model is what `load_model` returns or a path, or any stage or function; one file on two
    devices is two models. `seconds` is the time for each. Raises what a model raises for a sample
    that does not fit.
    """
    stages = [
        as_stage(load_model(model) if isinstance(model, str | Path) else model) for model in models
    ]
    if not stages:
        raise InputError("compare_models wants at least one model, got none")
    made = [call_of(stage, sample) for stage in stages]
    outputs = [_outputs(call(), rows) for call, rows in made]
    turns = measure([call for call, _ in made], seconds * len(stages), pause=PAUSE_SECONDS)
    compared = []
    for i, (stage, label) in enumerate(zip(stages, _labels(stages), strict=True)):
        compared.append(
            Compared(
                label=label,
                path=getattr(stage, "path", None),
                size=getattr(stage, "size", None),
                device=device_of(stage),
                timing=Timing.of(made[i][1], turns[i]),
                speed=speedup(turns[0], turns[i]),
                difference=_difference(stages[0], outputs[0], stage, outputs[i]) if i else None,
            )
        )
    return Comparison(compared)


def _difference(
    first: Stage, old: list[Array], stage: Stage, new: list[Array]
) -> Difference | None:
    """Return how far two models' answers are apart, or None for answers of different kinds."""
    labels = getattr(first, "labels", None)
    alike = labels == getattr(stage, "labels", None) and [a.shape for a in old] == [
        a.shape for a in new
    ]
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
    if isinstance(answer, Entities):
        return [np.array([_spans(answer)])]
    if isinstance(answer, Mapping):
        return [output for value in answer.values() for output in _outputs(value, rows)]
    if (
        isinstance(answer, Sequence)
        and answer
        and all(isinstance(item, Prediction) for item in answer)
    ):
        return [np.array([list(item.probabilities.values()) for item in answer])]
    if (
        isinstance(answer, Sequence)
        and answer
        and all(isinstance(item, Entities) for item in answer)
    ):
        return [np.array([_spans(item) for item in answer])]
    if not isinstance(answer, np.ndarray | np.generic | int | float):
        return []
    array = np.asarray(answer)
    return [array if array.shape[:1] == (rows,) else array[None]]


def _spans(entities: Entities) -> str:
    return " ".join(f"{entity.start}-{entity.end} {entity.label}" for entity in entities)


def _labels(stages: Sequence[Stage]) -> list[str]:
    """Return a name for each that no other has: its own, with the device, file or number that tells it from others."""
    names = [stage.name for stage in stages]
    for further in ([device_of(stage) for stage in stages], [_file(stage) for stage in stages]):
        there: dict[str, set[str]] = {}
        for name, more in zip(names, further, strict=True):
            there.setdefault(name, set()).add(more)
        names = [
            f"{name}, {more}" if len(there[name]) > 1 else name
            for name, more in zip(names, further, strict=True)
        ]
    numbers = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [
        f"{name}, {i}" if names.count(name) > 1 else name
        for name, i in zip(names, numbers, strict=True)
    ]


def _file(stage: Stage) -> str:
    path = getattr(stage, "path", None)
    return display(path) if isinstance(path, Path) else "no file"
