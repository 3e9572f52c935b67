"""`tune`: find the fastest device, threads, graph level and batch size on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.progress import TIME, progress
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.subject import GraphInputs, GraphModel, graph_of, subject
from conduit_lab.models.measure.tuning_report import Tuning
from conduit_lab.models.measure.tuning_search import TuningSearch
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.measuring.timing import NOISE_RATIO, Timing
from conduit_lab.runtime.measuring.tuning import Tuned

TUNING_SECONDS = 10.0


def tune(
    model: GraphModel | str | Path, sample: Any = None, *, seconds: float = TUNING_SECONDS
) -> Tuning:
    """Find the fastest device, threads per run, graph level and batch size on this machine.

    Each setting is measured alternately with the best one so far, on `sample` (a sample or batch,
    or texts for a text model; by default dummy inputs), and kept only if it is more than 5 % faster
    with the same answers. The winner is measured again against onnxruntime's own choice. `seconds`
    is the total time; settings skipped for lack of time are reported. TensorRT is not tried, since
    its build takes minutes: load the model with device="tensorrt" instead.

    The model is not changed: `save()` writes the choice beside its file, where `load_model` reads
    it. An invalid sample raises the model's own error, and a model without dummy inputs raises
    `ModelInputError`.
    """
    end = perf_counter() + seconds
    chosen: Any = load_model(model, lazy=True) if isinstance(model, str | Path) else model
    if not isinstance(chosen, Model | Embedder | Classifier):
        raise TypeError(
            "tune expects a model of a file, an embedder, a text or token classifier, or a path, "
            f"got {type(chosen).__name__}"
        )
    opened = chosen.held is not None
    try:
        pieces, rows, chunk = _pieces(chosen, sample)
        path = graph_of(chosen)
        layout = chosen.layout if isinstance(chosen, Model) else None
    finally:
        if not opened:
            chosen.unload()
    asked = replace(chosen.options, threads=0, graph_level="all")
    batches: list[Timing] = []
    with progress(seconds, TIME, f"tune {chosen.name}") as job:
        search = TuningSearch(path, pieces, end, job)
        options, session, speed = search.climb(asked, seconds)
        if layout is not None and chunk == 0:
            job.phase = "batch sizes"
            batches = search.batches(session, layout, seconds)
    best = Tuned(
        asked=asked.device,
        device=options.device,
        runs_on=session.device,
        threads=options.threads,
        graph_level=options.graph_level,
        batch_size=_smallest(batches) if batches else chunk or None,
    )
    return Tuning(chosen.name, path, rows, best, speed, tuple(search.trials), tuple(batches))


def _pieces(model: GraphModel, sample: Any) -> tuple[list[GraphInputs], int, int | None]:
    """Return the graph's input arrays for `sample`, its rows, and the rows that the graph fixes.

    The latter is 0 if the graph takes any number, and None if a text model chooses it or an input
    has no batch axis.
    """
    if sample is None:
        sample = _dummy_sample(model)
    chunk: int | None = None
    if isinstance(model, Model):
        feeds, layout = model.feeds(sample), model.layout
        arrays, rows = {name: np.asarray(array) for name, array in feeds.arrays.items()}, feeds.rows
        pieces = layout.pieces(arrays, layout.size or max(rows, 1))
        chunk = layout.size or (None if None in layout.inputs else 0)
    else:
        pieces = model.feeds(sample)
        rows = sum(len(next(iter(piece.values()))) for piece in pieces)
    if rows == 0:
        raise InputError(f"the sample for {model.name!r} is empty: expected at least one")
    return pieces, rows, chunk


def _dummy_sample(model: GraphModel) -> Any:
    if model.path.suffix == ".npz":
        return np.zeros((1, *map(int, model.inputs[0].shape[1:])), np.float32)
    return subject(model).dummy_samples("sample")


def _smallest(batches: Sequence[Timing]) -> int:
    """Return the smallest batch size with about the highest throughput."""
    most = max(timing.rate for timing in batches)
    return next(timing.rows for timing in batches if timing.rate * NOISE_RATIO >= most)
