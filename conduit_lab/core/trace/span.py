"""Span: one call inside a recorded one, with typed attributes."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar, Token
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Protocol, Unpack

from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.call_record import CallRecord, Recording

Kind = Literal["call", "predict", "encode", "search", "write", "load", "generate"]

_MAX_ERROR_CHARACTERS = 1000
_NO_ATTRIBUTES: Attributes = {}

_log = logging.getLogger("conduit_lab")


class Observer(Protocol):
    """Sees every span of an app's calls as it starts and ends, on the thread that runs it.

    It must be fast and thread-safe. Its errors are logged and change nothing.
    """

    def span_started(self, span: Span) -> None:
        """Called before the span's work."""

    def span_ended(self, span: Span) -> None:
        """Called after it; `span.error` holds the exception of one that failed."""


class Ending(Protocol):
    """Something that ends, such as a `Stream`."""

    error: BaseException | None

    def on_end(self, callback: Callable[[Any], object]) -> None:
        """Call `callback` with this object once it has ended."""


class Span:
    """One call of a stage, store or loader, with its children; a context manager for its time.

    `start` and `duration` are seconds, `start` counted from the recording's origin; `duration` is
    0 until it has `ended`. `target` is the live object that ran. `error` has the type and text of
    the exception that ended the span, without its traceback, which would keep the values of every
    frame. `forgotten` says that input and output were dropped to make room for newer spans.
    `record` is what the endpoint or block around it touched.
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
        "input",
        "kind",
        "name",
        "output",
        "record",
        "recording",
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
    ) -> None:
        self.name = name
        self.kind = kind
        self.target = target
        self.input: Any = input if recording.values.limit else None
        self.output: Any = None
        self.error: BaseException | None = None
        self.attributes = _NO_ATTRIBUTES
        self.start = perf_counter() - recording.origin
        self.duration = 0.0
        self.ended = False
        self.forgotten = False
        self.children: list[Span] = []
        self.recording = recording
        self.record = record
        self._parent: Span | None = None
        self._followed = False

    def child(self, name: str, kind: Kind, target: Any = None, input: Any = None) -> Span:
        """Return a new span under this one, to be entered."""
        span = Span(name, kind, target, input, self.recording, self.record)
        span._parent = self
        return span

    def annotate(self, **attributes: Unpack[Attributes]) -> None:
        """Set attributes; stores, files and fallbacks are added to the record of the call too."""
        self.attributes = {**self.attributes, **attributes}
        self.record.add(self.name, attributes)

    def follow(self, ending: Ending) -> None:
        """Let the span end when `ending` ends, instead of at the end of its block."""
        self._followed = True
        ending.on_end(self._ended_with)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """Yield (depth, span) for this span and all below it, in the order they began."""
        yield depth, self
        for child in list(self.children):
            yield from child.walk(depth + 1)

    def __enter__(self) -> Span:
        if (parent := self._parent) is not None:
            parent.children.append(self)
            record: CallRecord | None = parent.record
            while record is not None:
                record.spans += 1
                record = record.parent
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
        with suppress(ValueError):  # a generator that another thread closes
            _current.reset(self._token)
        del self._token  # it holds the span that was current, and a generator may hold this one
        if error is not None or not self._followed:
            self._end(error)

    def _ended_with(self, ending: Ending) -> None:
        if not self.ended:
            self._end(ending.error)

    def _end(self, error: BaseException | None) -> None:
        self.duration = perf_counter() - self.recording.origin - self.start
        again, self.ended = self.ended, True  # a stream ended it before its block raised
        if error is not None:
            self.error = _bare(error)
        values = self.recording.values
        if not values.limit:
            self.output = None
        elif self.input is not None or self.output is not None:
            values.add(self)
        if self._parent is not None:
            self.recording.end(self._parent, self)
            self._parent = None  # the parent holds its children, and nothing holds a parent
        elif not again:
            self.recording.ended = True
            self.recording.shared = None  # a kept trace keeps no values of its run
        if self.recording.observers:
            self._notify("span_ended")

    def _notify(self, event: Literal["span_started", "span_ended"]) -> None:
        for observer in self.recording.observers:
            try:
                getattr(observer, event)(self)
            except Exception:
                _log.exception("an observer of spans failed at %s of %r", event, self.name)

    def __repr__(self) -> str:
        return f"Span({self.name!r}, {self.kind})"


_current: ContextVar[Span | None] = ContextVar("conduit_lab_span", default=None)

current = _current.get  # the span that is running here, or None where nothing is being recorded


def _bare(error: BaseException) -> BaseException:
    """Return the exception without its traceback and attributes, which hold values."""
    kind = type(error)
    try:
        bare = kind.__new__(kind, *map(_clipped, error.args))
        str(bare)  # some need what their __init__ sets
    except Exception:
        bare = Exception(f"{kind.__name__}: {error}"[:_MAX_ERROR_CHARACTERS])
    return bare


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MAX_ERROR_CHARACTERS]
    return value if value is None or isinstance(value, int | float) else reprlib.repr(value)
