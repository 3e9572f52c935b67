"""The five ways to compose stages, each a stage itself."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from itertools import zip_longest
from typing import Any

import numpy as np

from conduit_lab.core import trace
from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.flow.fusion import fused
from conduit_lab.models.model import Model
from conduit_lab.models.prediction import Prediction, Predictions
from conduit_lab.runtime.fusion import Fusion

log = logging.getLogger("conduit_lab")


class Sequence(Stage):
    """One stage after the other: each takes what the one before gave.

    `fusion` tells what became of neighbouring models, for a sequence that `fused` made.
    """

    def __init__(self, *stages: Any, name: str = "sequence") -> None:
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name
        self.fusion: tuple[Fusion, ...] = ()

    def run(self, value: Any) -> Any:
        """Hand `value` through all stages; between two models of one device it stays there."""
        for stage, following in zip_longest(self.stages, self.stages[1:]):
            if isinstance(stage, Model) and isinstance(following, Model):
                value = stage.hand_on(value, following)
            else:
                value = stage(value)
        return value

    def fused(self, sample: Any, *more: Any) -> Sequence:
        """Return this sequence with neighbouring ONNX models as one, where that is equal and measured faster.

        Each sample is what the sequence takes; equality is seen to on all of them, speed on the first. A fused graph
        lies beside the first of its models as `a+b.onnx`, is a `Model` like any other, and is used again while they
        stay the same. Models with labels stay apart from what follows, since they give predictions. What was fused,
        what was not and why is in `.fusion`.
        """
        stages, report = fused(self.stages, (sample, *more))
        sequence = Sequence(*stages, name=self.name)
        sequence.fusion = report
        return sequence


class Parallel(Stage):
    """Several stages on the same value; gives a dict of their results by name."""

    def __init__(self, stages: Mapping[str, Any], *, name: str = "parallel") -> None:
        self.stages = {key: as_stage(stage) for key, stage in stages.items()}
        self.name = name

    def run(self, value: Any) -> dict[str, Any]:
        """Return each stage's result under its name."""
        return {key: stage(value) for key, stage in self.stages.items()}


class Ensemble(Stage):
    """Several models on the same value; `combine` makes one answer of the list of theirs."""

    def __init__(
        self, members: SequenceOf[Any], combine: Callable[[list[Any]], Any], *, name: str = "ensemble"
    ) -> None:
        if not members:
            raise ValueError(f"ensemble {name!r} has no members: wanted at least one model")
        self.members = tuple(as_stage(member) for member in members)
        self.combine = as_stage(combine)
        self.name = name

    def run(self, value: Any) -> Any:
        """Ask every member, then combine."""
        return self.combine([member(value) for member in self.members])


class Fallback(Stage):
    """The first stage whose call succeeds; bad input is the caller's and is raised at once.

    Each failure is logged with its reason, and the trace holds the failed span beside the one that answered.
    """

    def __init__(self, *stages: Any, name: str = "fallback") -> None:
        if not stages:
            raise ValueError(f"fallback {name!r} has no stages: wanted at least one")
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name

    def run(self, value: Any) -> Any:
        """Return the answer of the first stage that gives one; raises the last stage's error if none does."""
        for stage in self.stages[:-1]:
            try:
                result = stage(value)
            except InputError:
                raise
            except Exception as error:
                log.warning("%s: %s failed, trying the next: %s", self.name, stage.name, error)
            else:
                return self._answered(stage, result)
        return self._answered(self.stages[-1], self.stages[-1](value))

    def _answered(self, stage: Stage, result: Any) -> Any:
        if stage is not self.stages[0]:
            trace.stood_in(stage.name)
        return result


class Route(Stage):
    """One of several stages, chosen by `choose(value)`, which returns its name."""

    def __init__(self, choose: Callable[[Any], str], stages: Mapping[str, Any], *, name: str = "route") -> None:
        self.choose = choose
        self.stages = {key: as_stage(stage) for key, stage in stages.items()}
        self.name = name

    def run(self, value: Any) -> Any:
        """Run the chosen stage; `KeyError` naming the choices for a name that is not there."""
        key = self.choose(value)
        if key not in self.stages:
            raise KeyError(f"route {self.name!r} has no {key!r}: it has {', '.join(self.stages)}")
        return self.stages[key](value)


def majority_vote(predictions: SequenceOf[Any]) -> Any:
    """Return the label that most predictions chose; a tie goes to the one with the higher mean score.

    Of `Prediction`s it gives a `Prediction` whose probabilities are the members' mean; of plain labels or class
    numbers it gives the most frequent one, the earliest at a tie. An array of scores counts as its best class.
    Raises `InputError` for an empty list, and for members that answered a whole batch.
    """
    if len(predictions) == 0:
        raise InputError("majority_vote got no predictions: wanted at least one")
    if any(isinstance(p, Predictions) or np.ndim(p) > 1 for p in predictions):
        raise InputError("majority_vote got answers to a whole batch: wanted one sample, or one vote a sample")
    if not all(isinstance(p, Prediction) for p in predictions):
        choices = [np.asarray(p).item() if np.ndim(p) == 0 else int(np.argmax(p)) for p in predictions]
        return Counter(choices).most_common(1)[0][0]
    labels = list(dict.fromkeys(label for p in predictions for label in p.probabilities))
    mean = {label: float(np.mean([p.probabilities.get(label, 0.0) for p in predictions])) for label in labels}
    votes = Counter(p.label for p in predictions)
    winner = max(votes, key=lambda label: (votes[label], mean.get(label, 0.0)))
    return Prediction(winner, mean[winner], mean)
