"""Replay: answer a repeated call from an earlier trace, except for the changed stages."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from conduit_lab.core.equality import identical
from conduit_lab.core.errors import TraceError
from conduit_lab.core.nearest import nearest
from conduit_lab.core.trace.span import Kind, Span
from conduit_lab.core.trace.value_snapshot import snapshot

_replaying: ContextVar[Replay | None] = ContextVar("conduit_lab_replay", default=None)

replaying = _replaying.get  # the replay for the next outermost call, or None


class Replay:
    """The retained values of a trace, and replacement stages by span name.

    A call whose name, input and arguments equal those of a `kept` span returns that span's output.
    Every other call runs: those of changed or stale stages, of enclosing stages, and of stages
    whose input differs. Raises `TraceError` for a changed name without a span.
    """

    def __init__(
        self,
        kept: Sequence[Span],
        spans: Sequence[Span],
        changed: Mapping[str, Any],
        stale: Collection[str] = (),
    ) -> None:
        names = list(dict.fromkeys(span.name for span in spans))
        for name in changed:
            if name not in names:
                near = nearest(name, names)
                meant = f"; did you mean {near!r}?" if near else ""
                raise TraceError(
                    f"no stage {name!r} in this trace to change: "
                    f"it has {', '.join(names) or 'none'}{meant}"
                )
            target = next(span.target for span in spans if span.name == name)
            if not hasattr(target, "arun") or hasattr(target, "rerun"):
                raise TraceError(
                    f"{name!r} is a {type(target).__name__}, which cannot be replaced in a rerun: "
                    "replace one of the stages called by it or after it"
                )
        self.changed = changed
        self._kept: dict[str, list[Span]] = {}  # guarded by _lock
        self._runs = {*changed, *stale}
        self._differs = False  # later calls may receive different inputs; guarded by _lock
        self._lock = threading.Lock()
        for span in kept:
            names_below = {inner.name for _, inner in span.walk()}
            if span.ended and span.error is None and names_below.isdisjoint(self._runs):
                self._kept.setdefault(span.name, []).append(span)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Apply this replay to the outermost call that starts inside the block."""
        token = _replaying.set(self)
        try:
            yield
        finally:
            _replaying.reset(token)

    def kept(
        self, here: Span, name: str, kind: Kind, target: Any, value: Any, arguments: Any = ()
    ) -> Span | None:
        """Return a new span with the retained output of this call; None if it has to run."""
        earlier = self._take(name, value, arguments)
        if earlier is None:
            return None
        with here.child(name, kind, target, value) as span:
            span.annotate(**earlier.attributes)
            span.annotate(kept=True)
            span.output = snapshot(earlier.output)  # a copy, as the caller may change it
        return span

    def _take(self, name: str, value: Any, arguments: Any) -> Span | None:
        with self._lock:
            spans = self._kept.get(name, [])
            for place, span in enumerate(spans):
                if span.forgotten:
                    continue
                same = span.given is value or identical(span.input, value)
                if same and identical(span.attributes.get("arguments", ()), arguments):
                    return spans.pop(place)
            if name in self._runs:
                self._differs = True
            elif not self._differs and any(span.forgotten for span in spans):
                raise TraceError(
                    f"the values of {name!r} were dropped to make room for newer ones, so the "
                    "trace cannot run again from there: make the call again, then rerun its trace"
                )
        return None
