"""Sequential: one stage after the other."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.flow.model_fusion import fused
from conduit_lab.models.model import Model
from conduit_lab.runtime.rewriting.graph_fusion import FusionReport


class Sequential(Stage):
    """One stage after the other: each takes what the one before gave.

    `fusion` tells what became of neighbouring models, for a sequence that `fused` made.
    """

    def __init__(self, *stages: Any, name: str = "sequence") -> None:
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name
        self.fusion: tuple[FusionReport, ...] = ()

    def run(self, value: Any) -> Any:
        """Hand `value` through all stages; between two models of one device it stays there."""
        for stage, following in zip_longest(self.stages, self.stages[1:]):
            if isinstance(stage, Model) and isinstance(following, Model):
                value = stage.hand_on(value, following)
            else:
                value = stage(value)
        return value

    def fused(self, sample: Any, *more: Any) -> Sequential:
        """Return this sequence with neighbouring ONNX models as one, where that is equal and
        measured faster.

        Each sample is what the sequence takes; equality is seen to on all of them, speed on the
        first. A fused graph lies beside the first of its models as `a+b.onnx`, is a `Model` like
        any other, and is used again while they stay the same. Models with labels stay apart from
        what follows, since they give predictions. What was fused, what was not and why is in
        `.fusion`.
        """
        stages, report = fused(self.stages, (sample, *more))
        sequence = Sequential(*stages, name=self.name)
        sequence.fusion = report
        return sequence
