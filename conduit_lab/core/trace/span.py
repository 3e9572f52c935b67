"""Span: one call inside a recorded one; Recording and Values bound the spans and values kept."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal
from weakref import ReferenceType, ref

from conduit_lab.core.weight import weight

Kind = Literal["call", "predict", "encode", "search", "write", "load", "generate"]

VALUE_BYTES = 32 * 2**20  # of inputs and outputs that a lab keeps
FIRST_SPANS = 100  # of a trace; the newest of the others are kept too, the ones between are counted
NEWEST_SPANS = 900
CPU = "cpu: "  # begins the note of a span that ran on the CPU instead of its device

_SPAN_BYTES = 1024  # of a span beside its values
_USES = frozenset({"search", "write", "load"})


class Values:
    """The inputs and outputs of the newest spans, at most `limit` bytes; with 0 none are kept.

    It refers to spans weakly: when a trace is freed, its values are freed with it.
    """

    def __init__(self, limit: int = VALUE_BYTES) -> None:
        self.limit = limit
        self._bytes = 0
        self._kept: deque[tuple[ReferenceType[Span], int]] = deque()
        self._lock = threading.Lock()

    def add(self, span: Span) -> None:
        """Keep the values of `span`; drop those of the oldest spans above the limit."""
        if not self.limit:
            span.input = span.output = None
            return
        size = _SPAN_BYTES + weight(span.input) + weight(span.output)
        with self._lock:
            self._kept.append((ref(span), size))
            self._bytes += size
            while self._bytes > self.limit:
                oldest, size = self._kept.popleft()
                self._bytes -= size
                if (gone := oldest()) is not None:
                    gone.input = gone.output = None
                    gone.forgotten = True


class Recording:
    """One recorded call. Spans refer to it and it refers to them weakly, so there is no cycle.

    `begun` counts the spans, kept or dropped. `uses` and `stand_ins` are complete, however many
    spans were dropped.
    """

    def __init__(self, name: str, values: Values) -> None:
        self.name = name
        self.values = values
        self.origin = perf_counter()
        self.begun = 1
        self._uses: dict[tuple[str, Any], Any] = {}
        self._stand_ins: dict[tuple[str, str], None] = {}
        self._newest: deque[tuple[ReferenceType[Span], ReferenceType[Span]]] = deque()
        self._lock = threading.Lock()

    @property
    def uses(self) -> list[tuple[str, Any]]:
        """The stores searched or written to and the models loaded, each (kind, target) once."""
        return [(kind, target) for (kind, _), target in list(self._uses.items())]

    @property
    def stand_ins(self) -> list[tuple[str, str]]:
        """Each ("fallback", stage that answered) and ("device", stage that ran on the CPU) once."""
        return list(self._stand_ins)

    def stood_in(self, what: str, name: str) -> None:
        """Record that the stage `name` answered for another, or ran on the CPU."""
        self._stand_ins[what, name] = None

    def begin(self, parent: Span, span: Span) -> int:
        """Add a span to its parent; return its number."""
        with self._lock:
            self.begun += 1
            parent.children.append(span)
            return self.begun

    def end(self, parent: Span, span: Span, number: int) -> None:
        """Record the end of a span; above the limit, drop the span that ended the longest ago."""
        self.values.add(span)
        if span.target is not None and span.kind in _USES:
            path = getattr(span.target, "path", None) if span.kind == "load" else None
            self._uses.setdefault((span.kind, path or id(span.target)), span.target)
        if span.note.startswith(CPU):
            self.stood_in("device", span.name)
        if number <= FIRST_SPANS:
            return
        with self._lock:
            self._newest.append((ref(parent), ref(span)))
            if len(self._newest) <= NEWEST_SPANS:
                return
            above, oldest = (each() for each in self._newest.popleft())
            if above is not None and oldest is not None:
                with suppress(ValueError):
                    above.children.remove(oldest)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Span:
    """One call of a stage, store or loader, with its children.

    `start` and `duration` are seconds, `start` counted from the trace's begin. `target` is the live
    object that ran, `note` a remark for readers. `error` has the type and text of the exception
    that ended the span, without its traceback, which would keep the values of every frame.
    `forgotten` says that input and output were dropped to make room for those of newer spans.
    """

    name: str
    kind: Kind
    target: Any = None
    input: Any = None
    output: Any = None
    error: BaseException | None = None
    note: str = ""
    start: float = 0.0
    duration: float = 0.0
    forgotten: bool = False
    children: list[Span] = field(default_factory=list)
    recording: Recording = field(kw_only=True, repr=False)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """Yield (depth, span) for this span and all below it, in the order they began."""
        yield depth, self
        for child in list(self.children):
            yield from child.walk(depth + 1)
