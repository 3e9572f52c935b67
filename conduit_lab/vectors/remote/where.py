"""Translate the `where` language clause by clause to the filters of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from conduit_lab.vectors.conditions import has_operators

_Condition = TypeVar("_Condition")


class Language(Protocol[_Condition]):
    """The filters of one server; a condition must be either true or false for every entry."""

    def test(self, key: str, operator: str, operand: Any) -> _Condition:
        """Return the condition of an operator, never `$ne` or `$nin`, on `key`."""

    def every(self, parts: Sequence[_Condition]) -> _Condition:
        """Return the conjunction of `parts`, which may be empty."""

    def some(self, parts: Sequence[_Condition]) -> _Condition:
        """Return the disjunction of `parts`."""

    def negated(self, part: _Condition) -> _Condition:
        """Return the negation of `part`."""


def translate(where: Mapping[str, Any], language: Language[_Condition]) -> _Condition:
    """Return the condition of `where`, a filter that `vectors.filters` has checked."""
    return language.every([_clause(key, operand, language) for key, operand in where.items()])


def _clause(key: str, operand: Any, language: Language[_Condition]) -> _Condition:
    match key:
        case "$and":
            return language.every([translate(part, language) for part in operand])
        case "$or":
            return language.some([translate(part, language) for part in operand])
        case "$not":
            return language.negated(translate(operand, language))
        case _:
            return _value(key, operand, language)


def _value(key: str, operand: Any, language: Language[_Condition]) -> _Condition:
    """Return the condition on one key: equality with a plain value, or `{operator: operand, …}`."""
    if not has_operators(operand):
        return language.test(key, "$eq", operand)
    return language.every([_test(key, name, value, language) for name, value in operand.items()])


def _test(key: str, name: str, operand: Any, language: Language[_Condition]) -> _Condition:
    match name:
        case "$not":
            return language.negated(_value(key, operand, language))
        case "$ne":
            return language.negated(language.test(key, "$eq", operand))
        case "$nin":
            return language.negated(language.test(key, "$in", operand))
        case _:
            return language.test(key, name, operand)


def canonical(value: Any) -> str:
    """Return the JSON text of a value, identical for equal values: `1.0` becomes `1`."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)  # exact; the decimal 1e23 differs from the float's value
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
