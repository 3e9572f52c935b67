"""Trace: the spans of one call, as a tree and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.call_record import CallRecord
from conduit_lab.core.trace.rerun import rerun_trace, stale_spans
from conduit_lab.core.trace.source_hash import source_hash
from conduit_lab.core.trace.span import Span
from conduit_lab.core.views import figures
from conduit_lab.core.views.view import Table, View, Viewed


class Trace(Viewed):
    """The spans of one call; `trace["topic"]` is the first span of that name.

    Of many spans the first 100 and the newest 900 are kept; its last line counts the others.
    `record` is complete all the same.
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
        for span in self:
            if span.name == name:
                return span
        names = ", ".join(dict.fromkeys(span.name for span in self))
        raise KeyError(f"no span {name!r} in this trace; it has {names}")

    @property
    def parameters(self) -> Any:
        """The input of the call: for an endpoint the JSON value of its body or query."""
        return self.root.input

    @property
    def source_hash(self) -> str:
        """The hash of the function's code then, 32 hex digits; empty for a block."""
        return source_hash(self.root.revision)

    @property
    def stale(self) -> list[str]:
        """The names of the stages whose code or model has changed since, each once."""
        return list(dict.fromkeys(span.name for span in stale_spans(self.root)))

    def rerun(self, *, changed: Mapping[str, Any] | None = None) -> Trace:
        """Make the call again and return its trace.

        `changed` maps names of spans to the stages that take their place:
        `trace.rerun(changed={"topic": other})` runs `other` and what follows from its answer, and
        takes every other stage's output from this trace. Without it, stale stages and what follows
        from them run; where none is stale, all run. The code between stages always runs. Raises
        `TraceError` where values were dropped, and for a call that wrote to a store.
        """
        return Trace(rerun_trace(self.root, changed or {}))

    def _table(self) -> Table:
        rows = [
            (
                "  " * depth + span.name,
                span.kind,
                figures.seconds(span.start),
                figures.seconds(span.duration) if span.ended else "running",
                described(span.attributes),
            )
            for depth, span in self.root.walk()
        ]
        shown = 5 if any(row[-1] for row in rows) else 4
        columns = ("span", "kind", "start", "time", "attributes")[:shown]
        return Table(columns, [row[:shown] for row in rows], numeric=("start", "time"))

    def _gaps(self) -> list[str]:
        """Return the counts of dropped spans and values, in words."""
        spans = list(self)
        dropped = self.record.spans - len(spans)
        forgotten = sum(span.forgotten for span in spans)
        gaps = []
        if dropped:
            gaps.append(f"{figures.plural(dropped, 'more span')} between the first and the newest")
        if forgotten:
            gaps.append(f"input and output of {figures.plural(forgotten, 'span')} dropped")
        return gaps

    def _view(self) -> View:
        return View("Trace", self.root.name, self._gaps(), [self._table()])

    def __repr__(self) -> str:
        return "\n".join([self._table().plain(), *self._gaps()])


def described(attributes: Attributes) -> str:
    """Return a span's attributes as one line for readers."""
    parts: list[Any] = []
    if reason := attributes.get("device_fallback"):
        parts.append(f"cpu: {reason}")
    if stage := attributes.get("fallback"):
        parts.append(f"answered by {stage}")
    if attributes.get("cached"):
        parts.append("cached")
    parts += [attributes[key] for key in ("usage", "plan", "detail") if key in attributes]
    return " · ".join(map(str, parts))
