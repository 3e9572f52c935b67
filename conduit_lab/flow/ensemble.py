"""Ensemble: several models on the same value, combined into one answer."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from conduit_lab.core.errors import CompositionError, ConduitError, ModelRunError
from conduit_lab.core.spec import TensorSpec, ValueSpec
from conduit_lab.core.stage import Function, Stage, as_stage
from conduit_lab.core.text import first_line
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.flow.averages import average, maximum, minimum, rank_average, weighted
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.ensemble_answer import KINDS_WITH_MEMBERS, EnsembleArray, with_members
from conduit_lab.flow.fit import check_same_value, equal_outputs, shared_inputs
from conduit_lab.flow.member import Member, MemberFailure, holds_nan, unique_names
from conduit_lab.flow.stacking import stacking
from conduit_lab.flow.tasks import gather_stages
from conduit_lab.flow.votes import majority_vote

_log = logging.getLogger("conduit_lab")

# these take less time than waking a worker thread
_QUICK = (majority_vote, average, maximum, minimum, rank_average)
_ARRAYS = (np.ndarray, EnsembleArray)  # numeric answers, in which NaN may mean a missing value


class _Answers(NamedTuple):
    """The members that answered, their answers, the others' failures, the combining stage."""

    names: Sequence[str]
    answers: list[Any]
    left_out: dict[str, str]
    combine: Stage


