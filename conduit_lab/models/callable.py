"""CallableModel: a Python function as a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conduit_lab.core import views
from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.stage import Function
from conduit_lab.core.views import figures
from conduit_lab.models.benchmark import BENCHMARK_SECONDS, Benchmark, benchmark
from conduit_lab.models.prediction import Prediction


class CallableModel(Function):
    """A function of one argument used as a model; `labels` turn its output into `Prediction`s.

    The function receives the argument of `predict` unchanged. With labels it must return
    probabilities in label order, float `[classes]` or `[n, classes]`.
    """

    kind = "predict"
    device = "python"
    remote = False
    held = None  # without a file there is no session to share or evict

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        labels: Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(function, name)
        self.labels = list(labels) if labels is not None else None

    def predict(self, value: Any) -> Any:
        """Call the function; raise `ModelRunError` for a result that does not fit the labels."""
        return self(value)

    def run(self, value: Any) -> Any:
        """Call the function without a trace; call `predict` instead."""
        result = self.function(value)
        if self.labels is None:
            return result
        rows = np.asarray(result)
        if rows.ndim not in (1, 2) or rows.shape[-1] != len(self.labels) or rows.dtype.kind != "f":
            raise ModelRunError(
                f"{self.name!r} gave {rows.dtype} {list(rows.shape)}: expected "
                f"{figures.plural(len(self.labels), 'probability')}, one per label"
            )
        if rows.ndim == 1:
            return Prediction.from_array(rows, self.labels)
        return [Prediction.from_array(row, self.labels) for row in rows]

    def benchmark(
        self,
        sample: Any,
        *,
        batch_sizes: Sequence[int] | None = None,
        seconds: float = BENCHMARK_SECONDS,
    ) -> Benchmark:
        """Measure `predict` on `sample`; see `conduit_lab.models.benchmark`."""
        return benchmark(self, sample, batch_sizes=batch_sizes, seconds=seconds)

    def open(self) -> CallableModel:
        """Do nothing: a function needs no opening."""
        return self

    def __repr__(self) -> str:
        return f"CallableModel({self.name!r}, python)"

    def _view(self) -> views.View:
        labels = [("labels", ", ".join(self.labels))] if self.labels else []
        rows = [("device", "python"), *labels]
        return views.View(
            "CallableModel", self.name, tables=[views.Table(("property", "value"), rows)]
        )
