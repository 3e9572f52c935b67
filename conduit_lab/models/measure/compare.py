"""`compare_models`: measure several models side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import display
from conduit_lab.core.progress import TIME, progress
from conduit_lab.core.spec import Array
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.views import figures
from conduit_lab.models.benchmark import BENCHMARK_SECONDS, call_of, device_of
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.comparison import Compared, Comparison
from conduit_lab.models.measure.difference import Difference, compare_outputs
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.models.text.entity import Entities
from conduit_lab.runtime.measuring.timing import (
    NOISE_RATIO,
    PAUSE_SECONDS,
    Timing,
    measure,
    speedup,
)


def compare_models(
    models: Sequence[Callable[[Any], Any] | str | Path],
    sample: Any,
    *,
    seconds: float = BENCHMARK_SECONDS,
) -> Comparison:
    """Measure models alternately on one `sample` or batch; compare their answers with the first's.

    A model is a result of `load_model`, a path, or any stage or function; one file on two devices
    counts as two models. `seconds` is the time per model. An invalid sample raises the model's own
    error.
    """
    stages = [
        as_stage(load_model(model) if isinstance(model, str | Path) else model) for model in models
    ]
    if not stages:
        raise InputError("compare_models expects at least one model, got none")
    whole = seconds * len(stages)
    with progress(whole, TIME, f"compare {figures.plural(len(stages), 'model')}"):
        calls = [call_of(stage, sample) for stage in stages]
        outputs = [_outputs(call(), rows) for call, rows in calls]
        turns = measure([call for call, _ in calls], whole, pause=PAUSE_SECONDS)
    timings = [Timing.of(rows, own) for (_, rows), own in zip(calls, turns, strict=True)]
    compared = []
    for i, (stage, label) in enumerate(zip(stages, _labels(stages), strict=True)):
        speed, by_round = timings[0].p50 / timings[i].p50, speedup(turns[0], turns[i])
        # from the reported figures, and from each round, which is less sensitive to load changes
        faster, slower = min(speed, by_round), max(speed, by_round)
        compared.append(
            Compared(
                label=label,
                path=getattr(stage, "path", None),
                size=getattr(stage, "size", None),
                device=device_of(stage),
                timing=timings[i],
                speed=speed,
                clear=faster > NOISE_RATIO or 1 / slower > NOISE_RATIO,
                difference=_difference(stages[0], outputs[0], stage, outputs[i]) if i else None,
            )
        )
    return Comparison(compared)


def _difference(
    first: Stage, old: list[Array], stage: Stage, new: list[Array]
) -> Difference | None:
    """Compare two models' answers; return None for answers of different kinds."""
    labels = getattr(first, "labels", None)
    same_shapes = [a.shape for a in old] == [a.shape for a in new]
    if labels != getattr(stage, "labels", None) or not same_shapes or not old:
        return None
    vectors = isinstance(first, Embedder) and isinstance(stage, Embedder)
    return compare_outputs(old, new, labelled=labels is not None, vectors=vectors)


def _outputs(answer: Any, rows: int) -> list[Array]:
    """Return an answer as arrays with one row per sample, or an empty list for other answers."""
    if isinstance(answer, Prediction):
        return [np.array([list(answer.probabilities.values())])]
    if isinstance(answer, Predictions):
        return [answer.probabilities]
    if isinstance(answer, Entities):
        return [np.array([_spans(answer)])]
    if isinstance(answer, Mapping):
        return [output for value in answer.values() for output in _outputs(value, rows)]
    if _is_list_of(answer, Prediction):
        return [np.array([list(item.probabilities.values()) for item in answer])]
    if _is_list_of(answer, Entities):
        return [np.array([_spans(item) for item in answer])]
    if not isinstance(answer, np.ndarray | np.generic | int | float):
        return []
    array = np.asarray(answer)
    return [array if array.shape[:1] == (rows,) else array[None]]


def _is_list_of(answer: Any, kind: type) -> bool:
    return (
        isinstance(answer, Sequence)
        and len(answer) > 0
        and all(isinstance(item, kind) for item in answer)
    )


def _spans(entities: Entities) -> str:
    return " ".join(f"{entity.start}-{entity.end} {entity.label}" for entity in entities)


def _labels(stages: Sequence[Stage]) -> list[str]:
    """Return a unique name for each: its own, with its device, file or number if needed."""
    names = [stage.name for stage in stages]
    for details in ([device_of(stage) for stage in stages], [_file(stage) for stage in stages]):
        by_name: dict[str, set[str]] = {}
        for name, detail in zip(names, details, strict=True):
            by_name.setdefault(name, set()).add(detail)
        names = [
            f"{name}, {detail}" if len(by_name[name]) > 1 else name
            for name, detail in zip(names, details, strict=True)
        ]
    numbers = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [
        f"{name}, {i}" if names.count(name) > 1 else name
        for name, i in zip(names, numbers, strict=True)
    ]


def _file(stage: Stage) -> str:
    path = getattr(stage, "path", None)
    return display(path) if isinstance(path, Path) else "no file"