class Ensemble(Combinator):
    """Several models on the same value; `combine` takes the list of their answers.

    `combine` is a function, or one of `majority_vote`, `average`, `weighted(weights)`, `maximum`,
    `minimum`, `rank_average` and `stacking(meta_model)`. If it returns a `Prediction`,
    `Predictions` or an array, the answer has `members`, the answers by model name, `agreement`, the
    fraction of them that chose the same label, and `left_out`.

    `timeout` is in seconds per member. With `min_members`, a member that raises, exceeds the
    timeout or returns NaN is left out; the reason is logged and recorded in `left_out` and in the
    trace. `InputError` is the caller's mistake and is raised immediately. Fewer answers than
    `min_members` raise a `ModelRunError` that names each failure. Without `min_members`, failures
    propagate.
    """

    arrangement = "parallel"

    def __init__(
        self,
        models: Sequence[Any],
        combine: Callable[[list[Any]], Any],
        *,
        name: str = "ensemble",
        min_members: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self.models = tuple(as_stage(model) for model in models)
        if not self.models:
            raise CompositionError(f"ensemble {name!r} expected at least one model, got none")
        self.combine = as_stage(combine)
        self.name = name
        self.min_members = min_members
        self.timeout = timeout
        self._check_arguments()
        self._names = unique_names(self.models)
        self._least = min_members or 1
        self._is_plain = min_members is None and timeout is None
        self._members = [
            Member(stage, own, timeout, records_failures=min_members is not None)
            for stage, own in zip(self.models, self._names, strict=True)
        ]
        function = self._function
        self._is_quick = isinstance(function, weighted) or any(function is q for q in _QUICK)
        self.check()

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that its models take."""
        return shared_inputs(self.models)

    @property
    def gives(self) -> ValueSpec:
        """The values returned by their combination; predictions combine to a prediction."""
        if self._is_quick and equal_outputs(self.models) == "Prediction":
            return "Prediction"
        return self.combine.gives

    def check(self) -> None:
        """Raise `CompositionError` if two models cannot take the same value."""
        check_same_value(type(self).__name__, self.models)

    @property
    def children(self) -> tuple[Stage, ...]:
        """The models, then the stage that combines their answers."""
        return *self.models, self.combine

    def run(self, value: Any) -> Any:
        """Call every model, then combine their answers."""
        if self._is_plain:
            given = self._all([model(value) for model in self.models])
        else:
            given = self._kept([member(value) for member in self._members])
        try:
            result = given.combine(given.answers)
        except Exception as error:
            self._combine_failed(error)
        return self._answer(result, given)

    async def arun(self, value: Any) -> Any:
        """Await all models concurrently, then combine their answers."""
        if self._is_plain:
            given = self._all(await gather_stages(self.models, value))
        else:
            given = self._kept(await gather_stages(self._members, value))
        try:
            if self._is_quick:
                result = given.combine(given.answers)
            else:
                result = await given.combine.acall(given.answers)
        except Exception as error:
            self._combine_failed(error)
        return self._answer(result, given)

    def _settings(self) -> dict[str, Any]:
        settings = {"min_members": self.min_members, "timeout": self.timeout}
        return {key: value for key, value in settings.items() if value is not None}

    @property
    def _function(self) -> Any:
        """The `combine` function, or None if it is a stage."""
        return self.combine.function if type(self.combine) is Function else None

    def _check_arguments(self) -> None:
        count, least, function = len(self.models), self.min_members, self._function
        problem = None
        if least is not None and not (isinstance(least, int) and 0 < least <= count):
            problem = f"expected min_members from 1 to {count}, its models, got {least!r}"
        elif self.timeout is not None and not (0 < self.timeout < math.inf):
            problem = f"expected a timeout above 0 seconds, got {self.timeout!r}"
        elif isinstance(function, weighted) and len(function.weights) != count:
            problem = f"has {count} models, but {function} has {len(function.weights)} weights"
        elif isinstance(self.combine, stacking) and least is not None and least < count:
            problem = (
                f"has {count} models and min_members={least}, but stacking takes the answers of "
                "all: leave min_members out"
            )
        if problem is not None:
            raise CompositionError(f"ensemble {self.name!r} {problem}")

    def _all(self, answers: list[Any]) -> _Answers:
        return _Answers(self._names, answers, {}, self.combine)

    def _kept(self, answers: list[Any]) -> _Answers:
        """Leave out failures; raise `ModelRunError` if too few answers remain."""
        failures = {
            name: answer
            for name, answer in zip(self._names, answers, strict=True)
            if isinstance(answer, MemberFailure)
        }
        if not failures:
            return self._all(answers)
        left_out = {name: failure.reason for name, failure in failures.items()}
        for name, reason in left_out.items():
            _log.warning("%s: left out %s: %s", self.name, name, reason)
        recorder.annotate(detail="; ".join(f"left out {n} ({r})" for n, r in left_out.items()))
        places = [place for place, name in enumerate(self._names) if name not in failures]
        combine, function = self.combine, self._function
        problem = f"got {len(places)} of {len(answers)}" if len(places) < self._least else ""
        if not problem and isinstance(function, weighted):
            weights = [function.weights[place] for place in places]
            if any(weights):
                combine = Function(weighted(weights), combine.name)
            else:
                problem = f"and those of {len(places)} have the weight 0"
        if problem:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            errors = [failure.error for failure in failures.values() if failure.error is not None]
            raise ModelRunError(
                f"ensemble {self.name!r} expected answers of at least "
                f"{figures.plural(self._least, 'member')}, {problem}; {reasons}"
            ) from (errors[-1] if errors else None)
        names = [self._names[place] for place in places]
        return _Answers(names, [answers[place] for place in places], left_out, combine)

    def _combine_failed(self, error: Exception) -> NoReturn:
        """Raise the error of the combine function, naming both it and the ensemble."""
        kind = type(error)
        if kind in (CompositionError, ModelRunError):
            raise kind(f"ensemble {self.name!r}: {error}") from error
        if isinstance(error, ConduitError | RecursionError):
            raise error
        raise CompositionError(
            f"ensemble {self.name!r}: its combine function {self.combine.name} failed: "
            f"{kind.__name__}: {first_line(error)}"
        ) from error

    def _answer(self, result: Any, given: _Answers) -> Any:
        if result is None:
            raise CompositionError(
                f"ensemble {self.name!r}: its combine function {self.combine.name} returned None: "
                "did you forget `return`?"
            )
        kind = type(result)
        if kind not in KINDS_WITH_MEMBERS:
            return result
        if not self._is_quick and kind not in _ARRAYS and holds_nan(result):
            raise CompositionError(
                f"ensemble {self.name!r}: its combine function {self.combine.name} returned NaN "
                "for a probability"
            )
        members = dict(zip(given.names, given.answers, strict=True))
        return with_members(result, members, given.left_out)
