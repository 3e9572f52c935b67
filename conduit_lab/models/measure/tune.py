"""Tune: the device, threads, graph level and batch size that a model runs best with here, found by measuring."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from conduit_lab.core.errors import ConduitError, InputError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array
from conduit_lab.core.views import figures, html
from conduit_lab.models.load import load_model
from conduit_lab.models.measure.difference import between
from conduit_lab.models.measure.subject import graph_of, subject
from conduit_lab.models.model import Model
from conduit_lab.models.text.classifier import Classifier
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.measuring.timing import (
    NOISE_RATIO,
    PAUSE_SECONDS,
    TimedCall,
    Timing,
    format_speedup,
    measure,
    median_seconds,
    min_measure_seconds,
    seconds_of,
    speedup,
)
from conduit_lab.runtime.measuring.tuning import GRAPH_LEVELS, Tuned, write_tuning
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.npz import Dense
from conduit_lab.runtime.sessions.session import Options, Session

SECONDS = 10.0
BATCH_SIZES = tuple(2**i for i in range(11))  # up to 1024
# the largest relative difference of answers that a faster setting may have; TF32 on a GPU has 1e-3
TOLERANCE = 0.01

Engine = Session | Dense
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Trial:
    """One setting against the best so far: seconds of a call `before` and `after`, `speed` = how
    many times as fast.

    `kept` says whether it became the best. One that was not measured has the reason in `note`.
    """

    setting: str
    before: float | None = None
    after: float | None = None
    speed: float | None = None
    kept: bool = False
    note: str = ""


@dataclass(frozen=True)
class Tuning:
    """What `tune` found: `best`, its `trials`, and a timing for each batch size.

    `rows` are the samples that a trial ran on. `speed` is how many times as fast as onnxruntime's
    own choice the best setting is on them, measured once more at the end; 1 where that choice is
    the best.
    """

    name: str
    path: Path
    rows: int
    best: Tuned
    speed: float
    trials: tuple[Trial, ...]
    batches: tuple[Timing, ...]

    def save(self) -> Path:
        """Keep the choice beside the model file, where `load_model` finds it on this machine; return its path."""
        return write_tuning(self.path, self.best)

    @property
    def _verdict(self) -> str:
        if self.path.suffix == ".npz":
            return f"best: {self.best}"
        faster = (
            "no setting is clearly faster than"
            if self.speed == 1
            else f"{format_speedup(self.speed)} times as fast as"
        )
        return f"best: {self.best}; {faster} onnxruntime's own choice on {_samples(self.rows)}"

    def _trials(self) -> list[tuple[str, str, str, str, str]]:
        return [
            (
                trial.setting,
                "" if trial.before is None else figures.seconds(trial.before),
                "" if trial.after is None else figures.seconds(trial.after),
                "" if trial.speed is None else f"{format_speedup(trial.speed)} ×",
                "kept" if trial.kept else trial.note,
            )
            for trial in self.trials
        ]

    def _batches(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                figures.count(timing.rows),
                figures.seconds(timing.p50),
                timing.samples,
                "kept" if timing.rows == self.best.batch_size else "",
            )
            for timing in self.batches
        ]

    def __repr__(self) -> str:
        parts = [display(self.path)]
        if self.trials:
            parts.append(html.columns(_TRIALS, self._trials(), _TRIALS[1:4]))
        if self.batches:
            parts.append(html.columns(_BATCHES, self._batches(), _BATCHES[:3]))
        return "\n".join([*parts, self._verdict])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header("Tuning", display(self.path), [self._verdict])
        if self.trials:
            shown += html.table(_TRIALS, self._trials(), _TRIALS[1:4])
        if self.batches:
            shown += html.table(_BATCHES, self._batches(), _BATCHES[:3])
        return html.bundle(repr(self), shown)


_TRIALS = ("setting", "before", "after", "speed", "")
_BATCHES = ("batch", "time", "samples/s", "")


def tune(
    model: Model | Embedder | Classifier | str | Path,
    sample: Any = None,
    *,
    seconds: float = SECONDS,
) -> Tuning:
    """Find the device, the threads inside of a run, the graph level and the batch size that are
    fastest here.

    One after the other is measured against the best so far, in turn, on `sample` (or batch; a list
    of texts for a model of texts; by default made-up inputs), and is kept only where it is more
    than 5 % faster and gives the same answers. What won is measured once more against onnxruntime's
    own choice. `seconds` is the time for all; what there was no time for says so. TensorRT is not
    tried by itself, since it builds for minutes: load the model with device="tensorrt" for it.

    The model stays as it is: `save()` keeps the choice beside its file, and `load_model` takes it
    from there. Raises what the model raises for a sample that does not fit, and `ModelInputError`
    where the inputs cannot be made up.
    """
    end = perf_counter() + seconds
    chosen = load_model(model, lazy=True) if isinstance(model, str | Path) else model
    if not isinstance(chosen, Model | Embedder | Classifier):
        raise TypeError(
            "tune takes a model of a file, an embedder, a text or token classifier, or a path, got "
            f"{type(chosen).__name__}"
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
    search = _Search(path, pieces, end)
    options, engine, speed = search.climb(asked, seconds)
    batches = search.batches(engine, layout, seconds) if layout is not None and chunk == 0 else []
    best = Tuned(
        asked=asked.device,
        device=options.device,
        runs_on=engine.device,
        threads=options.threads,
        graph_level=options.graph_level,
        batch_size=_smallest(batches) if batches else chunk or None,
    )
    return Tuning(chosen.name, path, rows, best, speed, tuple(search.trials), tuple(batches))


class _Search:
    """The search for one file, until `end`; opens two engines at a time and keeps neither."""

    def __init__(self, path: Path, pieces: list[Feeds], end: float) -> None:
        self.path = path
        self.pieces = pieces
        self.end = end
        self.trials: list[Trial] = []

    def climb(self, asked: Options, seconds: float) -> tuple[Options, Engine, float]:
        """Return the best options, an engine with them, and how many times as fast as the first it is."""
        options, best = asked, self._open(asked)
        if isinstance(best, Dense):
            return options, best, 1.0
        settings = list(_settings(asked, best))
        share = 0.8 * seconds / (len(settings) + 2)  # the rest is for opening
        for setting, change in settings:
            if "threads" in change and best.device != "cpu":
                continue
            candidate = replace(options, **change)
            best, kept = self._duel(setting, best, candidate, share)
            options = candidate if kept else options
        if options == asked:
            return options, best, 1.0
        chosen, best = best, self._open(asked)
        best, kept = self._duel("all of it, once more", best, options, share, chosen)
        return (options, best, self.trials[-1].speed or 1.0) if kept else (asked, best, 1.0)

    def batches(self, engine: Engine, layout: Layout, seconds: float) -> list[Timing]:
        """Return the timings of one run of the first piece, repeated to each batch size that there is time for."""
        (piece,) = self.pieces
        calls: list[TimedCall] = []
        for size in BATCH_SIZES:
            call = _call(engine, [layout.repeat(piece, size)])
            try:
                call()
            except (
                ConduitError
            ):  # it does not fit the memory, or the graph wants its own number of rows after all
                break
            calls.append(call)
            doubled = 4 * seconds_of(
                call
            )  # the next size takes about half of it, and all before the other half
            if min_measure_seconds(doubled) > max(self.end - perf_counter(), seconds / 10):
                break
        turns = measure(calls, seconds / 10) if calls else []
        return [Timing.of(size, turn) for size, turn in zip(BATCH_SIZES, turns, strict=False)]

    def _duel(
        self,
        setting: str,
        best: Engine,
        options: Options,
        seconds: float,
        rival: Engine | None = None,
    ) -> tuple[Engine, bool]:
        """Measure the best engine against one with `options`; return the better one, and whether it is that."""
        old = _call(best, self.pieces)
        before = old()
        if min_measure_seconds(seconds_of(old), 2) > self.end - perf_counter():
            self.trials.append(Trial(setting, note="no time left"))
            return best, False
        try:
            rival = rival or self._open(options)
            new = _call(rival, self.pieces)
            after = new()
        except ConduitError as error:
            self.trials.append(Trial(setting, note=f"failed: {error}"))
            return best, False
        apart = max(between(a, b).relative for a, b in zip(before, after, strict=True))
        if not apart <= TOLERANCE:
            self.trials.append(
                Trial(setting, note=f"other answers: relative difference {apart:.2g}")
            )
            return best, False
        turns = measure([old, new], seconds, pause=PAUSE_SECONDS)
        slow, fast = map(median_seconds, turns)
        speed = speedup(*turns)
        kept = min(speed, slow / fast) > NOISE_RATIO  # both round by round and over all
        self.trials.append(Trial(setting, slow, fast, speed, kept))
        return (rival, True) if kept else (best, False)

    def _open(self, options: Options) -> Engine:
        return Dense(self.path) if self.path.suffix == ".npz" else Session(self.path, options)


def _settings(asked: Options, default: Session) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is tried, one dimension after the other: words for it, and what it changes."""
    if asked.device == "auto":
        for device in _other_devices(default.device):
            yield f"device {device}", {"device": device, "fallback": False}
    threads = 1
    while threads < _cores():  # as many as there are is what onnxruntime takes
        yield f"threads {threads}", {"threads": threads}
        threads *= 2
    for level in GRAPH_LEVELS[1:]:
        yield f"graph level {level}", {"graph_level": level}


