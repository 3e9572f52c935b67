"""Parallel: apply several stages to the same value."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from queue import SimpleQueue
from time import perf_counter, thread_time
from typing import Any

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.spec import ValueSpec
from conduit_lab.core.stage import Stage, as_stage
from conduit_lab.core.streams.ownership import CallScope
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.span import abandon_spans, current
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.fit import named_outputs
from conduit_lab.flow.tasks import gather_stages
from conduit_lab.flow.thread_plan import ThreadDecision, ThreadPlan
from conduit_lab.flow.workers import ThreadCall, start_calls

MAX_BUSY_THREADS = 64  # in the process; above this, members run one after the other


class Parallel(Combinator):
    """Several independent stages on the same value; returns a dict of their results by name.

    In an event loop they are awaited concurrently. A plain call runs them one after the other, or
    on threads if their measured times show that this is faster: `decision` has the choice, its
    reason and the times. The first failure is raised, and cancels the others with their streams and
    generations. Python cannot stop a thread: a function on one runs until it returns, and its
    result is dropped.
    """

    arrangement = "parallel"

    def __init__(self, stages: Mapping[str, Any], *, name: str = "parallel") -> None:
        self.stages = named_stages("parallel", name, stages)
        self.name = name
        self._plan = ThreadPlan(len(self.stages))
        self.check()

    @property
    def gives(self) -> ValueSpec:
        """The dict of the values that its stages return."""
        return named_outputs(self.stages)

    @property
    def children(self) -> tuple[Stage, ...]:
        """The stages, in the order of their names."""
        return tuple(self.stages.values())

    @property
    def decision(self) -> ThreadDecision:
        """Whether a plain call currently runs the members on threads, and why."""
        return self._plan.decision()

    def run(self, value: Any) -> dict[str, Any]:
        """Return each stage's result under its name."""
        plan = self._plan
        if plan.unmeasured <= 0:
            return self._measured(value, plan)
        plan.unmeasured -= 1
        results: dict[str, Any] = {}
        began = perf_counter()
        try:
            for name, stage in self.stages.items():
                results[name] = stage(value)
        except BaseException:
            _cancel(results)
            raise
        if perf_counter() - began > plan.worthwhile:
            plan.unmeasured = 0
        return results

    async def arun(self, value: Any) -> dict[str, Any]:
        """Await all stages concurrently; the first failure cancels the others."""
        results = await gather_stages(self.children, value)
        return dict(zip(self.stages, results, strict=True))

    def _measured(self, value: Any, plan: ThreadPlan) -> dict[str, Any]:
        if plan.threaded and (results := self._on_threads(value, plan)) is not None:
            return results
        results, seconds, cpu_seconds = {}, {}, 0.0
        try:
            for name, stage in self.stages.items():
                began, cpu_began = perf_counter(), thread_time()
                results[name] = stage(value)
                cpu_seconds += thread_time() - cpu_began
                seconds[name] = perf_counter() - began
        except BaseException:
            _cancel(results)
            raise
        plan.ran_in_order(seconds, cpu_seconds)
        return results

    def _on_threads(self, value: Any, plan: ThreadPlan) -> dict[str, Any] | None:
        """Run every stage on a thread; None, having run none, if there are too few threads."""
        began = perf_counter()
        ended: SimpleQueue[ThreadCall] = SimpleQueue()
        outer = current()
        with CallScope():
            calls = {
                name: ThreadCall(stage, value, ended.put) for name, stage in self.stages.items()
            }
            if not start_calls(list(calls.values()), limit=MAX_BUSY_THREADS):
                return None
            try:
                for _ in calls:
                    ended.get().outcome()
            except BaseException:
                for call in calls.values():
                    abandon_spans(call.context, outer, CancelledError())
                raise
        seconds = {name: call.seconds for name, call in calls.items()}
        plan.ran_on_threads(seconds, perf_counter() - began)
        return {name: call.result for name, call in calls.items()}


def named_stages(kind: str, name: str, stages: Any) -> dict[str, Stage]:
    """Return the stages of the combinator `name` by their names."""
    if not isinstance(stages, Mapping):
        raise CompositionError(
            f"{kind} {name!r} expected a dict of stages by name, got {type(stages).__name__}"
        )
    return {key: as_stage(stage) for key, stage in stages.items()}


def _cancel(results: dict[str, Any]) -> None:
    """Cancel the streams among the results of a failed run, which nobody will receive."""
    for result in results.values():
        if isinstance(result, Stream):
            result.cancel()
