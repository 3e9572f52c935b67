"""Benchmark: the latency and throughput of a model, by batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conduit_lab.core import views
from conduit_lab.core.errors import InputError
from conduit_lab.core.frames import to_frame
from conduit_lab.core.progress import TIME, progress
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.runtime.measuring.timing import (
    NOISE_RATIO,
    TimedCall,
    Timing,
    format_speedup,
    measure,
    min_measure_seconds,
    seconds_of,
)

_BATCH_SIZES = (1, 8, 32, 128)
BENCHMARK_SECONDS = 2.0  # for one model


class Benchmark(Sequence[Timing], Viewed):
    """The timings of one model, one `Timing` per batch size."""

    def __init__(self, name: str, device: str, timings: Sequence[Timing], note: str = "") -> None:
        self.name = name
        self.device = device
        self.note = note
        self._timings = tuple(timings)

    def __getitem__(self, index: Any) -> Any:
        return self._timings[index]

    def __len__(self) -> int:
        return len(self._timings)

    @property
    def title(self) -> str:
        """The result as a sentence."""
        first, best = self[0], self._best
        rate = f"{self.name}: {best.samples} samples/s in calls with {_samples(best)}"
        if best is first:
            return f"{rate}, no fewer than with more" if len(self) > 1 else rate
        speed = format_speedup(best.rate / first.rate)
        return f"{rate}, {speed} times as many as with {first.rows}"

    @property
    def chart(self) -> views.BarChart:
        """One bar per batch size with its samples per second; the best size is highlighted."""
        rows = [(_samples(timing), timing.rate, f"{timing.samples} /s") for timing in self]
        return views.BarChart(
            self.title,
            rows,
            "samples_per_second",
            "batch",
            strong=[_samples(self._best)],
            subtitle="samples per second at the median time of a call",
        )

    @property
    def _best(self) -> Timing:
        """The smallest batch size with about the highest throughput."""
        most = max(timing.rate for timing in self)
        return next(timing for timing in self if timing.rate * NOISE_RATIO >= most)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row per batch size; times in seconds. Needs the `[lab]` extra."""
        rows = [(t.rows, t.calls, t.p50, t.p90, t.p99, t.rate) for t in self]
        return to_frame(rows, ("batch", "calls", "p50", "p90", "p99", "samples_per_second"))

    def _table(self) -> views.Table:
        rows = [
            (
                figures.count(t.rows),
                *map(figures.seconds, (t.p50, t.p90, t.p99)),
                t.samples,
                figures.count(t.calls),
            )
            for t in self
        ]
        return views.Table(
            _COLUMNS, rows, numeric=_COLUMNS, whole=f"benchmark[{views.html.MAX_ROWS}:]"
        )

    def _view(self) -> views.View:
        facts = [fact for fact in (self.device, self.note) if fact]
        return views.View(
            "Benchmark", self.title, facts, pieces=[views.Charted(self.chart, self._table())]
        )

    def __repr__(self) -> str:
        parts = [f"{self.name} on {self.device}", self._table().plain(), self.note]
        return "\n".join(filter(None, parts))


def _samples(timing: Timing) -> str:
    return figures.plural(timing.rows, "sample")


_COLUMNS = ("batch", "p50", "p90", "p99", "samples/s", "calls")


def benchmark(
    stage: Callable[[Any], Any],
    sample: Any,
    *,
    batch_sizes: Sequence[int] | None = None,
    seconds: float = BENCHMARK_SECONDS,
) -> Benchmark:
    """Measure a model, stage or function on `sample`, repeated to each of `batch_sizes`.

    The timed call is the public one: `predict` with its checks and conversions, `encode` with a
    text or a list of texts, for any other stage a call, or `batch` for several samples. `seconds`
    is the total time for all sizes, which are measured alternately; each is called at least three
    times, so slow models take longer. By default the sizes are 1, 8, 32 and 128, except sizes that
    would take too long. Raises the model's own error for a sample that does not fit.
    """
    stage = as_stage(stage)
    sizes = list(_BATCH_SIZES if batch_sizes is None else batch_sizes)
    if not sizes or not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise InputError(f"batch_sizes expects whole numbers of at least 1, got {sizes}")
    layout = getattr(stage, "layout", None)
    if batch_sizes is None and layout is not None:
        fixed = layout.size or 1
        sizes = list(dict.fromkeys(fixed * max(1, size // fixed) for size in sizes))
        sizes = sizes if any(axis is not None for axis in layout.inputs) else [1]
    calls: list[TimedCall] = []
    left_out: list[str] = []
    with progress(seconds, TIME, f"benchmark {stage.name}"):
        for i, size in enumerate(sizes):
            call, _ = call_of(stage, sample, size)
            call()  # the first call may open the file
            calls.append(call)
            following = sizes[i + 1] if i + 1 < len(sizes) else size
            if (
                batch_sizes is None
                and min_measure_seconds(seconds_of(call) * following / size) > seconds
            ):
                left_out = [str(rest) for rest in sizes[i + 1 :]]
                break
        turns = measure(calls, seconds)
    timings = [Timing.of(size, own) for size, own in zip(sizes, turns, strict=False)]
    note = (
        f"without batches of {', '.join(left_out)}, which take long: pass batch_sizes= for them"
        * bool(left_out)
    )
    return Benchmark(stage.name, device_of(stage), timings, note)


def call_of(stage: Stage, sample: Any, rows: int | None = None) -> tuple[TimedCall, int]:
    """Return a call of `stage` on `sample`, optionally repeated to `rows`, and its row count."""
    repeat = getattr(stage, "repeat", None)
    if repeat is not None:
        value, rows = repeat(sample, rows)
        return (lambda: stage(value)), rows
    if rows is None or rows == 1:
        return (lambda: stage(sample)), 1
    values = [sample] * rows
    return (lambda: stage.batch(values)), rows


def device_of(stage: Stage) -> str:
    """Return the device of a stage, such as `cpu`; `python` for a stage without a model."""
    return str(getattr(stage, "device", "python"))
