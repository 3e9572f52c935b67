"""Rerun: run a span alone, or a trace from its first changed stage on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from conduit_lab.core.errors import TraceError
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.root_span import begin_call
from conduit_lab.core.trace.source_hash import source_hash
from conduit_lab.core.trace.span import Span, outside
from conduit_lab.core.trace.trace_replay import Replay
from conduit_lab.core.trace.value_snapshot import snapshot
from conduit_lab.core.views import figures

KEPT = object()  # sentinel for the retained input


class _Callable(Protocol):
    """The part of a stage's interface used here."""

    name: str

    def __call__(self, value: Any) -> Any:
        """Run on one value."""


class _Repeatable(Protocol):
    """The target of a call that can be repeated."""

    def rerun(self, root: Span) -> Span:
        """Repeat the call of `root`, and return its span."""


def stale_spans(root: Span) -> list[Span]:
    """Return the spans whose code or weights have changed since, in order of start."""
    return [span for _, span in root.walk() if _is_stale(span)]


def _is_stale(span: Span) -> bool:
    then, now = span.revision, getattr(span.target, "revision", None)
    if then is None or now is None or then is now:  # None: the model is not open
        return False
    return source_hash(then) != source_hash(now)


def rerun_span(span: Span, value: Any = KEPT, model: Any = None) -> Span:
    """Run the stage of `span` alone, on another value or with another model; return its span.

    Raises `TraceError` for a span without a stage, or whose input was not retained.
    """
    stage = span.target if model is None else model
    if not callable(stage) or not (hasattr(stage, "arun") or model is not None):
        raise TraceError(
            f"{span.name!r} is not a call of a stage ({span.kind}), so it cannot run alone: "
            "rerun the span around it, or the trace"
        )
    if value is KEPT:
        if span.forgotten or not span.recording.keeps:
            raise TraceError(
                f"the input of {span.name!r} was dropped to make room for newer ones: "
                f"pass one, trace[{span.name!r}].rerun(value)"
            )
        value = snapshot(span.input)  # a copy, as the stage may change it
    arguments = span.attributes.get("arguments", ())
    root = begin_call(span.name, None, Values(), ())
    with outside(), root, root.child(span.name, span.kind, stage, value) as again:
        if hasattr(stage, "run_again"):
            again.output = stage.run_again(value, arguments)
            again.annotate(arguments=arguments)
        else:
            again.output = stage(value)
    return again


def rerun_trace(root: Span, changed: Mapping[str, Any]) -> Span:
    """Repeat the call of `root` with other stages, using the retained values before them.

    Only changed stages, and stages whose input changes as a result, run. Without `changed`, stages
    whose code or weights have changed since count as changed; if there are none, all run. Raises
    `TraceError` for a call that cannot be repeated, or that wrote to a store.
    """
    spans = [span for _, span in root.walk()][1:]
    if not root.recording.keeps:
        raise TraceError(f"the trace of {root.name!r} keeps no values: make the call on a Lab")
    if root.record.written:
        stores = ", ".join(str(getattr(s, "name", s)) for s in root.record.written.values())
        raise TraceError(
            f"{root.name!r} wrote to {stores}, and would write again: "
            "rerun one of its stages instead, trace[name].rerun()"
        )
    if (dropped := root.record.spans - len(spans) - 1) > 0:
        raise TraceError(
            f"the trace of {root.name!r} keeps {figures.plural(len(spans), 'span')} and dropped "
            f"{dropped}, so not all stages before a changed one are known: make the call again"
        )
    again = _repetition(root)
    stale = {span.name for span in stale_spans(root)}
    replay = Replay(spans if changed or stale else (), spans, changed, stale)
    with outside(), replay.active():
        return again()


def _repetition(root: Span) -> Callable[[], Span]:
    """Return a function that repeats the call of `root`."""
    if callable(getattr(root.target, "rerun", None)):
        target = cast(_Repeatable, root.target)
        if root.forgotten:
            raise TraceError(
                f"the input of {root.name!r} was dropped to make room for newer ones: "
                "make the call again"
            )
        return lambda: target.rerun(root)
    stages = [span for span in root.children if hasattr(span.target, "arun")]
    if len(stages) != 1 or len(root.children) != 1:
        raise TraceError(
            f"the block {root.name!r} cannot run again, only calls of a single stage can: "
            "rerun one of its stages, trace[name].rerun()"
        )
    (only,) = stages

    def again() -> Span:
        stage = cast(_Callable, only.target)
        with begin_call(root.name, None, Values(), ()) as repeated:
            stage(snapshot(only.input))
        return repeated

    return again
