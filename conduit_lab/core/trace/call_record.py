"""CallRecord: everything that one call touched. Values: a bound on retained inputs and outputs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Protocol, cast
from weakref import ReferenceType, ref

from conduit_lab.core.trace.attributes import Attributes
from conduit_lab.core.trace.stage_statistics import StageStatistics

MAX_VALUE_BYTES = 32 * 2**20  # of the inputs and outputs that a lab retains
# of a recording; the newest of the others are also retained, the rest only counted
FIRST_SPANS = 100
NEWEST_SPANS = 900

SMALL_VALUE_BYTES = 256  # per span; as small as the span itself, and not counted
MAX_PENDING_SPANS = 64
MAX_PENDING_BYTES = 2**20  # of their inputs and outputs

_EMPTY: Mapping[Any, Any] = MappingProxyType({})  # most calls touch nothing; dicts would cost more
_creating = threading.Lock()

_SPAN_BYTES = 1024  # of a span, excluding its values


class _Span(Protocol):
    """The attributes of a span that are bounded and counted here."""

    name: str
    duration: float
    error: BaseException | None
    size: int
    children: list[Any]

    def forget(self) -> None:
        """Drop its input and output."""


class Values:
    """The inputs and outputs of the newest spans, at most `limit` bytes; 0 retains none.

    References spans weakly: when a trace is freed, its values are freed with it.
    """

    def __init__(self, limit: int = MAX_VALUE_BYTES) -> None:
        self.limit = limit
        self._bytes = 0
        self._kept: deque[tuple[ReferenceType[_Span], int]] = deque()
        self._lock = threading.Lock()

    def add(self, spans: Sequence[_Span]) -> None:
        """Retain the values of `spans`; drop those of the oldest spans above the limit."""
        large = [span for span in spans if span.size > SMALL_VALUE_BYTES]
        if not large:
            return
        with self._lock:
            for span in large:
                size = span.size + _SPAN_BYTES
                self._kept.append((ref(span), size))
                self._bytes += size
            while self._bytes > self.limit:
                oldest, size = self._kept.popleft()
                self._bytes -= size
                if (gone := oldest()) is not None:
                    gone.forget()


class Recording:
    """The spans of one outermost call, bounded. References between spans and recording are weak.

    `name` is that of the outermost call, `record` its record, and `origin` the zero of its spans'
    times. Ended spans are collected in `pending` and counted a few at a time. `keeps` says whether
    spans retain their input and output. `replay` answers calls from an earlier trace. `shared`
    holds `run.values`; None until first used, and after the call has `ended`. `last_model` is the
    key of the model that ran last.
    """

    __slots__ = (
        "__weakref__",
        "_lock",
        "_newest",
        "ended",
        "keeps",
        "last_model",
        "name",
        "observers",
        "origin",
        "pending",
        "pending_bytes",
        "record",
        "replay",
        "shared",
        "statistics",
        "values",
    )

    def __init__(
        self,
        name: str,
        record: CallRecord,
        values: Values,
        observers: Sequence[Any],
        statistics: StageStatistics | None,
        replay: Any,
    ) -> None:
        self.name = name
        self.record = record
        self.values = values
        self.keeps = values.limit > 0
        self.observers = observers
        self.statistics = statistics
        self.replay = replay
        self.shared: dict[str, Any] | None = None
        self.last_model: Any = None
        self.pending: deque[_Span] = deque()
        self.pending_bytes = 0
        self.ended = False
        self._newest: deque[tuple[ReferenceType[_Span], ReferenceType[_Span]]] | None = None
        self._lock = threading.Lock()
        self.origin = perf_counter()

    def flush(self) -> None:
        """Count the pending spans, and limit the retained values."""
        pending = self.pending
        spans: list[_Span] = []
        try:
            while pending:
                spans.append(pending.popleft())
        except IndexError:  # another thread took the last one
            pass
        self.pending_bytes = 0
        if self.keeps:
            self.values.add(spans)
        if self.statistics is not None:
            self.statistics.add(spans)

    def bound(self, parent: _Span, span: _Span) -> None:
        """Record the end of a span beyond the first ones; drop the one that ended longest ago."""
        with self._lock:
            if self._newest is None:
                self._newest = deque()
            self._newest.append((ref(parent), ref(span)))
            if len(self._newest) <= NEWEST_SPANS:
                return
            above, oldest = (each() for each in self._newest.popleft())
            if above is not None and oldest is not None:
                with suppress(ValueError):
                    above.children.remove(oldest)


class CallRecord:
    """The stores, files and fallbacks of one call, complete even if spans were dropped.

    A nested call has its own record, and its `parent` receives the same entries. `spans` counts the
    spans started. `read` and `written` are the stores by id, `files` the loaded models by path,
    `fallbacks` the stages that answered instead of others, and `on_cpu` the stages that ran on the
    CPU instead of their device, with the reason.
    """

    __slots__ = (
        "__weakref__",
        "fallbacks",
        "files",
        "on_cpu",
        "parent",
        "read",
        "spans",
        "written",
    )

    def __init__(self, parent: CallRecord | None = None) -> None:
        self.parent = parent
        self.spans = 1
        self.read: Mapping[int, Any] = _EMPTY
        self.written: Mapping[int, Any] = _EMPTY
        self.files: Mapping[Path, Any] = _EMPTY
        self.fallbacks: Mapping[str, None] = _EMPTY
        self.on_cpu: Mapping[str, str] = _EMPTY

    def add(self, name: str, attributes: Attributes) -> None:
        """Add the attributes of span `name` to this call and all enclosing calls."""
        record: CallRecord | None = self
        while record is not None:
            for key, value in cast("dict[str, Any]", attributes).items():
                match key:
                    case "store_read":
                        record._entries("read").setdefault(id(value), value)
                    case "store_write":
                        record._entries("written").setdefault(id(value), value)
                    case "model_file":
                        record._entries("files").setdefault(value.path, value)
                    case "fallback":
                        record._entries("fallbacks").setdefault(str(value))
                    case "device_fallback":
                        record._entries("on_cpu").setdefault(name, str(value))
            record = record.parent

    def _entries(self, field: str) -> dict[Any, Any]:
        """Return the dict of a field, made at its first entry; threads of one call may race."""
        with _creating:
            entries: Any = getattr(self, field)
            if entries is _EMPTY:
                entries = {}
                setattr(self, field, entries)
            return cast("dict[Any, Any]", entries)