def _other_devices(used: str) -> list[str]:
    return [
        row.name for row in devices.devices() if row.present and row.name not in (used, "tensorrt")
    ]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pieces(
    model: Model | Embedder | Classifier, sample: Any
) -> tuple[list[Feeds], int, int | None]:
    """Return what the graph runs on for `sample`, the samples in it, and the rows that the graph
    fixes.

    These are 0 where any number will do, and None where a model of texts chooses them or an input
    has no batch axis.
    """
    if sample is None:
        sample = _made_up(model)
    if not isinstance(model, Model):
        pieces = model.feeds(sample)
        rows, chunk = sum(len(next(iter(piece.values()))) for piece in pieces), None
    else:
        feeds, layout = model.feeds(sample), model.layout
        arrays, rows = {name: np.asarray(array) for name, array in feeds.arrays.items()}, feeds.rows
        pieces = layout.pieces(arrays, layout.size or max(rows, 1))
        chunk = layout.size or (None if None in layout.inputs else 0)
    if rows == 0:
        raise InputError(f"the sample for {model.name!r} is empty: wanted at least one")
    return pieces, rows, chunk


def _made_up(model: Model | Embedder | Classifier) -> Any:
    if model.path.suffix == ".npz":
        return np.zeros((1, *map(int, model.inputs[0].shape[1:])), np.float32)
    return subject(model).made_up("sample")


def _call(engine: Engine, pieces: Sequence[Feeds]) -> TimedCall:
    return lambda: [engine.run(piece) for piece in pieces]


def _smallest(batches: Sequence[Timing]) -> int:
    """Return the smallest batch size that gives about as many samples a second as any."""
    most = max(timing.rate for timing in batches)
    return next(timing.rows for timing in batches if timing.rate * NOISE_RATIO >= most)


def _samples(rows: int) -> str:
    return "1 sample" if rows == 1 else f"{figures.count(rows)} samples"
