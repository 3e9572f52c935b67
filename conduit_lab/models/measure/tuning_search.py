"""TuningSearch: try one setting after another, each measured against the best so far."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from conduit_lab.core.errors import ConduitError
from conduit_lab.core.progress import Progress
from conduit_lab.models.measure.difference import compare_outputs
from conduit_lab.models.measure.subject import GraphInputs
from conduit_lab.models.measure.tuning_report import Trial
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.measuring.timing import (
    NOISE_RATIO,
    PAUSE_SECONDS,
    TimedCall,
    Timing,
    measure,
    median_seconds,
    min_measure_seconds,
    seconds_of,
    speedup,
)
from conduit_lab.runtime.measuring.tuning import GRAPH_LEVELS
from conduit_lab.runtime.rows.layout import Layout
from conduit_lab.runtime.sessions.npz import Dense
from conduit_lab.runtime.sessions.session import Options, Session

_BATCH_SIZES = tuple(2**i for i in range(11))  # up to 1024
# between answers; TF32 on a GPU has 1e-3
_MAX_RELATIVE_DIFFERENCE = 0.01

GraphSession = Session | Dense


class TuningSearch:
    """The search for one file, until `end`; holds at most two open sessions."""

    def __init__(self, path: Path, pieces: list[GraphInputs], end: float, job: Progress) -> None:
        self.path = path
        self.pieces = pieces
        self.end = end
        self.job = job
        self.trials: list[Trial] = []

    def climb(self, asked: Options, seconds: float) -> tuple[Options, GraphSession, float]:
        """Return the best options, a session with them, and its speed against the first one."""
        options, best = asked, self._open(asked)
        if isinstance(best, Dense):
            return options, best, 1.0
        settings = list(_settings(asked, best))
        share = 0.8 * seconds / (len(settings) + 2)  # the rest is for opening sessions
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
        if kept:
            return options, best, self.trials[-1].speed or 1.0
        self.trials = [
            replace(trial, kept=False, note="not confirmed") if trial.kept else trial
            for trial in self.trials
        ]
        return asked, best, 1.0

    def batches(self, session: GraphSession, layout: Layout, seconds: float) -> list[Timing]:
        """Return timings of the first piece, repeated to as many batch sizes as time allows."""
        (piece,) = self.pieces
        calls: list[TimedCall] = []
        for size in _BATCH_SIZES:
            call = _call(session, [layout.repeat(piece, size)])
            try:
                call()
            except ConduitError:  # out of memory, or the graph does fix its number of rows
                break
            calls.append(call)
            # the next size takes about half of it, all previous sizes the other half
            doubled = 4 * seconds_of(call)
            if min_measure_seconds(doubled) > max(self.end - perf_counter(), seconds / 10):
                break
        turns = measure(calls, seconds / 10) if calls else []
        return [Timing.of(size, turn) for size, turn in zip(_BATCH_SIZES, turns, strict=False)]

    def _duel(
        self,
        setting: str,
        best: GraphSession,
        options: Options,
        seconds: float,
        rival: GraphSession | None = None,
    ) -> tuple[GraphSession, bool]:
        """Measure the best session against one with `options`; return the better, and if it won."""
        self.job.phase = setting
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
        compared = (compare_outputs(a, b) for a, b in zip(before, after, strict=True))
        relative = max(difference.relative for difference in compared)
        if not relative <= _MAX_RELATIVE_DIFFERENCE:
            note = f"other answers: relative difference {relative:.2g}"
            self.trials.append(Trial(setting, note=note))
            return best, False
        turns = measure([old, new], seconds, pause=PAUSE_SECONDS)
        slow, fast = map(median_seconds, turns)
        speed = slow / fast
        kept = min(speed, speedup(*turns)) > NOISE_RATIO  # both overall and round by round
        note = "not round by round" if speed > NOISE_RATIO and not kept else ""
        self.trials.append(Trial(setting, slow, fast, speed, kept, note))
        return (rival, True) if kept else (best, False)

    def _open(self, options: Options) -> GraphSession:
        return Dense(self.path) if self.path.suffix == ".npz" else Session(self.path, options)


def _settings(asked: Options, default: Session) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the settings to try, one dimension after another: a name and the changed options."""
    if asked.device == "auto":
        for device in _other_devices(default.device):
            yield f"device {device}", {"device": device, "fallback": False}
    threads = 1
    while threads < _cores():  # all cores are onnxruntime's own choice
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


def _call(session: GraphSession, pieces: Sequence[GraphInputs]) -> TimedCall:
    return lambda: [session.run(piece) for piece in pieces]
