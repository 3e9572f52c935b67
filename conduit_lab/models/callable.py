"""CallableModel: a Python function as a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.stage import Function
from conduit_lab.core.views import html
from conduit_lab.models.benchmark import SECONDS, Benchmark, benchmark
from conduit_lab.models.prediction import Prediction


class CallableModel(Function):
    """A function of one argument that predicts; with `labels` its probabilities become
    `Prediction`s.

    The function takes what `predict` is given, as it is. Where there are labels it gives
    probabilities in their order, `[classes]` or `[n, classes]`.
    """

    kind = "predict"
    device = "python"
    held = None  # no file, so nothing that could be shared or evicted

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
        """Return what the function gives; `ModelRunError` where that does not fit the labels."""
        return self(value)

    def run(self, value: Any) -> Any:
        """Call the function without a trace; call `predict` instead."""
        result = self.function(value)
        if self.labels is None:
            return result
        rows = np.asarray(result)
        if rows.ndim not in (1, 2) or rows.shape[-1] != len(self.labels) or rows.dtype.kind != "f":
            raise ModelRunError(
                f"{self.name!r} gave {rows.dtype} {list(rows.shape)}: wanted {len(self.labels)} probabilities, "
                "one for each label"
            )
        if rows.ndim == 1:
            return Prediction.from_array(rows, self.labels)
        return [Prediction.from_array(row, self.labels) for row in rows]

    def benchmark(
        self, sample: Any, *, batch_sizes: Sequence[int] | None = None, seconds: float = SECONDS
    ) -> Benchmark:
        """Measure `predict` on `sample`; see `conduit_lab.models.benchmark`."""
        return benchmark(self, sample, batch_sizes=batch_sizes, seconds=seconds)

    def open(self) -> CallableModel:
        """Do nothing: a function is always there."""
        return self

    def __repr__(self) -> str:
        return f"CallableModel({self.name!r}, python)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = [("device", "python")] + (
            [("labels", ", ".join(self.labels))] if self.labels else []
        )
        return html.bundle(
            repr(self),
            html.header("CallableModel", self.name) + html.table(("property", "value"), rows),
        )
