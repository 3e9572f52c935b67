"""The `where` language, read clause by clause into the language of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from conduit_lab.vectors.conditions import has_operators

Condition = TypeVar("Condition")


class Language(Protocol[Condition]):
    """How one server says what a filter can say; a condition must be true or false for every entry."""

    def test(self, key: str, operator: str, operand: Any) -> Condition:
        """Say that the value under `key` passes an operator of `vectors.filters`; `$ne` and `$nin` do not come."""

    def every(self, parts: Sequence[Condition]) -> Condition:
        """Say that all of `parts` hold, of which there may be none."""

    def some(self, parts: Sequence[Condition]) -> Condition:
        """Say that one of `parts` holds."""

    def negated(self, part: Condition) -> Condition:
        """Say that `part` does not hold."""


def translate(where: Mapping[str, Any], language: Language[Condition]) -> Condition:
    """Return what `where`, a filter that `vectors.filters` has checked, is in `language`."""
    return language.every([_clause(key, wanted, language) for key, wanted in where.items()])


def _clause(key: str, wanted: Any, language: Language[Condition]) -> Condition:
    match key:
        case "$and":
            return language.every([translate(part, language) for part in wanted])
        case "$or":
            return language.some([translate(part, language) for part in wanted])
        case "$not":
            return language.negated(translate(wanted, language))
        case _:
            return _value(key, wanted, language)


def _value(key: str, wanted: Any, language: Language[Condition]) -> Condition:
    """Return the condition on one key: a plain value that it equals, or `{operator: operand, …}`."""
    if not has_operators(wanted):
        return language.test(key, "$eq", wanted)
    return language.every([_test(key, name, operand, language) for name, operand in wanted.items()])


def _test(key: str, name: str, operand: Any, language: Language[Condition]) -> Condition:
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
    """Return the JSON text of a value; equal values have the same text, so `1.0` is written as `1`."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(
                value
            )  # exact, where 1e23 as a decimal is not the number that the float holds
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
