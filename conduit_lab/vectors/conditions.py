"""Conditions: what a filter asks, of one entry's metadata or of all rows at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from conduit_lab.vectors.arrays import BoolArray
from conduit_lab.vectors.columns import (
    MISSING,
    Column,
    Columns,
    comparable,
    is_number,
    is_text,
)


class Condition(Protocol):
    """Something that metadata fulfils or not."""

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether one entry's metadata does."""

    def mask(self, columns: Columns) -> BoolArray:
        """Return for each row whether its metadata does: bool `[n]`, the caller's own."""


def read(where: Mapping[str, Any]) -> Condition:
    """Return the condition that a checked filter describes."""
    return _all([_clause(key, wanted) for key, wanted in where.items()])


def has_operators(wanted: Any) -> bool:
    """Tell whether what is wanted of a key is `{operator: operand, …}` and not a plain value."""
    return isinstance(wanted, Mapping) and any(str(name).startswith("$") for name in wanted)


def _clause(key: str, wanted: Any) -> Condition:
    match key:
        case "$not":
            return _Not(read(wanted))
        case "$and":
            return _all([read(item) for item in wanted])
        case "$or":
            return _any([read(item) for item in wanted])
        case _:
            return _of_key(key, wanted)


def _of_key(key: str, wanted: Any) -> Condition:
    if not has_operators(wanted):
        return _Key(key, _Among([wanted]))
    return _all([_operation(key, name, operand) for name, operand in wanted.items()])


def _operation(key: str, name: str, operand: Any) -> Condition:
    match name:
        case "$eq":
            return _Key(key, _Among([operand]))
        case "$ne":
            return _Not(_Key(key, _Among([operand])))
        case "$in":
            return _Key(key, _Among(operand))
        case "$nin":
            return _Not(_Key(key, _Among(operand)))
        case "$exists":
            missing = _Key(key, _Among([MISSING]))
            return _Not(missing) if operand else missing
        case "$contains":
            return _Key(key, _Contains(operand))
        case "$not":
            return _Not(_of_key(key, operand))
        case _:
            return _Key(key, _Ordered(name, operand))


def _all(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else _All(parts)


def _any(parts: list[Condition]) -> Condition:
    """Return "one of `parts` holds"; equalities of one key become one look-up, however many there are."""
    equal: dict[str, set[Any]] = {}
    others: list[Condition] = []
    for part in parts:
        if isinstance(part, _Key) and isinstance(part.test, _Among):
            equal.setdefault(part.key, set()).update(part.test.wanted)
        else:
            others.append(part)
    together = [*(_Key(key, _Among(wanted)) for key, wanted in equal.items()), *others]
    return together[0] if len(together) == 1 else _Any(together)


class _All(NamedTuple):
    parts: list[Condition]

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return all(part(metadata) for part in self.parts)

    def mask(self, columns: Columns) -> BoolArray:
        mask = np.ones(len(columns), np.bool_)
        for part in self.parts:
            mask &= part.mask(columns)
            if not mask.any():
                break
        return mask


class _Any(NamedTuple):
    parts: list[Condition]

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return any(part(metadata) for part in self.parts)

    def mask(self, columns: Columns) -> BoolArray:
        mask = np.zeros(len(columns), np.bool_)
        for part in self.parts:
            mask |= part.mask(columns)
            if mask.all():
                break
        return mask


class _Not(NamedTuple):
    part: Condition

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return not self.part(metadata)

    def mask(self, columns: Columns) -> BoolArray:
        return ~self.part.mask(columns)


class _Key(NamedTuple):
    """A test of one key's value, which is `MISSING` where there is none."""

    key: str
    test: _Among | _Ordered | _Contains

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return self.test(metadata.get(self.key, MISSING))

    def mask(self, columns: Columns) -> BoolArray:
        return self.test.mask(columns.column(self.key))


class _Among:
    """The value equals one of `wanted`."""

    def __init__(self, wanted: Iterable[Any]) -> None:
        self.wanted = set(map(comparable, wanted))

    def __call__(self, value: Any) -> bool:
        return comparable(value) in self.wanted

    def mask(self, column: Column) -> BoolArray:
        return column.among(self.wanted)


class _Ordered:
    """The value is of the kind of `wanted`, a number or text, and stands to it as the operator says."""

    def __init__(self, name: str, wanted: Any) -> None:
        self._compare, self._ahead = _ORDERS[name]
        self._alike = is_text if is_text(wanted) else is_number
        self._wanted = wanted

    def __call__(self, value: Any) -> bool:
        return self._alike(value) and self._compare(value, self._wanted)

    def mask(self, column: Column) -> BoolArray:
        return column.ordered(self._ahead, self._wanted, self)


class _Contains:
    """The value is a list with the item `wanted`, or text of which `wanted` is a part."""

    def __init__(self, wanted: Any) -> None:
        self._wanted = wanted
        self._key = comparable(wanted)

    def __call__(self, value: Any) -> bool:
        if isinstance(value, list):
            return self._key in map(comparable, value)
        return is_text(value) and is_text(self._wanted) and self._wanted in value

    def mask(self, column: Column) -> BoolArray:
        return column.containing(self._wanted)


_ORDERS: dict[str, tuple[Callable[[Any, Any], bool], np.ufunc]] = {
    "$gt": (operator.gt, np.greater),
    "$gte": (operator.ge, np.greater),
    "$lt": (operator.lt, np.less),
    "$lte": (operator.le, np.less),
}
