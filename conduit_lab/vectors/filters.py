"""Filters: a Mongo-like dict, read once into a predicate; strings are never evaluated.

    {"section": "returns"}                                  equal
    {"year": {"$gte": 2020, "$lt": 2025}}                   every operator must hold
    {"$or": [{"tags": {"$contains": "new"}}, {"$not": {"price": {"$exists": True}}}]}

Values compare as JSON does: `true` is not `1`, `1` is `1.0`, and text, numbers, lists and objects
never equal each other. `$gt $gte $lt $lte` order numbers with numbers and text with text; any other
pair does not match. `$contains` means an item of a list or a part of a text. A key is taken
literally, dots included. An entry without the key matches `$exists: False`, `$ne`, `$nin` and
`$not` only; a stored `None` is a value.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.arrays import BoolArray
from conduit_lab.vectors.columns import Columns, is_number, is_text
from conduit_lab.vectors.conditions import has_operators, read
from conduit_lab.vectors.entry import check_json, check_text

MAX_DEPTH = 16
MAX_CLAUSES = 1_000


def parse(where: Mapping[str, Any]) -> Filter:
    """Return the filter that `where` describes; an empty one matches all.

    Raises `VectorInputError` for an unknown operator, a wrong operand, more than 16 levels or 1,000
    clauses.
    """
    return Filter(_Check().filter(where, depth=1))


class Filter:
    """A filter that `parse` has read, for one entry's metadata or for all rows.

    `where` is the checked filter in plain dicts and lists, for a backend that translates it.
    """

    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where
        self._condition = read(where)

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether one entry's metadata matches."""
        return self._condition(metadata)

    def mask(self, columns: Columns) -> BoolArray:
        """Return for each row of `columns` whether it matches, bool `[n]`, the caller's own."""
        return self._condition.mask(columns)

    def __repr__(self) -> str:
        return f"Filter({reprlib.repr(self.where)})"


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _has_order(value: Any) -> bool:
    return is_text(value) or is_number(value)


class _Operand(NamedTuple):
    """What an operator takes."""

    takes: Callable[[Any], bool]
    wants: str


_ANYTHING = _Operand(lambda operand: True, "a JSON value")
_ORDER = _Operand(_has_order, "a number or text")
_LIST = _Operand(_is_list, "a list")
_OPERATORS = {
    "$eq": _ANYTHING,
    "$ne": _ANYTHING,
    **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), _ORDER),
    "$in": _LIST,
    "$nin": _LIST,
    "$exists": _Operand(_is_bool, "True or False"),
    "$contains": _ANYTHING,
}
_LOGIC = ("$and", "$or", "$not")


class _Check:
    """One reading of one filter as it was given; counts the clauses on its way."""

    def __init__(self) -> None:
        self._clauses = 0

    def filter(self, where: Any, depth: int) -> dict[str, Any]:
        """Return a checked copy of `{key or logical operator: condition, …}`."""
        self._go_down(depth)
        if not isinstance(where, Mapping):
            raise VectorInputError(
                f"a filter is a dict such as {{'section': 'returns'}}, got {type(where).__name__}"
            )
        return dict(self._clause(key, wanted, depth) for key, wanted in where.items())

    def _clause(self, key: Any, wanted: Any, depth: int) -> tuple[str, Any]:
        self._count()
        if not isinstance(key, str):
            raise VectorInputError(f"a filter's keys are text, got {reprlib.repr(key)}")
        key = check_text(key, "a key of the filter")
        if key == "$not":
            return key, self.filter(wanted, depth + 1)
        if key in _LOGIC:
            if not isinstance(wanted, (list, tuple)) or not wanted:
                raise VectorInputError(
                    f"{key} in a filter wants a list of at least one filter, got {reprlib.repr(wanted)}"
                )
            return key, [self.filter(item, depth + 1) for item in wanted]
        if key.startswith("$"):
            raise _unknown(key, _LOGIC)
        return key, self._of_key(key, wanted, depth + 1)

    def _of_key(self, key: str, wanted: Any, depth: int) -> Any:
        """Return a checked copy of what one key's value must be: a plain value, or `{operator: operand, …}`."""
        self._go_down(depth)
        if not has_operators(wanted):
            return self._operand(key, "$eq", wanted)
        checked = {}
        for name, operand in wanted.items():
            self._count()
            if name == "$not":
                checked["$not"] = self._of_key(key, operand, depth + 1)
            elif name in _OPERATORS:
                checked[str(name)] = self._operand(key, name, operand)
            else:
                raise _unknown(name, (*_OPERATORS, "$not"))
        return checked

    def _operand(self, key: str, name: str, operand: Any) -> Any:
        kind = _OPERATORS[name]
        plain = check_json(operand, f"the operand of {name} for {reprlib.repr(key)} in the filter")
        if not kind.takes(plain):
            raise VectorInputError(
                f"{name} for {reprlib.repr(key)} in a filter wants {kind.wants}, got {reprlib.repr(operand)}"
            )
        return plain

    def _count(self) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise VectorInputError(
                f"the filter has more than {MAX_CLAUSES} clauses; use $in for many values"
            )

    def _go_down(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise VectorInputError(f"the filter is more than {MAX_DEPTH} levels deep")


def _unknown(name: Any, known: tuple[str, ...]) -> VectorInputError:
    return VectorInputError(
        f"the filter has an unknown operator {reprlib.repr(name)}; known here are {', '.join(known)}"
    )
