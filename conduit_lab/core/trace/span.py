"""Span: one call inside a recorded call, with typed attributes."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, Token
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Protocol, Unpack

from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.call_record import (
    FIRST_SPANS,
    MAX_PENDING_BYTES,
    MAX_PENDING_SPANS,
    CallRecord,
    Recording,
)
from conduit_lab.core.trace.described import described
from conduit_lab.core.trace.span_view import span_line, span_view
from conduit_lab.core.trace.value_snapshot import COPIES
from conduit_lab.core.weight import weight

Kind = Literal["call", "predict", "encode", "search", "write", "load", "generate"]

_MAX_ERROR_CHARACTERS = 1000
_NO_ATTRIBUTES: Attributes = {}
_SMALL = frozenset({int, float, bool, type(None)})  # too small to weigh

_log = logging.getLogger("conduit_lab")


class Observer(Protocol):
    """Receives every span of an app's calls at its start and end, on the thread that runs it.

    It must be fast and thread-safe. Its errors are logged and otherwise ignored.
    """

    def span_started(self, span: Span) -> None:
        """Called before the span's work."""

    def span_ended(self, span: Span) -> None:
        """Called after the span's work; `span.error` is the exception of a failed span."""


class Ending(Protocol):
    """Something that ends, such as a `Stream`."""

    error: BaseException | None

    def on_end(self, callback: Callable[[Any], object]) -> None:
        """Call `callback` with this object once it has ended."""


