"""Trace: the spans of one call, as a tree and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from conduit_lab.core import views
from conduit_lab.core.frames import to_frame
from conduit_lab.core.nearest import nearest
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.edges import Edge, edges
from conduit_lab.core.trace.hints import hints
from conduit_lab.core.trace.rerun import rerun_trace, stale_spans
from conduit_lab.core.trace.source_hash import source_hash
from conduit_lab.core.trace.span import Span
from conduit_lab.core.trace.trace_graph import trace_mermaid
from conduit_lab.core.trace.trace_json import span_records, trace_json
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed

if TYPE_CHECKING:
    from conduit_lab.core.trace.trace_diff import TraceDiff


class Trace(Viewed):
    """The spans of one call; `trace["topic"]` is the first span with that name.

    If there are many spans, the first 100 and the newest 900 are retained; the others are only
    counted. `record` is always complete.
    """

    __slots__ = ("__weakref__", "root")

    def __init__(self, root: Span) -> None:
        self.root = root

    @property
    def record(self) -> CallRecord:
        """The stores, files and fallbacks of the call."""
        return self.root.record

    def __iter__(self) -> Iterator[Span]:
        return (span for _, span in self.root.walk())

    def __getitem__(self, name: str) -> Span:
        return self.spans(name)[0]

    @property
    def parameters(self) -> Any:
        """The input of the call: for an endpoint, the JSON value of its body or query."""
        return self.root.input

    @property
    def source_hash(self) -> str:
        """The hash of the function's code at that time, 32 hex digits; empty for a block."""
        return source_hash(self.root.revision)

    @property
    def stale(self) -> list[str]:
        """The distinct names of stages whose code or model has changed since."""
        return list(dict.fromkeys(span.name for span in stale_spans(self.root)))

    def rerun(self, *, changed: Mapping[str, Any] | None = None) -> Trace:
        """Repeat the call and return its trace.

        `changed` maps span names to replacement stages: `trace.rerun(changed={"topic": other})`
        runs `other` and the stages after it, and takes all other outputs from this trace. Without
        it, stale stages and the stages after them run; if none is stale, all run. The code between
        stages always runs. Raises `TraceError` if values were dropped, or if the call wrote to a
        store.
        """
        return Trace(rerun_trace(self.root, changed or {}))

    def spans(self, name: str) -> list[Span]:
        """Return the spans with that name, in order of start; `KeyError` if there are none."""
        found = [span for span in self if span.name == name]
        if not found:
            names = self._ipython_key_completions_()
            near = nearest(str(name), names)
            meant = f"; did you mean {near!r}?" if near else ""
            raise KeyError(f"no span {name!r} in this trace; it has {', '.join(names)}{meant}")
        return found

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys(span.name for span in self))

    @property
    def edges(self) -> list[Edge]:
        """The edges of the data flow: which span received the output of which."""
        return edges(self.root)

    @property
    def hints(self) -> list[str]:
        """Sentences about possible speedups, with the call's own measured times."""
        return hints(self.root)

    def diff(self, other: Trace) -> TraceDiff:
        """Compare two traces: their times and answers, stage by stage."""
        from conduit_lab.core.trace.trace_diff import TraceDiff

        return TraceDiff(self.root, other.root)

    def to_pandas(self) -> Any:
        """Return a DataFrame with one row per span: position, times in seconds, facts, values."""
        return to_frame(span_records(self.root), purpose="Trace.to_pandas()")

    def to_mermaid(self) -> str:
        """Return a Mermaid flowchart of the data flow, with the stages' durations on the edges."""
        return trace_mermaid(self.root)

    def to_json(self) -> str:
        """Return JSON of at most 64 KiB: facts about the spans, with values only described."""
        return trace_json(self.root)

    def _states(self) -> list[str]:
        spans = list(self)
        states = []
        if stale := self.stale:
            names = ", ".join(stale[:3]) + (f" and {len(stale) - 3} more" if len(stale) > 3 else "")
            states.append(f"stale: {names} changed since")
        if dropped := self.record.spans - len(spans):
            states.append(f"{figures.plural(dropped, 'span')} dropped")
        if kept := sum(bool(span.attributes.get("kept")) for span in spans):
            states.append(f"{kept} kept")
        if forgotten := sum(span.forgotten for span in spans):
            states.append(f"values of {figures.plural(forgotten, 'span')} dropped")
        return states

    def _view(self) -> views.View:
        from conduit_lab.core.trace.trace_view import trace_view

        return trace_view(self.root, self._states())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = self._view()  # built once: for a running call, text and HTML show the same moment
        return view.bundle(view.plain())
