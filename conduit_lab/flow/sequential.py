"""Sequential: one stage after the other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import TensorSpec, ValueSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.fit import check_handover
from conduit_lab.flow.model_fusion import fused
from conduit_lab.runtime.rewriting.graph_fusion import FusionReport


class Sequential(Combinator):
    """One stage after the other: each takes the output of the previous one.

    Raises `CompositionError` if a stage cannot take that output: immediately if both specs are
    known, or else at the first value that does not fit.

    `fusion` reports on each group of consecutive models, for a sequence created by `fused`.
    """

    arrangement = "chain"

    def __init__(self, *stages: Any, name: str = "sequential") -> None:
        self.stages = tuple(as_stage(stage) for stage in stages)
        self.name = name
        self.fusion: tuple[FusionReport, ...] = ()
        self.check()

    def check(self) -> None:
        """Raise `CompositionError` if a stage cannot take the output of the previous one."""
        for stage, following in pairwise(self.stages):
            check_handover(type(self).__name__, stage, following)

    @property
    def takes(self) -> tuple[TensorSpec, ...] | None:
        """Specs of the values that the first stage takes."""
        return self.stages[0].takes if self.stages else None

    @property
    def gives(self) -> ValueSpec:
        """The values that the last stage returns."""
        return self.stages[-1].gives if self.stages else None

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in order."""
        return self.stages

    def run(self, value: Any) -> Any:
        """Pass `value` through all stages; between two models on one device it stays there."""
        try:
            for stage, following in pairwise(self.stages):
                value = stage.hand_on(value, following)
            return self.stages[-1](value) if self.stages else value
        except InputError:
            self.check()  # the models are now open: the composition may be wrong
            raise

    async def arun(self, value: Any) -> Any:
        """Await one stage after the other."""
        try:
            for stage, following in pairwise(self.stages):
                value = await stage.ahand_on(value, following)
            return await self.stages[-1].acall(value) if self.stages else value
        except InputError:
            self.check()
            raise

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        """Run all stages but the last, and return the last one's stream."""
        try:
            for stage, following in pairwise(self.stages):
                value = stage.hand_on(value, following)
            return self.stages[-1].stream(value) if self.stages else super().stream(value)
        except InputError:
            self.check()
            raise

    def fused(self, sample: Any, *more: Any) -> Sequential:
        """Return this sequence with consecutive ONNX models fused if that is equal and faster.

        Each sample is an input of the sequence; equality is checked on all of them, speed on the
        first. A fused graph is saved beside the first of its models as `a+b.onnx`, is a `Model`
        like any other, and is reused while they stay the same. Models with labels are not fused
        with the next stage, since they return predictions. `.fusion` reports each fusion, or the
        reason against it.
        """
        stages, report = fused(self.stages, (sample, *more))
        sequence = Sequential(*stages, name=self.name)
        sequence.fusion = report
        return sequence