class Span:
    """One call of a stage, store or loader, with its children; a context manager that times it.

    `start` and `duration` are in seconds, `start` relative to the recording's origin; `duration` is
    0 until the span has `ended`. `target` is the live object that ran, and `revision` its code or
    weights at that time. `input` and `output` are snapshots: arrays and containers are copied,
    while `given` and `gave` are the objects themselves. `forgotten` says that they were dropped to
    make room for newer spans; `size` is their size in bytes. `error` has the type and text of the
    exception that ended the span, without its traceback, which would keep the values of every frame
    alive. `record` is the call record of the enclosing endpoint or block.
    """

    __slots__ = (
        "__weakref__",
        "_followed",
        "_parent",
        "_token",
        "attributes",
        "children",
        "duration",
        "ended",
        "error",
        "forgotten",
        "gave",
        "given",
        "input",
        "kind",
        "name",
        "output",
        "record",
        "recording",
        "revision",
        "shapes",
        "size",
        "start",
        "target",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        target: Any,
        input: Any,
        recording: Recording,
        record: CallRecord,
        parent: Span | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.target = target
        self.recording = recording
        self.record = record
        self._parent = parent
        self.output: Any = None
        self.gave: Any = None
        if recording.keeps:
            self.given = input
            copy = COPIES.get(type(input))
            self.input = input if copy is None else copy(input, 0)
            self.revision = getattr(target, "revision", None)
        else:
            self.given = self.input = self.revision = None
        self.error: BaseException | None = None
        self.attributes = _NO_ATTRIBUTES
        self.duration = 0.0
        self.ended = self.forgotten = self._followed = False
        self.size = 0
        self.children: list[Span] = []
        self.start = perf_counter() - recording.origin

    def child(self, name: str, kind: Kind, target: Any = None, input: Any = None) -> Span:
        """Return a new child span, to be entered."""
        return Span(name, kind, target, input, self.recording, self.record, self)

    def forget(self) -> None:
        """Drop the input and the output, keeping their descriptions in `shapes`."""
        self.shapes = (described(self.input), described(self.output))
        self.input = self.output = self.given = self.gave = None
        self.forgotten = True

    def annotate(self, **attributes: Unpack[Attributes]) -> None:
        """Set attributes; stores, files and fallbacks are also added to the call's record."""
        self.attributes = {**self.attributes, **attributes}
        self.record.add(self.name, attributes)

    def follow(self, ending: Ending) -> None:
        """End the span when `ending` ends, instead of at the end of its block."""
        self._followed = True
        ending.on_end(self._ended_with)

    def rerun(self, *value: Any, model: Any = None) -> Span:
        """Run the stage alone and return its span: `rerun()`, `rerun(value)`, `rerun(model=other)`.

        Without a value it runs on the retained input. Raises `TraceError` for a span that is not a
        call of a stage, or if the input was dropped.
        """
        from conduit_lab.core.trace.rerun import KEPT, rerun_span

        return rerun_span(self, value[0] if value else KEPT, model)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """Yield (depth, span) for this span and its descendants, in order of start."""
        pending = [(depth, self)]  # iterative, as recursive calls nest deeply
        while pending:
            depth, span = pending.pop()
            yield depth, span
            pending += [(depth + 1, child) for child in reversed(list(span.children))]

    def __enter__(self) -> Span:
        if (parent := self._parent) is not None:
            parent.children.append(self)
            record = parent.record
            record.spans += 1
            while record.parent is not None:
                record = record.parent
                record.spans += 1
        self._token: Token[Span | None] = _current.set(self)
        if self.recording.observers:
            self._notify("span_started")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        try:  # noqa: SIM105 - `suppress` takes longer than the rest of a span
            _current.reset(self._token)
        except ValueError:  # a generator closed by another thread
            pass
        # it references the previously current span, and a generator may keep this one alive
        del self._token
        if error is not None or not self._followed:
            if self.ended:  # abandoned earlier
                self.output = None
            else:
                self._end(error)

    def _ended_with(self, ending: Ending) -> None:
        if not self.ended:
            self._end(ending.error)

    def _end(self, error: BaseException | None) -> None:
        recording = self.recording
        self.duration = perf_counter() - recording.origin - self.start
        self.ended = True
        if error is not None:
            self.error = _bare(error)
        if recording.keeps:
            self.gave = output = self.output
            copy = COPIES.get(type(output))
            if copy is not None:
                self.output = copy(output, 0)
            size = 0
            if type(given := self.given) not in _SMALL:  # the value, and its copy if there is one
                size += weight(given) * (1 if self.input is given else 2)
            if type(output) not in _SMALL:
                size += weight(output) * (1 if copy is None else 2)
            self.size = size
            recording.pending_bytes += size
        else:
            self.output = None
        pending = recording.pending
        pending.append(self)
        if (parent := self._parent) is not None:
            if recording.record.spans > FIRST_SPANS:
                recording.bound(parent, self)
            self._parent = None  # break the reference cycle: the parent references its children
        else:
            recording.ended = True
            recording.shared = None  # a retained trace does not retain the values of its run
        if (
            recording.ended
            or len(pending) >= MAX_PENDING_SPANS
            or recording.pending_bytes > MAX_PENDING_BYTES
        ):
            recording.flush()
        if recording.observers:
            self._notify("span_ended")

    def _notify(self, event: Literal["span_started", "span_ended"]) -> None:
        for observer in self.recording.observers:
            try:
                getattr(observer, event)(self)
            except Exception:
                _log.exception("an observer of spans failed at %s of %r", event, self.name)

    def __repr__(self) -> str:
        return span_line(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return span_view(self).bundle(span_line(self))


_current: ContextVar[Span | None] = ContextVar("conduit_lab_span", default=None)

current = _current.get  # the current span, or None if nothing is being recorded


@contextmanager
def outside() -> Iterator[None]:
    """Make calls inside the block outermost ones."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def abandon_spans(context: Context, outer: Span | None, error: BaseException) -> None:
    """End the spans inside `outer` that run in `context`, on another thread or task, with `error`.

    The later exit of their own blocks has no effect.
    """
    span = context.get(_current)
    while span is not None and span is not outer:
        parent = span._parent
        if not span.ended:
            span._end(error)
        span = parent


def _bare(error: BaseException) -> BaseException:
    """Return the exception without its traceback and attributes, which reference values."""
    kind = type(error)
    try:
        bare = kind.__new__(kind, *map(_clipped, error.args))
        str(bare)  # some need attributes that their __init__ sets
    except Exception:
        bare = Exception(f"{kind.__name__}: {_text(error)}"[:_MAX_ERROR_CHARACTERS])
    return bare


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as inner:  # raised by its own class
        return f"its text raises {type(inner).__name__}"


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MAX_ERROR_CHARACTERS]
    return value if value is None or isinstance(value, int | float) else reprlib.repr(value)
