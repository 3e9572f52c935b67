"""Conditions: a filter compiled to a predicate on one entry's metadata or on all rows at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from conduit_lab.vectors.arrays import BoolArray
from conduit_lab.vectors.columns import (
    MISSING,
    Column,
    MetadataColumns,
    comparable,
    is_number,
    is_text,
)


class Predicate(Protocol):
    """A condition on metadata."""

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        """Return whether one entry's metadata matches."""

    def mask(self, columns: MetadataColumns) -> BoolArray:
        """Return per row whether it matches: a new array, bool `[n]`."""


def compile_filter(where: Mapping[str, Any]) -> Predicate:
    """Return the predicate for a checked filter."""
    return _all([_clause(key, operand) for key, operand in where.items()])


def has_operators(condition: Any) -> bool:
    """Return whether a key's condition is `{operator: operand, …}` rather than a plain value."""
    return isinstance(condition, Mapping) and any(str(name).startswith("$") for name in condition)


def _clause(key: str, operand: Any) -> Predicate:
    match key:
        case "$not":
            return _Not(compile_filter(operand))
        case "$and":
            return _all([compile_filter(item) for item in operand])
        case "$or":
            return _any([compile_filter(item) for item in operand])
        case _:
            return _of_key(key, operand)


def _of_key(key: str, condition: Any) -> Predicate:
    if not has_operators(condition):
        return _Key(key, _Among([condition]))
    return _all([_operation(key, name, operand) for name, operand in condition.items()])


def _operation(key: str, name: str, operand: Any) -> Predicate:
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


def _all(parts: list[Predicate]) -> Predicate:
    return parts[0] if len(parts) == 1 else _All(parts)


def _any(parts: list[Predicate]) -> Predicate:
    """Return the disjunction of `parts`; all equality tests of one key become one lookup."""
    equal: dict[str, set[Any]] = {}
    others: list[Predicate] = []
    for part in parts:
        if isinstance(part, _Key) and isinstance(part.test, _Among):
            equal.setdefault(part.key, set()).update(part.test.keys)
        else:
            others.append(part)
    # `comparable` is idempotent.
    merged = [*(_Key(key, _Among(keys)) for key, keys in equal.items()), *others]
    return merged[0] if len(merged) == 1 else _Any(merged)


class _All(NamedTuple):
    parts: list[Predicate]

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return all(part(metadata) for part in self.parts)

    def mask(self, columns: MetadataColumns) -> BoolArray:
        mask = np.ones(len(columns), np.bool_)
        for part in self.parts:
            mask &= part.mask(columns)
            if not mask.any():
                break
        return mask


class _Any(NamedTuple):
    parts: list[Predicate]

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return any(part(metadata) for part in self.parts)

    def mask(self, columns: MetadataColumns) -> BoolArray:
        mask = np.zeros(len(columns), np.bool_)
        for part in self.parts:
            mask |= part.mask(columns)
            if mask.all():
                break
        return mask


class _Not(NamedTuple):
    part: Predicate

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return not self.part(metadata)

    def mask(self, columns: MetadataColumns) -> BoolArray:
        return ~self.part.mask(columns)


class _Key(NamedTuple):
    """A test of one key's value, `MISSING` if there is none."""

    key: str
    test: _Among | _Ordered | _Contains

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return self.test(metadata.get(self.key, MISSING))

    def mask(self, columns: MetadataColumns) -> BoolArray:
        return self.test.mask(columns.column(self.key))


class _Among:
    """The value equals one of `values`."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.keys = set(map(comparable, values))

    def __call__(self, value: Any) -> bool:
        return comparable(value) in self.keys

    def mask(self, column: Column) -> BoolArray:
        return column.among(self.keys)


class _Ordered:
    """The value is of the operand's kind, a number or text, and satisfies the comparison."""

    def __init__(self, name: str, operand: Any) -> None:
        self._compare, self._ahead = _ORDERS[name]
        self._is_kind = is_text if is_text(operand) else is_number
        self._operand = operand

    def __call__(self, value: Any) -> bool:
        return self._is_kind(value) and self._compare(value, self._operand)

    def mask(self, column: Column) -> BoolArray:
        return column.ordered(self._ahead, self._operand, self)


class _Contains:
    """The value is a list containing this item, or text containing this substring."""

    def __init__(self, item: Any) -> None:
        self._item = item
        self._key = comparable(item)

    def __call__(self, value: Any) -> bool:
        if isinstance(value, list):
            return self._key in map(comparable, value)
        return is_text(value) and is_text(self._item) and self._item in value

    def mask(self, column: Column) -> BoolArray:
        return column.containing(self._item)


_ORDERS: dict[str, tuple[Callable[[Any, Any], bool], np.ufunc]] = {
    "$gt": (operator.gt, np.greater),
    "$gte": (operator.ge, np.greater),
    "$lt": (operator.lt, np.less),
    "$lte": (operator.le, np.less),
}
