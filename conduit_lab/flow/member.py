"""Member: one model of an ensemble, whose failure may be recorded instead of raised."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Stage
from conduit_lab.core.text import first_line
from conduit_lab.flow.deadline import acall_within, call_within
from conduit_lab.models.prediction import Prediction, Predictions


@dataclass(frozen=True)
class MemberFailure:
    """The reason why a member has no answer; `error` is None if it returned NaN."""

    reason: str
    error: Exception | None = None


class Member(Stage):
    """A stage under its name in the ensemble, with at most `timeout` seconds per call.

    With `records_failures`, an error, a timeout or an answer with NaN becomes a `MemberFailure`;
    `InputError` and `RecursionError`, which are mistakes of the caller or the code, are raised.
    """

    def __init__(
        self, stage: Stage, name: str, timeout: float | None, *, records_failures: bool
    ) -> None:
        self.stage = stage
        self.name = name
        self.timeout = timeout
        self.records_failures = records_failures

    def run(self, value: Any) -> Any:
        """Call the stage, which records its own span."""
        try:
            return self._checked(call_within(self.stage, value, self.timeout))
        except (InputError, RecursionError):
            raise
        except Exception as error:
            return self._failure(error)

    async def arun(self, value: Any) -> Any:
        """Await the stage."""
        try:
            return self._checked(await acall_within(self.stage, value, self.timeout))
        except (InputError, RecursionError):
            raise
        except Exception as error:
            return self._failure(error)

    def __call__(self, value: Any) -> Any:
        """Call the stage without a span for the member."""
        return self.run(value)

    def acall(self, value: Any) -> Coroutine[Any, Any, Any]:
        """Await the stage without a span for the member."""
        return self.arun(value)

    def _checked(self, answer: Any) -> Any:
        return (
            MemberFailure("returned NaN") if self.records_failures and holds_nan(answer) else answer
        )

    def _failure(self, error: Exception) -> MemberFailure:
        if not self.records_failures:
            raise error
        return MemberFailure(f"{type(error).__name__}: {first_line(error)}", error)


def unique_names(stages: Sequence[Stage]) -> list[str]:
    """Return unique names for the stages: `m1`, and `m1 (2)` for a duplicate."""
    names: list[str] = []
    for stage in stages:
        name, number = stage.name, 1
        while name in names:
            number += 1
            name = f"{stage.name} ({number})"
        names.append(name)
    return names


def holds_nan(answer: Any) -> bool:
    """Return whether a prediction, a float, an array, or a list or dict of these contains NaN."""
    if isinstance(answer, Prediction):
        return math.isnan(answer.score) or bool(np.isnan(answer.to_array()).any())
    if isinstance(answer, Predictions):
        answer = answer.probabilities
    if isinstance(answer, np.ndarray | np.floating | float):
        return np.asarray(answer).dtype.kind == "f" and bool(np.isnan(answer).any())
    if isinstance(answer, Mapping):
        return any(map(holds_nan, answer.values()))
    return isinstance(answer, list | tuple) and any(map(holds_nan, answer))
