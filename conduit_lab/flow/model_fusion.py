"""Model fusion: merge consecutive ONNX models of a sequence, if the result is equal and faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.core.stage import Stage
from conduit_lab.models.model import Model
from conduit_lab.runtime.rewriting.graph_fusion import FusionReport, fuse, misfit


def fused(
    stages: Sequence[Stage], samples: Sequence[Any]
) -> tuple[list[Stage], tuple[FusionReport, ...]]:
    """Fuse consecutive models if possible; return the stages and a report per group of models.

    Stages before the last such group are called with the samples.
    """
    groups, reports = model_groups(stages)
    made: list[Stage] = []
    left = sum(len(group) > 1 for group in groups)
    for group in groups:
        model = None
        if len(group) > 1:
            left -= 1
            model, report = fuse_models(group, samples)
            reports.append(report)
        made += group if model is None else [model]
        for stage in group if left else ():
            samples = [stage(value) for value in samples]
    return made, tuple(reports)


def fuse_models(models: Sequence[Any], samples: Sequence[Any]) -> tuple[Model | None, FusionReport]:
    """Return the fused model, or None if it is not equal and faster, and a report.

    Each sample is an input of the first model.
    """
    first, last = models[0], models[-1]
    arrays = [_arrays(first, value) for value in samples]
    names = [model.name for model in models]
    report = fuse([model.path for model in models], names, arrays, first.options)
    if report.path is None:
        return None, report
    options = first.options
    model = Model(
        report.path,
        device=options.device,
        fallback=options.fallback,
        timeout=options.timeout,
        labels=last.given_labels,
        name=" + ".join(names),
    )
    return model.open(), report


def _arrays(model: Model, value: Any) -> dict[str, Array]:
    """Return the feeds of a graph for `value`, with at most as many rows as it takes at once."""
    arrays = {name: np.asarray(array) for name, array in model.feeds(value).arrays.items()}
    return model.layout.part(arrays, 0, model.layout.size) if model.layout.size else arrays


def model_groups(stages: Sequence[Stage]) -> tuple[list[list[Stage]], list[FusionReport]]:
    """Group models that may be fused; report why other consecutive models may not be.

    Any other stage becomes a group of one.
    """
    groups: list[list[Stage]] = []
    apart: list[FusionReport] = []
    for stage in stages:
        before = groups[-1][-1] if groups else None
        if isinstance(before, Model) and isinstance(stage, Model):
            reason = _apart(before, stage)
            if not reason:
                groups[-1].append(stage)
                continue
            apart.append(FusionReport((before.name, stage.name), None, reason))
        groups.append([stage])
    return groups, apart


def _apart(before: Model, after: Model) -> str:
    """Return the reason why two consecutive models cannot become one graph, or ""."""
    for model in (before, after):
        if model.path.suffix != ".onnx":
            return f"{model.name} is not an ONNX file"
    if before.options != after.options or before.device != after.device:
        return (
            f"they are opened differently: on {before.device} and {after.device}, or with other "
            "options"
        )
    if before.labels is not None:
        return f"{before.name} returns predictions"
    wrong = misfit(before.outputs, after.inputs)
    if not wrong and (before.layout.outputs != (0,) or after.layout.inputs != (0,)):
        return f"{before.name} does not return one row per sample"
    return wrong
