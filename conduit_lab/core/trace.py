"""What ran inside one call: spans with timings and values.

Nothing is recorded, and nothing is paid beyond one look at a context variable, unless `record` is active.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from conduit_lab.core import figures, html

Kind = Literal["call", "predict", "encode", "search", "write", "load", "generate"]

_current: ContextVar[Span | None] = ContextVar("conduit_lab_span", default=None)


@dataclass(eq=False)
class Span:
    """One call of a stage, store or loader, with its children.

    `start` and `duration` are seconds, `start` counted from the trace's begin (`origin`, on the performance counter).
    `target` is the live object that ran, `note` what a reader should know of how, `root` the span of the whole trace.
    """

    name: str
    kind: Kind
    target: Any = None
    input: Any = None
    output: Any = None
    error: BaseException | None = None
    note: str = ""
    root: Span | None = field(default=None, repr=False)
    origin: float = field(default_factory=perf_counter, repr=False)
    start: float = 0.0
    duration: float = 0.0
    children: list[Span] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """Yield (depth, span) for this span and all below it, in the order they began."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


class Trace:
    """The spans of one call; `trace["topic"]` is the first span of that name."""

    def __init__(self, root: Span) -> None:
        self.root = root

    def __iter__(self) -> Iterator[Span]:
        return (span for _, span in self.root.walk())

    def __getitem__(self, name: str) -> Span:
        for span in self:
            if span.name == name:
                return span
        raise KeyError(f"no span {name!r} in this trace; it has {', '.join(dict.fromkeys(s.name for s in self))}")

    def _columns(self) -> tuple[str, ...]:
        noted = any(span.note for span in self)
        return ("span", "kind", "start", "time", "note") if noted else ("span", "kind", "start", "time")

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [
            ("  " * depth + s.name, s.kind, figures.seconds(s.start), figures.seconds(s.duration), s.note)
            for depth, s in self.root.walk()
        ]
        return [row[: len(self._columns())] for row in rows]

    def __repr__(self) -> str:
        return html.columns(self._columns(), self._rows(), numeric=("start", "time"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        table = html.table(self._columns(), self._rows(), numeric=("start", "time"))
        return html.bundle(repr(self), html.header("Trace", self.root.name) + table)


def current() -> Span | None:
    """Return the span that is running here, or None where nothing is being recorded."""
    return _current.get()


def note(text: str) -> None:
    """Put a note on the span that is running here, if there is one."""
    span = _current.get()
    if span is not None:
        span.note = text


@contextmanager
def record(name: str, target: Any = None) -> Iterator[Trace]:
    """Record everything that runs inside the block, on this thread or task and those it starts."""
    root = Span(name, "call", target)
    token = _current.set(root)
    try:
        yield Trace(root)
    except BaseException as error:
        root.error = error
        raise
    finally:
        _current.reset(token)
        root.duration = perf_counter() - root.origin


@contextmanager
def span(name: str, kind: Kind, target: Any = None, value: Any = None) -> Iterator[Span | None]:
    """Record one span under the current one, or do nothing where nothing is being recorded."""
    parent = _current.get()
    if parent is None:
        yield None
        return
    begin = perf_counter()
    root = parent.root or parent
    here = Span(name, kind, target, value, root=root, origin=parent.origin, start=begin - parent.origin)
    parent.children.append(here)
    token = _current.set(here)
    try:
        yield here
    except BaseException as error:
        here.error = error
        raise
    finally:
        here.duration = perf_counter() - begin
        _current.reset(token)
