"""Compile a pipeline: equal answers in less time, as verified on samples."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.progress import STEP, progress
from conduit_lab.core.stage import Stage
from conduit_lab.core.text import first_line
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.recorder import record
from conduit_lab.core.trace.span import current
from conduit_lab.core.views import figures
from conduit_lab.flow.cached import Cached
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.lazy_parallel import LazyParallel, LazyResults
from conduit_lab.flow.model_fusion import fuse_models, model_groups
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.rebuild import Change, combinators, duplicate, rebuilt
from conduit_lab.flow.route import Route
from conduit_lab.flow.route_table import RouteTable, table_key
from conduit_lab.flow.same_results import same_results
from conduit_lab.flow.sequential import Sequential
from conduit_lab.models.model import Model
from conduit_lab.runtime.measuring.timing import Turns, in_turn

MAX_STEP_RATIO = 0.97  # time with a step divided by time without; a smaller gain is noise
MAX_TIMED_SAMPLES = 8
# Good–Turing: the share of values seen once estimates how often a new value occurs
MAX_SINGLE_SHARE = 0.5

StepKind = Literal["fusion", "unread results", "route table", "answers"]

_COMPILED = (LazyParallel, RouteTable)
_UNREACHED = "no sample reaches it"


@dataclass(frozen=True)
class CompileStep:
    """One step of `compile` on some `parts` of a pipeline: used, or declined for a reason.

    `before` and `after` are the median seconds per call of the pipeline without and with it, or of
    the models alone if fusing does not make these faster; None if not measured.
    """

    kind: StepKind
    parts: str
    used: bool
    reason: str
    before: float | None = None
    after: float | None = None

    def __repr__(self) -> str:
        return f"{self.kind}, {self.parts}: {'used' if self.used else 'declined'}, {self.reason}"


def compile_pipeline(pipeline: Combinator, samples: Iterable[Any]) -> Combinator:
    """Return a combinator with equal answers on `samples` that is measurably faster, or a copy.

    Consecutive models become one graph, members of a `Parallel` whose results no stage reads run
    only on demand, and a `Route` over few values becomes a lookup table. A step is used only if all
    answers stay equal and the pipeline becomes more than 3 % faster, measured alternately; `report`
    lists each step with its reason and times. Stages are called only with values from the samples,
    but more than once.

    Raises `InputError` for samples that are missing or that the pipeline cannot answer, and
    `CompositionError` inside a recorded call, since the recording would be timed too.
    """
    if current() is not None:
        raise CompositionError(
            f"compile() measures {pipeline.name!r} and cannot run inside a recorded call: "
            "compile it once, before the endpoint is called"
        )
    values = _checked(pipeline, samples)
    with progress(None, STEP, f"{pipeline.name}.compile"):
        plan = _Plan(pipeline, values)
        plan.search()
    compiled: Combinator = rebuilt(pipeline, plan.changes, _COMPILED)
    if compiled is pipeline:
        compiled = duplicate(pipeline)
    new = {(step.kind, step.parts) for step in plan.steps}
    earlier = [step for step in pipeline.report or () if (step.kind, step.parts) not in new]
    compiled.report = (*earlier, *plan.steps)
    return compiled


class _Probe(Stage):
    """A stage at its place in the pipeline, and the values that it receives."""

    def __init__(self, stage: Stage, seen: list[Any]) -> None:
        self.stage = stage
        self.name = stage.name
        self.seen = seen

    def run(self, value: Any) -> Any:
        self.seen.append(value)
        return self.stage(value)


class _ReadOnDemand(Stage):
    """A parallel that runs each stage when its result is read, and records which."""

    def __init__(self, parallel: Parallel, read: set[str]) -> None:
        self.parallel = parallel
        self.name = parallel.name
        self.read = read

    def run(self, value: Any) -> Any:
        def compute(name: str) -> Any:
            self.read.add(name)
            return self.parallel.stages[name](value)

        return LazyResults({}, list(self.parallel.stages), compute)


class _Plan:
    """The steps of one pipeline, tried one after the other; `changes` holds the accepted ones.

    Caches are bypassed in all calls: stages really run, and caches and counters do not change.
    """

    def __init__(self, pipeline: Combinator, samples: Sequence[Any]) -> None:
        self.changes: dict[int, Change] = {}
        self.steps: list[CompileStep] = []
        self._pipeline = pipeline
        self._nodes = combinators(pipeline, _COMPILED)
        self._uncached: dict[int, Change] = {
            id(node): lambda cached: cached.stage for node in self._nodes if type(node) is Cached
        }
        self._samples = samples
        self._needs_run = False
        self._best = self._with({})
        self._expected = [self._answer(number) for number in range(len(samples))]
        tried = [node for node in self._nodes if type(node) in (Sequential, Parallel, Route)]
        models = [
            stage
            for node in tried
            if isinstance(node, Sequential)
            for stage in node.stages
            if isinstance(stage, Model)
        ]
        self._inputs: dict[int, list[Any]] = {id(stage): [] for stage in (*tried, *models)}

    def search(self) -> None:
        """Try every step."""
        if not self._inputs:
            return
        reason = self._difference(
            self._with({key: _probe(inputs) for key, inputs in self._inputs.items()})
        )
        if reason:
            self._decline(
                "answers", self._pipeline.name, f"they differ from call to call: {reason}"
            )
            return
        for node in self._nodes:
            if type(node) is Parallel:
                self._leave_unread(node)
            elif type(node) is Route:
                self._look_up(node)
        for node in self._nodes:  # last, when its share of the remaining time is largest
            if type(node) is Sequential:
                self._fuse(node)

    # The steps

    def _fuse(self, sequence: Sequential) -> None:
        if not self._inputs[id(sequence)]:
            return
        groups, reports = model_groups(sequence.stages)
        places: list[int | Stage] = []  # unchanged stages by index, and fused ones
        fused: list[str] = []
        begin = 0
        for group in groups:
            model = None
            if len(group) > 1:
                model, report = fuse_models(group, self._inputs[id(group[0])])
                if model is None:
                    reports.append(report)
                else:
                    fused.append(model.name)
            places += range(begin, begin + len(group)) if model is None else [model]
            begin += len(group)
        for report in reports:
            self._decline("fusion", " + ".join(report.names), report.reason, report.times)
        if fused:
            self._try("fusion", "; ".join(fused), sequence, lambda new: _arranged(new, places))

    def _leave_unread(self, parallel: Parallel) -> None:
        kind: StepKind = "unread results"
        if not self._inputs[id(parallel)]:
            return self._decline(kind, parallel.name, _UNREACHED)
        read: set[str] = set()
        change: Change = lambda new: _ReadOnDemand(new, read)  # noqa: E731
        reason = self._difference(self._with({id(parallel): change}))
        if reason:
            reason = f"with stages run on demand, {reason}"
            return self._decline(kind, parallel.name, reason)
        lazy = [name for name in parallel.stages if name not in read]
        if not lazy:
            return self._decline(kind, parallel.name, "every result is read")
        parts = f"{', '.join(map(str, lazy))} of {parallel.name}"
        return self._try(
            kind, parts, parallel, lambda new: LazyParallel(new, lazy=lazy, name=new.name)
        )

    def _look_up(self, route: Route) -> None:
        kind: StepKind = "route table"
        values = self._inputs[id(route)]
        if not values:
            return self._decline(kind, route.name, _UNREACHED)
        plain = [value for value in values if table_key(value) is not None]
        table = {value: self._call(route.choose, value) for value in plain}
        others = [value for value in values if table_key(value) is None]
        if others:
            name = type(others[0]).__name__
            return self._decline(kind, route.name, f"a table has no key of the type {name}")
        counts = Counter(value for value in values if not _is_of_few(value))
        singles = sum(count == 1 for count in counts.values())
        if singles > MAX_SINGLE_SHARE * len(values):
            return self._decline(
                kind,
                route.name,
                f"{singles} of {len(values)} values occur once, so most calls may have new ones: "
                "pass samples in which values repeat, as in real calls",
            )
        parts = f"{figures.plural(len(table), 'value')} of {route.name}"
        return self._try(
            kind, parts, route, lambda new: RouteTable(new, table=table, name=new.name)
        )

    # Deciding

    def _with(self, changes: Mapping[int, Change]) -> Any:
        changes = {**self._uncached, **self.changes, **changes}
        return rebuilt(self._pipeline, changes, _COMPILED)

    def _try(self, kind: StepKind, parts: str, node: Stage, change: Change) -> None:
        """Apply the change if the answers stay equal and the pipeline becomes faster."""
        candidate, best = self._with({id(node): change}), self._best
        reason = self._difference(candidate)
        if reason:
            return self._decline(kind, parts, reason)
        samples = self._samples[:: -(-len(self._samples) // MAX_TIMED_SAMPLES)]
        turns = in_turn(
            lambda: [self._call(best, sample) for sample in samples],
            lambda: [self._call(candidate, sample) for sample in samples],
        )
        before, after = turns.before / len(samples), turns.after / len(samples)
        used = turns.ratio <= MAX_STEP_RATIO
        times = f"{figures.seconds(before)} per call before, {figures.seconds(after)} after"
        reason = times if used else f"not faster: {times}"
        self.steps.append(CompileStep(kind, parts, used, reason, before, after))
        if used:
            self._best = candidate
            self.changes[id(node)] = change
        return None

    def _decline(self, kind: StepKind, parts: str, reason: str, times: Turns | None = None) -> None:
        before, after = (None, None) if times is None else (times.before, times.after)
        self.steps.append(CompileStep(kind, parts, False, reason, before, after))

    def _call(self, pipeline: Any, sample: Any) -> Any:
        if not self._needs_run:
            return pipeline(sample)
        with record(self._pipeline.name, values=Values(0)):
            return pipeline(sample)

    def _answer(self, number: int) -> Any:
        """Return the pipeline's answer to a sample, in a run whose stages may use `run.values`."""
        name, sample = self._pipeline.name, self._samples[number]
        expected = f"compile() of {name!r} expected samples that it can answer, and sample {number}"
        try:
            try:
                answer = self._call(self._best, sample)
            except LookupError:
                if self._needs_run:
                    raise
                self._needs_run = True
                answer = self._call(self._best, sample)
        except Exception as error:
            raise InputError(
                f"{expected} raised {type(error).__name__}: {first_line(error)}. "
                f"Pass values as {name}(value) takes them"
            ) from error
        if inspect.iscoroutine(answer):
            answer.close()
            raise InputError(
                f"{expected} returned a coroutine: leave out the last stage, "
                "an `async def` function"
            )
        return answer

    def _difference(self, candidate: Any) -> str:
        """Return why the candidate cannot replace the pipeline, or ""."""
        for number, (sample, expected) in enumerate(
            zip(self._samples, self._expected, strict=True)
        ):
            try:
                got = self._call(candidate, sample)
            except Exception as error:
                return f"sample {number} raises {type(error).__name__}: {first_line(error)}"
            if not same_results(expected, got):
                return f"sample {number} has a different answer"
        return ""


def _probe(inputs: list[Any]) -> Change:
    return lambda stage: _Probe(stage, inputs)


def _is_of_few(value: Any) -> bool:
    """Return whether a value's type has few values, so that one seen once proves nothing."""
    return value is None or isinstance(value, bool | Enum)


def _arranged(sequence: Sequential, places: Sequence[int | Stage]) -> Sequential:
    stages = [sequence.stages[place] if isinstance(place, int) else place for place in places]
    return Sequential(*stages, name=sequence.name, **sequence._settings())


def _checked(pipeline: Combinator, samples: Any) -> list[Any]:
    example = f"{pipeline.name}.compile([value, other])"
    if isinstance(samples, str | bytes | Mapping) or not isinstance(samples, Iterable):
        raise InputError(
            f"compile() of {pipeline.name!r} expected a list of samples, got "
            f"{type(samples).__name__}: {example}"
        )
    values = list(samples)
    if not values:
        raise InputError(
            f"compile() of {pipeline.name!r} expected at least one sample, got none: {example}"
        )
    return values
