"""Filters: a Mongo-like dict, compiled once to a predicate; strings are never evaluated.

    {"section": "returns"}                                  equal
    {"year": {"$gte": 2020, "$lt": 2025}}                   every operator must hold
    {"$or": [{"tags": {"$contains": "new"}}, {"$not": {"price": {"$exists": True}}}]}

Values compare as in JSON: `true` is not `1`, `1` is `1.0`, and text, numbers, lists and objects are
never equal to each other. `$gt $gte $lt $lte` order numbers with numbers and text with text; any
other pair does not match. `$contains` matches an item of a list or a substring of a text. A key is
taken literally, including dots. An entry without the key matches only `$exists: False`, `$ne`,
`$nin` and `$not`; a stored `None` is a value.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.arrays import BoolArray
from conduit_lab.vectors.columns import MetadataColumns, is_number, is_text
from conduit_lab.vectors.conditions import compile_filter, has_operators
from conduit_lab.vectors.entry import check_json, check_text

Where = Mapping[str, Any] | npt.ArrayLike
"""Selects entries: a filter in the language above, or a mask with one bool per entry."""

MAX_DEPTH = 16
MAX_CLAUSES = 1_000
_MAX_NAMES = 3  # unknown keys listed in a sentence
_MAX_CANDIDATES = 1_000  # known keys considered as suggestions


def parse_filter(where: Mapping[str, Any]) -> Filter:
    """Return the filter for `where`; an empty one matches all entries.

    Raises `VectorInputError` for an unknown operator, an invalid operand, or more than 16 levels or
    1,000 clauses.
    """
    return Filter(_Check().filter(where, depth=1))


def as_mask(where: npt.ArrayLike, what: str) -> BoolArray:
    """Return `where`, which is not a dict, as bool `[n]`; errors start with `what`."""
    mask = np.asarray(where)
    if mask.dtype == np.object_:  # pandas' own "boolean"
        mask = np.asarray(mask.tolist())
    if mask.dtype != np.bool_ or mask.ndim != 1:
        raise VectorInputError(
            f"{what} a filter is a dict such as {{'section': 'returns'}}, or one bool per entry"
        )
    return mask


class Filter:
    """A filter created by `parse_filter`, for one entry's metadata or for all rows.

    `where` is the checked filter in plain dicts and lists, for a backend that translates it.
    """

    def __init__(self, where: dict[str, Any]) -> None:
        self.where = where
        self._predicate = compile_filter(where)

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        """Return whether one entry's metadata matches."""
        return self._predicate(metadata)

    def mask(self, columns: MetadataColumns) -> BoolArray:
        """Return per row of `columns` whether it matches: a new array, bool `[n]`."""
        return self._predicate.mask(columns)

    def unknown_keys(self, known: Collection[str]) -> str:
        """Return a sentence about keys that are not `known`, or "" if all are."""
        unknown = list(dict.fromkeys(key for key in _keys(self.where) if key not in known))
        if not unknown:
            return ""
        names = ", ".join(map(reprlib.repr, unknown[:_MAX_NAMES]))
        if len(unknown) > _MAX_NAMES:
            return f"no entry has the keys {names} and {len(unknown) - _MAX_NAMES} more"
        if len(unknown) > 1:
            return f"no entry has the keys {names}"
        candidates = sorted(known)[:_MAX_CANDIDATES]
        near = difflib.get_close_matches(unknown[0], candidates, 1)
        meant = f"; did you mean {reprlib.repr(near[0])}?" if near else ""
        return f"no entry has the key {names}{meant}"

    def __repr__(self) -> str:
        return f"Filter({reprlib.repr(self.where)})"


def _keys(where: Mapping[str, Any]) -> Iterator[str]:
    """Yield the metadata keys tested by a checked filter."""
    for key, operand in where.items():
        if key == "$not":
            yield from _keys(operand)
        elif key in _LOGIC:
            for item in operand:
                yield from _keys(item)
        else:
            yield key


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _has_order(value: Any) -> bool:
    return is_text(value) or is_number(value)


class _Operand(NamedTuple):
    """The check of an operator's operand, and its name in errors."""

    accepts: Callable[[Any], bool]
    expected: str


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
    """Checks one filter and counts its clauses."""

    def __init__(self) -> None:
        self._clauses = 0

    def filter(self, where: Any, depth: int) -> dict[str, Any]:
        """Return a checked copy of `{key or logical operator: condition, …}`."""
        self._check_depth(depth)
        if not isinstance(where, Mapping):
            raise VectorInputError(
                f"a filter is a dict such as {{'section': 'returns'}}, got {type(where).__name__}"
            )
        return dict(self._clause(key, operand, depth) for key, operand in where.items())

    def _clause(self, key: Any, operand: Any, depth: int) -> tuple[str, Any]:
        self._count()
        if not isinstance(key, str):
            raise VectorInputError(f"a filter's keys are text, got {reprlib.repr(key)}")
        key = check_text(key, "a key of the filter")
        if key == "$not":
            return key, self.filter(operand, depth + 1)
        if key in _LOGIC:
            if not isinstance(operand, (list, tuple)) or not operand:
                raise VectorInputError(
                    f"{key} in a filter expects a list of at least one filter, "
                    f"got {reprlib.repr(operand)}"
                )
            return key, [self.filter(item, depth + 1) for item in operand]
        if key.startswith("$"):
            raise _unknown(key, _LOGIC)
        return key, self._of_key(key, operand, depth + 1)

    def _of_key(self, key: str, condition: Any, depth: int) -> Any:
        """Return a checked copy of a key's condition, a value or `{operator: operand, …}`."""
        self._check_depth(depth)
        if not has_operators(condition):
            return self._operand(key, "$eq", condition)
        checked = {}
        for name, operand in condition.items():
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
        if not kind.accepts(plain):
            raise VectorInputError(
                f"{name} for {reprlib.repr(key)} in a filter expects {kind.expected}, "
                f"got {reprlib.repr(operand)}"
            )
        return plain

    def _count(self) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise VectorInputError(
                f"the filter has more than {MAX_CLAUSES} clauses: use $in for many values"
            )

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise VectorInputError(f"the filter is more than {MAX_DEPTH} levels deep")


def _unknown(name: Any, known: tuple[str, ...]) -> VectorInputError:
    return VectorInputError(
        f"the filter has an unknown operator {reprlib.repr(name)}; "
        f"known here are {', '.join(known)}"
    )
