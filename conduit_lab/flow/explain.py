"""Explanation: the choices made for each stage of a pipeline, and the measured times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from conduit_lab.core.stage import Stage
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.flow.cached import Cached
from conduit_lab.flow.combinator import Combinator
from conduit_lab.flow.compile import CompileStep
from conduit_lab.flow.lazy_parallel import LazyParallel
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.route_table import RouteTable
from conduit_lab.models.file_model import FileModel
from conduit_lab.runtime.batching.model_batcher import ModelBatcher
from conduit_lab.runtime.sessions.cache import Shared

_MAX_STAGES = 100
_MAX_DEPTH = 20


class StageChoice(NamedTuple):
    """The choice made for one stage, `depth` levels below the pipeline, and its reason.

    `seconds` is the duration of its last recorded call, None if there was none.
    """

    depth: int
    name: str
    choice: str
    reason: str
    seconds: float | None


class Explanation(Viewed):
    """A snapshot of a pipeline's choices: fused models, threads, batches, caches, times.

    `choices` has one entry per stage, `steps` those that `compile` tried. Creating and showing it
    runs no stage and opens no file.
    """

    def __init__(self, pipeline: Combinator) -> None:
        self.name = pipeline.name
        self.choices: list[StageChoice] = []
        self.steps: list[CompileStep] = []
        self.compiled = False
        for depth, stage in _below(pipeline):
            if isinstance(stage, Combinator) and stage.report is not None:
                self.compiled = True
                self.steps += stage.report
            self.choices.append(StageChoice(depth, stage.name, *_chosen(stage), stage.last_seconds))

    def _view(self) -> View:
        facts = ["not compiled: compile(samples) tries to make it faster"]
        if self.compiled:
            used = [step for step in self.steps if step.used]
            number = figures.plural(len(self.steps), "step")
            facts = [f"{len(used)} of {number} used" if self.steps else "nothing to compile"]
            if used and used[0].before is not None and used[-1].after is not None:
                before, after = figures.seconds(used[0].before), figures.seconds(used[-1].after)
                facts.insert(0, f"{after} per call compiled, {before} before")
        timed = any(each.seconds is not None for each in self.choices)
        rows = [
            (
                "\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}" * each.depth + each.name,
                each.choice,
                each.reason,
                "not recorded" if each.seconds is None else figures.seconds(each.seconds),
            )
            for each in self.choices
        ]
        columns = ("stage", "choice", "why", "last time")[: 4 if timed else 3]
        stages = Table(
            columns,
            [row[: len(columns)] for row in rows],
            numeric=("last time",),
            wide=("why",),
        )
        steps_table = Table(
            ("step", "of", "decision", "why"),
            [
                (step.kind, step.parts, "used" if step.used else "declined", step.reason)
                for step in self.steps
            ],
            wide=("why",),
        )
        return View("Explanation", self.name, facts, [stages, steps_table])


def _below(root: Stage) -> Iterator[tuple[int, Stage]]:
    """Yield (depth, stage) for a tree in order: at most 100 stages, 20 levels deep."""
    pending, shown = [(0, root)], 0
    while pending and shown < _MAX_STAGES:
        depth, stage = pending.pop()
        yield depth, stage
        shown += 1
        if depth < _MAX_DEPTH:
            inner = stage.parallel if isinstance(stage, LazyParallel) else stage
            pending += [(depth + 1, child) for child in reversed(inner.children)]


def _chosen(stage: Stage) -> tuple[str, str]:
    """Return the choice made for a stage and its reason; empty if there was no choice."""
    if isinstance(stage, FileModel):
        shared = stage.held
        return ("not opened", "") if shared is None else _chosen_for_model(shared)
    if isinstance(stage, Cached):
        return f"cache of at most {figures.size(stage.bytes)}", stage.statistics
    if isinstance(stage, RouteTable):
        return f"table of {figures.plural(len(stage.table), 'value')}", "other values use the route"
    if isinstance(stage, Parallel | LazyParallel):
        choice, reason = _threads(getattr(stage, "decision", None))
        if isinstance(stage, LazyParallel):
            choice = f"{', '.join(stage.lazy)} only when read; {choice}"
        return choice, reason
    return "", ""


def _threads(decision: Any) -> tuple[str, str]:
    if decision is None:
        return "not measured yet", ""
    times = ", ".join(f"{name} {figures.seconds(s)}" for name, s in decision.seconds.items())
    choice = "on threads" if decision.threaded else "one after the other"
    return choice, f"{decision.reason}: {times}" if times else decision.reason


def _chosen_for_model(shared: Shared) -> tuple[str, str]:
    """Describe how a model's concurrent calls are batched, and its runs so far."""
    batcher = shared.batcher() if shared.batcher is not None else None
    reasons = [shared.statistics() if shared.calls else "no runs yet"]
    if shared.calls:
        mean = shared.rows / shared.calls
        reasons.append(f"{mean:.3g} {'row' if mean == 1 else 'rows'} per run")
    if shared.note:
        reasons.append(shared.note)
    if not isinstance(batcher, ModelBatcher):
        return shared.state, ", ".join(reasons)
    if not batcher.coalesces:
        return f"{shared.state}, no shared batches", ", ".join(reasons)
    reasons += [
        f"{figures.plural(rows, 'row')} {figures.seconds(seconds)}"
        for rows, seconds in batcher.run_seconds.items()
    ]
    most = figures.plural(batcher.max_rows, "row")
    return f"{shared.state}, batches of at most {most}", ", ".join(reasons)
