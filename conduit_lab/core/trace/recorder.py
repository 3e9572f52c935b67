"""What ran inside one call: spans with timings, and with values where they are kept.

Nothing is recorded, and nothing is paid beyond one look at a context variable, unless `record` is
active.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from conduit_lab.core.trace.span import Kind as Kind
from conduit_lab.core.trace.span import Recording as Recording
from conduit_lab.core.trace.span import Span as Span
from conduit_lab.core.trace.span import Values as Values
from conduit_lab.core.views import figures, html

_CLIPPED = 1000  # characters of an error that a span keeps

_current: ContextVar[Span | None] = ContextVar("conduit_lab_span", default=None)


class Trace:
    """The spans of one call; `trace["topic"]` is the first span of that name.

    Of many spans the first 100 and the newest 900 are kept; its last line counts the others.
    """

    def __init__(self, root: Span) -> None:
        self.root = root

    @property
    def uses(self) -> list[tuple[str, Any]]:
        """The stores searched or written to and the models loaded, each (kind, target) once."""
        return self.root.recording.uses

    @property
    def stand_ins(self) -> list[tuple[str, str]]:
        """Each ("fallback", stage that answered) and ("device", stage that ran on the CPU) once."""
        return self.root.recording.stand_ins

    def keep(self, value: Any, result: Any) -> None:
        """Keep the input and output of the whole call, where values are kept."""
        self.root.input, self.root.output = value, result
        self.root.recording.values.add(self.root)

    def __iter__(self) -> Iterator[Span]:
        return (span for _, span in self.root.walk())

    def __getitem__(self, name: str) -> Span:
        for span in self:
            if span.name == name:
                return span
        raise KeyError(
            f"no span {name!r} in this trace; it has {', '.join(dict.fromkeys(s.name for s in self))}"
        )

    def _columns(self) -> tuple[str, ...]:
        noted = any(span.note for span in self)
        return (
            ("span", "kind", "start", "time", "note")
            if noted
            else ("span", "kind", "start", "time")
        )

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [
            (
                "  " * depth + s.name,
                s.kind,
                figures.seconds(s.start),
                figures.seconds(s.duration),
                s.note,
            )
            for depth, s in self.root.walk()
        ]
        columns = len(self._columns())
        return [row[:columns] for row in rows]

    def _gaps(self) -> list[str]:
        """Return how many spans and values were dropped, in words."""
        spans = list(self)
        dropped, forgotten = (
            self.root.recording.begun - len(spans),
            sum(span.forgotten for span in spans),
        )
        gaps = (
            [f"{figures.plural(dropped, 'more span')} between the first and the newest"]
            if dropped
            else []
        )
        return gaps + (
            [f"input and output of {figures.plural(forgotten, 'span')} dropped"]
            if forgotten
            else []
        )

    def __repr__(self) -> str:
        table = html.columns(self._columns(), self._rows(), numeric=("start", "time"))
        return "\n".join([table, *self._gaps()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        table = html.table(self._columns(), self._rows(), numeric=("start", "time"))
        return html.bundle(repr(self), html.header("Trace", self.root.name, self._gaps()) + table)


def current() -> Span | None:
    """Return the span that is running here, or None where nothing is being recorded."""
    return _current.get()


def note(text: str) -> None:
    """Put a note on the span that is running here, if there is one."""
    span = _current.get()
    if span is not None:
        span.note = text


def stood_in(name: str) -> None:
    """Record that the stage of this name answered for one that failed."""
    span = _current.get()
    if span is not None:
        span.recording.stood_in("fallback", name)


@contextmanager
def record(name: str, target: Any = None, *, values: Values | None = None) -> Iterator[Trace]:
    """Record everything that runs inside the block, on this thread or task and those it starts.

    `values` keeps the inputs and outputs (default: the newest 32 MiB of this trace alone).
    """
    recording = Recording(name, Values() if values is None else values)
    root = Span(name, "call", target, recording=recording)
    token = _current.set(root)
    try:
        yield Trace(root)
    except BaseException as error:
        root.error = _bare(error)
        raise
    finally:
        _current.reset(token)
        root.duration = perf_counter() - recording.origin


@contextmanager
def span(name: str, kind: Kind, target: Any = None, value: Any = None) -> Iterator[Span | None]:
    """Record one span under the current one, or do nothing where nothing is being recorded."""
    parent = _current.get()
    if parent is None:
        yield None
        return
    recording = parent.recording
    begin = perf_counter()
    kept = value if recording.values.limit else None
    here = Span(name, kind, target, kept, start=begin - recording.origin, recording=recording)
    number = recording.begin(parent, here)
    token = _current.set(here)
    try:
        yield here
    except BaseException as error:
        here.error = _bare(error)
        raise
    finally:
        here.duration = perf_counter() - begin
        recording.end(parent, here, number)
        _current.reset(token)


def _bare(error: BaseException) -> BaseException:
    """Return the exception without its traceback and attributes, which hold values."""
    kind = type(error)
    try:
        bare = kind.__new__(kind, *map(_clipped, error.args))
        str(bare)  # some need what their __init__ sets
    except Exception:
        bare = Exception(f"{kind.__name__}: {error}"[:_CLIPPED])
    return bare


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_CLIPPED]
    return value if value is None or isinstance(value, int | float) else reprlib.repr(value)
