"""Edges of a trace's data flow: a span received a value that an earlier span returned.

Edges are found by identity: the same object, an item of a list, tuple or dict, up to two levels
deep, or an array that shares memory. Values created by Python code in between have no edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core.trace.value_snapshot import IMMUTABLE

if TYPE_CHECKING:
    from conduit_lab.core.spec import Array
    from conduit_lab.core.trace.span import Span

MAX_CONTAINER_DEPTH = 2
MAX_CONTAINER_ITEMS = 200
MAX_ARRAYS_PER_MEMORY = 100  # compared with an array in the same memory

_ANONYMOUS = (bool, int, float, complex, type(None))  # equal values are the same object by chance


@dataclass(frozen=True)
class Edge:
    """The span `target` received the output of `source`; both are children of `within`.

    If `source` is None, it received the input of `within`, or a part of it.
    """

    source: Span | None
    target: Span
    within: Span

    def __repr__(self) -> str:
        return f"{'input' if self.source is None else self.source.name} → {self.target.name}"


def edges(root: Span) -> list[Edge]:
    """Return the data flow edges, ordered within each level by the start of their targets."""
    return [edge for _, span in root.walk() for edge in DataFlow(span).edges]


class DataFlow:
    """The data flow among the children of one span.

    `spans` are the children in order of start, `edges` connect them and the input.
    """

    def __init__(self, within: Span) -> None:
        self.within = within
        self.spans = sorted(within.children, key=lambda span: span.start)
        self._inputs, self._given, self._gave = _Objects(), _Objects(), _Objects()
        if self.spans:
            self._inputs.add(within, within.given, within.input, within.start)
        for span in self.spans:
            self._given.add(span, span.given, span.input, span.start)
            if span.ended and span.error is None:
                self._gave.add(span, span.gave, span.output, span.start + span.duration)
        self.edges = [
            Edge(source, span, within) for span in self.spans for source in self._sources(span)
        ]
        self._from: dict[int, list[Span | None]] = {}
        self._to: dict[int, list[Span]] = {}
        for edge in self.edges:
            self._from.setdefault(id(edge.target), []).append(edge.source)
            self._to.setdefault(id(edge.source), []).append(edge.target)

    def sources(self, span: Span) -> list[Span | None]:
        """Return the spans whose outputs `span` received; None stands for the input."""
        return self._from.get(id(span), [])

    def targets(self, span: Span) -> list[Span]:
        """Return the spans that received the output of `span`."""
        return self._to.get(id(span), [])

    def gives(self, span: Span) -> bool:
        """Return whether the output of the enclosing span contains the output of `span`."""
        outputs = _Objects()
        outputs.add(self.within, self.within.gave, self.within.output, 0.0)
        return bool(outputs.found(span.gave))

    def ready(self, span: Span) -> float:
        """Return the time at which the input of `span` became available, inf if unknown.

        That is when the input, or each of its parts, first appeared as an input or output of the
        enclosing span or one of its children.
        """

        def first_seen(value: Any) -> float | None:
            found = [
                time
                for objects in (self._inputs, self._given, self._gave)
                for time, seen in objects.found(value)
                if seen is not span
            ]
            return min(found, default=None)

        return _combined(span.given, span.input, first_seen)

    def _sources(self, span: Span) -> list[Span | None]:
        sources: dict[int, Span | None] = {}

        def last_given(value: Any) -> float | None:
            found = [each for each in self._gave.found(value) if each[0] <= span.start]
            if found:
                time, source = max(found, key=lambda each: each[0])
                sources[id(source)] = source
                return time
            if self._inputs.found(value):
                sources[id(None)] = None
                return self.within.start
            return None

        _combined(span.given, span.input, last_given)
        return list(sources.values())


class _Objects:
    """Values with their times and spans, looked up by identity or memory."""

    def __init__(self) -> None:
        self._by_id: dict[int, list[tuple[float, Span]]] = {}
        self._by_memory: dict[int, list[tuple[float, Span, Array]]] = {}
        self._alive: list[Any] = []  # so that ids are not reused

    def add(self, span: Span, value: Any, then: Any, time: float) -> None:
        """Add a value and its items; `then` is its snapshot, in case it has changed since."""
        for part in _parts(value, then, 0):
            self._alive.append(part)
            self._by_id.setdefault(id(part), []).append((time, span))
            if isinstance(part, np.ndarray):
                memory = self._by_memory.setdefault(id(_owner(part)), [])
                if len(memory) < MAX_ARRAYS_PER_MEMORY:
                    memory.append((time, span, part))

    def found(self, value: Any) -> list[tuple[float, Span]]:
        """Return the times and spans of `value`, or of arrays that share its memory."""
        if not _has_identity(value):
            return []
        found = list(self._by_id.get(id(value), ()))
        if isinstance(value, np.ndarray):
            memory = self._by_memory.get(id(_owner(value)), ())
            found += [
                (time, span) for time, span, array in memory if np.may_share_memory(array, value)
            ]
        return found


def _combined(
    value: Any, then: Any, time_of: Callable[[Any], float | None], depth: int = 0
) -> float:
    """Return the time of a value, or the latest time of its items; inf if one is unknown."""
    time = time_of(value)
    if time is not None:
        return time
    items = list(_items(value, then)) if depth < MAX_CONTAINER_DEPTH else []
    times = [_combined(item, item_then, time_of, depth + 1) for item, item_then in items]
    return max(times) if times and len(times) == len(then) else math.inf


def _parts(value: Any, then: Any, depth: int) -> Iterator[Any]:
    if _has_identity(value):
        yield value
    if depth < MAX_CONTAINER_DEPTH:
        for item, item_then in _items(value, then):
            yield from _parts(item, item_then, depth + 1)


def _items(value: Any, then: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the items still in a container, each with its snapshot."""
    if type(value) is not type(then):
        return
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        keys = list(then)[:MAX_CONTAINER_ITEMS]
        pairs = [(value[key], then[key]) for key in keys if key in value]
    elif type(value) in (list, tuple):
        pairs = list(zip(value[:MAX_CONTAINER_ITEMS], then, strict=False))
    yield from (pair for pair in pairs if _is_same(*pair))


def _is_same(value: Any, then: Any) -> bool:
    """Return whether an item is still the same object, as far as its snapshot shows."""
    if type(value) in IMMUTABLE or type(value) is not type(then):
        return value is then
    if type(value) is np.ndarray:
        return bool(value.shape == then.shape and value.dtype == then.dtype)
    return True


def _has_identity(value: Any) -> bool:
    if isinstance(value, _ANONYMOUS):
        return False
    if isinstance(value, str | bytes):
        return len(value) > 1  # Python interns shorter ones
    return not (isinstance(value, tuple | frozenset) and not value)


def _owner(array: Array) -> Any:
    """Return the object that owns the memory of an array."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner
