"""Metadata filters: a Mongo-like dict, read once into a predicate; strings are never evaluated.

    {"section": "returns"}                                  equal
    {"year": {"$gte": 2020, "$lt": 2025}}                   every operator must hold
    {"$or": [{"tags": {"$contains": "new"}}, {"$not": {"price": {"$exists": True}}}]}

Values compare as JSON does: `true` is not `1`, `1` is `1.0`, and text, numbers, lists and objects never equal
each other. `$gt $gte $lt $lte` order numbers with numbers and text with text; any other pair does not match.
`$contains` means an item of a list or a part of a text. A key is taken literally, dots included. An entry
without the key matches `$exists: False`, `$ne`, `$nin` and `$not` only; a stored `None` is a value.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.entry import check_json

MAX_DEPTH = 16
MAX_CLAUSES = 1_000

Predicate = Callable[[Mapping[str, Any]], bool]
Test = Callable[[Any], bool]


def parse(where: Mapping[str, Any]) -> Predicate:
    """Return the predicate over one entry's metadata that `where` describes; an empty filter matches all.

    Raises `VectorInputError` for an unknown operator, a wrong operand, more than 16 levels or 1,000 clauses.
    """
    return _Parser().filter(where, depth=1)


class _Missing:
    """The value of a key that an entry does not have."""


_MISSING = _Missing()


class _Operator(NamedTuple):
    """One operator: how its operand becomes a test, and which operands it takes."""

    make: Callable[[Any], Test]
    takes: Callable[[Any], bool] = lambda operand: True
    wants: str = "a JSON value"


def _comparable(value: Any) -> Any:
    """Return a hashable stand-in for a JSON value: two are equal exactly when the JSON values are."""
    if isinstance(value, bool):
        return (bool, value)  # Python's True equals 1, JSON's true does not
    if isinstance(value, dict):
        return (dict, frozenset((key, _comparable(item)) for key, item in value.items()))
    if isinstance(value, list):
        return (list, tuple(map(_comparable, value)))
    return value


def _equal(wanted: Any) -> Test:
    key = _comparable(wanted)
    return lambda value: bool(_comparable(value) == key)


def _among(wanted: Any) -> Test:
    keys = {_comparable(item) for item in wanted}
    return lambda value: _comparable(value) in keys


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def make(wanted: Any) -> Test:
        alike = _is_text if _is_text(wanted) else _is_number
        return lambda value: alike(value) and compare(value, wanted)

    return make


def _exists(wanted: Any) -> Test:
    return lambda value: (value is not _MISSING) is wanted


def _contains(wanted: Any) -> Test:
    equal = _equal(wanted)

    def test(value: Any) -> bool:
        if isinstance(value, list):
            return any(map(equal, value))
        return _is_text(value) and _is_text(wanted) and wanted in value

    return test


def _not(test: Test) -> Test:
    return lambda value: not test(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _has_order(value: Any) -> bool:
    return _is_text(value) or _is_number(value)


_OPERATORS = {
    "$eq": _Operator(_equal),
    "$ne": _Operator(lambda wanted: _not(_equal(wanted))),
    "$gt": _Operator(_ordered(operator.gt), _has_order, "a number or text"),
    "$gte": _Operator(_ordered(operator.ge), _has_order, "a number or text"),
    "$lt": _Operator(_ordered(operator.lt), _has_order, "a number or text"),
    "$lte": _Operator(_ordered(operator.le), _has_order, "a number or text"),
    "$in": _Operator(_among, _is_list, "a list"),
    "$nin": _Operator(lambda wanted: _not(_among(wanted)), _is_list, "a list"),
    "$exists": _Operator(_exists, _is_bool, "True or False"),
    "$contains": _Operator(_contains),
}
_LOGIC = ("$and", "$or", "$not")


def _unknown(name: str, known: tuple[str, ...]) -> VectorInputError:
    return VectorInputError(f"the filter has an unknown operator {name!r}; known here are {', '.join(known)}")


class _Parser:
    """One reading of one filter; counts the clauses on its way."""

    def __init__(self) -> None:
        self.clauses = 0

    def filter(self, where: Any, depth: int) -> Predicate:
        """Read `{key or logical operator: condition, …}`."""
        self._go_down(depth)
        if not isinstance(where, Mapping):
            raise VectorInputError(f"a filter is a dict such as {{'section': 'returns'}}, got {type(where).__name__}")
        parts = [self._clause(key, wanted, depth) for key, wanted in where.items()]
        if len(parts) == 1:
            return parts[0]
        return lambda metadata: all(part(metadata) for part in parts)

    def _clause(self, key: Any, wanted: Any, depth: int) -> Predicate:
        self._count()
        if not isinstance(key, str):
            raise VectorInputError(f"a filter's keys are text, got {reprlib.repr(key)}")
        if key == "$not":
            part = self.filter(wanted, depth + 1)
            return lambda metadata: not part(metadata)
        if key in ("$and", "$or"):
            if not isinstance(wanted, (list, tuple)) or not wanted:
                raise VectorInputError(
                    f"{key} in a filter wants a list of at least one filter, got {reprlib.repr(wanted)}"
                )
            parts = [self.filter(item, depth + 1) for item in wanted]
            combine = all if key == "$and" else any
            return lambda metadata: combine(part(metadata) for part in parts)
        if key.startswith("$"):
            raise _unknown(key, _LOGIC)
        test = self._condition(key, wanted, depth + 1)
        return lambda metadata: test(metadata.get(key, _MISSING))

    def _condition(self, key: str, wanted: Any, depth: int) -> Test:
        """Read what one key's value must be: a plain value, or `{operator: operand, …}`."""
        self._go_down(depth)
        if not isinstance(wanted, Mapping) or not any(str(name).startswith("$") for name in wanted):
            return self._test(key, "$eq", wanted)
        tests = []
        for name, operand in wanted.items():
            self._count()
            if name == "$not":
                tests.append(_not(self._condition(key, operand, depth + 1)))
            elif name in _OPERATORS:
                tests.append(self._test(key, name, operand))
            else:
                raise _unknown(name, (*_OPERATORS, "$not"))
        return tests[0] if len(tests) == 1 else lambda value: all(test(value) for test in tests)

    def _test(self, key: str, name: str, operand: Any) -> Test:
        kind = _OPERATORS[name]
        plain = check_json(operand, f"the operand of {name} for {key!r} in the filter")
        if not kind.takes(plain):
            raise VectorInputError(f"{name} for {key!r} in a filter wants {kind.wants}, got {reprlib.repr(operand)}")
        return kind.make(plain)

    def _count(self) -> None:
        self.clauses += 1
        if self.clauses > MAX_CLAUSES:
            raise VectorInputError(f"the filter has more than {MAX_CLAUSES} clauses; use $in for many values")

    def _go_down(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise VectorInputError(f"the filter is more than {MAX_DEPTH} levels deep")
