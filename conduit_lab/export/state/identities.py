"""Identity: equal immutable values that code tells apart by `is` or `id()`.

Python shares equal constants within one compiled file, so two cells may hold two objects where
`app.py` holds one. That matters only to code that compares such values by identity.
"""

from __future__ import annotations

import builtins
import dis
import itertools
import operator
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from conduit_lab.export.state.anatomy import attributes_of, class_name, is_kind
from conduit_lab.export.state.plain_values import is_scalar

TOLD_APART = ", told apart by identity in "
CONTAINERS = "containers"  # which find a NaN by identity

_SINGLETONS = (type(None), bool, type(Ellipsis), type(NotImplemented))
_FIXED = (
    range, slice, date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID,
    PosixPath, WindowsPath, PurePosixPath, PureWindowsPath,
)  # fmt: skip
_FIXED_IDS = frozenset(map(id, _FIXED))  # by id, as a metaclass may define its own `==`
_FIXED_BASES = (tuple, frozenset, np.generic)
_NOISE = frozenset({"CACHE", "RESUME", "NOP", "EXTENDED_ARG", "KW_NAMES"})
_OF_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR")
_OF_VALUES = frozenset().union(*(dir(kind) for kind in (str, bytes, int, float, tuple, frozenset)))
_RECEIVERS = ("self", "cls")
_COMPARING = (id, operator.is_, operator.is_not)
_STABLE, _UNKNOWN = object(), object()  # operands without a value that a process may copy


class IdentityTest(NamedTuple):
    """A comparison by identity in a function, and its values; none if they are unknown."""

    function: str
    values: tuple[Any, ...]


class Identities:
    """The immutable values that a walk reached, and the comparisons by identity of its code."""

    def __init__(self) -> None:
        self._tests: list[IdentityTest] = []
        self._values: list[tuple[str, Any]] = []
        self._containers: dict[str, Any] = {}
        self._compared: list[tuple[str, Any]] = []
        self._codes: list[tuple[str, types.CodeType]] = []

    def add_function(self, place: str, function: types.FunctionType) -> None:
        """Add the comparisons and constants of a function."""
        found = list(identity_tests(function))
        self._tests += found
        self._compared += [(place, value) for test in found for value in test.values]
        self._codes.append((place, function.__code__))

    def add(self, place: str, value: Any) -> None:
        """Add an immutable value."""
        self._values.append((place, value))

    def add_items(self, place: str, container: Any) -> None:
        """Add the items of a container of plain values."""
        self._containers[place] = container

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield a place and a text per compared value that equals an earlier one."""
        tests = {_key(value): test.function for test in self._tests for value in test.values}
        any_test = next((test.function for test in self._tests if not test.values), "")
        first: dict[int, str] = {}
        groups: dict[Any, int] = defaultdict(int)
        for place, value in self._candidates(set(tests)):
            if not is_copied(value):
                continue
            if not (tests or any_test or is_nan(value)):
                continue
            key = _key(value)
            test = tests.get(key, any_test) or (is_nan(value) and CONTAINERS)
            if not test:
                continue
            known = first.get(id(value))
            first.setdefault(id(value), place)
            if groups[key]:
                text = "an object of its own" if known is None else f"the same object as {known}"
                yield f"{place}{TOLD_APART}{test}", text
            groups[key] += 1

    def _candidates(self, keys: set[Any]) -> Iterator[tuple[str, Any]]:
        yield from self._values
        for place, container in self._containers.items():
            for name, item in _items(container):
                if self._tests or item != item:
                    yield f"{place}[{name!r}]", item
        yield from (
            (f"{place}, a value that it compares", value) for place, value in self._compared
        )
        for place, code in self._codes:
            for constant in _constants(code):
                if is_copied(constant) and _key(constant) in keys:
                    yield f"{place}, a constant of its code", constant


def is_copied(value: Any) -> bool:
    """Return whether a process may hold one object or several of a value, without a meaning."""
    kind = type(value)
    if is_scalar(kind):
        return kind not in _SINGLETONS
    if kind is timezone and value is UTC:
        return False
    return id(kind) in _FIXED_IDS or (is_kind(kind, _FIXED_BASES) and not is_kind(kind, Enum))


def is_nan(value: Any) -> bool:
    """Return whether a value is a NaN, which a container finds only by identity."""
    kind = type(value)
    if kind is float or kind is complex or is_kind(kind, np.inexact):
        return bool(value != value)
    return kind is Decimal and bool(value.is_nan())


def identity_tests(function: types.FunctionType) -> Iterator[IdentityTest]:
    """Yield the comparisons by identity whose operands may be values that a process copies.

    `x is None`, a comparison with a class, a member of an enum or an `object()`, and one of objects
    that have attributes of their own are not among them.
    """
    names = {**vars(builtins), **function.__globals__}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    bound = {name: _contents(cell) for name, cell in cells}
    for values in _tests(function.__code__, names, bound):
        yield IdentityTest(function.__name__, values)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return _UNKNOWN


class _Step(NamedTuple):
    name: str
    argument: Any
    effect: int  # on the height of the stack
    number: int | None


def _tests(
    code: types.CodeType, names: Mapping[str, Any], bound: Mapping[str, Any]
) -> Iterator[tuple[Any, ...]]:
    steps = list(_steps(code))
    owners = _attribute_owners(steps)

    def known(operand: list[_Step]) -> Any:
        found = _operand(operand, names, bound)
        last = operand[-1].argument if len(operand) == 1 else None
        return _STABLE if found is _UNKNOWN and last in owners else found

    for place, step in enumerate(steps):
        if step.name == "IS_OP":
            right = _before(steps, place)
            left = _before(steps, place - len(right)) if right else []
            operands = [known(each) if each else _UNKNOWN for each in (left, right)]
        elif _compares(step, names):
            operands = [_UNKNOWN]
        else:
            continue
        if not any(each is _STABLE for each in operands):
            yield tuple(each for each in operands if each is not _UNKNOWN)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _tests(constant, names, {})


def _compares(step: _Step, names: Mapping[str, Any]) -> bool:
    """Return whether a step loads `id`, `operator.is_` or `operator.is_not`."""
    if step.name in ("LOAD_GLOBAL", "LOAD_NAME"):
        return any(names.get(step.argument) is each for each in _COMPARING)
    return step.name in _OF_ATTRIBUTES and step.argument in ("is_", "is_not")


def _steps(code: types.CodeType) -> Iterator[_Step]:
    for each in dis.get_instructions(code):
        if each.opname in _NOISE:
            continue
        if isinstance(each.argval, tuple) and each.opname.startswith("LOAD_FAST"):
            for name in each.argval:  # two loads in one instruction
                yield _Step("LOAD_FAST", name, 1, None)
            continue
        argument = each.arg if each.opcode >= dis.HAVE_ARGUMENT else None
        effect = dis.stack_effect(each.opcode, argument, jump=False)
        yield _Step(each.opname, each.argval, effect, each.arg)


def _before(steps: list[_Step], end: int) -> list[_Step]:
    """Return the steps before `end` that compute the top of the stack; empty if unknown."""
    height = 0
    for start in range(end - 1, -1, -1):
        step = steps[start]
        if "JUMP" in step.name or step.name.startswith(("STORE", "POP", "FOR_ITER", "YIELD")):
            return []
        height += step.effect
        if height >= 1:
            return steps[start:end] if height == 1 else []
    return []


def _operand(steps: list[_Step], names: Mapping[str, Any], bound: Mapping[str, Any]) -> Any:
    """Return the value of an operand, `_STABLE` if no process copies it, or `_UNKNOWN`."""
    first, last = steps[0], steps[-1]
    if first.name in ("LOAD_GLOBAL", "LOAD_NAME") and last.name == "CALL" and len(steps) > 1:
        return _STABLE if names.get(first.argument) is type else _UNKNOWN
    if last.argument == "__class__":
        return _STABLE
    if first.name == "LOAD_CONST":
        value = first.argument
    elif first.name in ("LOAD_GLOBAL", "LOAD_NAME"):
        value = names.get(first.argument, _UNKNOWN)
    elif first.name.startswith(("LOAD_DEREF", "LOAD_FAST")):
        value = bound.get(first.argument, _UNKNOWN)
        if len(steps) == 1 and first.argument in _RECEIVERS:
            return _STABLE
    else:
        return _UNKNOWN
    for step in steps[1:]:
        value = _attribute(value, step.argument) if step.name == "LOAD_ATTR" else _UNKNOWN
    if value is _UNKNOWN or is_copied(value):
        return value
    return _STABLE


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute that a module or a class holds, without running code."""
    if is_kind(type(value), types.ModuleType):
        return vars(value).get(name, _UNKNOWN)
    if is_kind(type(value), type):
        return attributes_of(value).get(name, _UNKNOWN)
    return _UNKNOWN


def _attribute_owners(steps: list[_Step]) -> set[Any]:
    """Return the local names whose attributes no plain value has: their objects are no copies."""
    return {
        before.argument
        for before, step in itertools.pairwise(steps)
        if step.name in _OF_ATTRIBUTES
        and step.argument not in _OF_VALUES
        and before.name.startswith(("LOAD_FAST", "LOAD_DEREF"))
    }


def _items(container: Any) -> Iterable[tuple[object, Any]]:
    if isinstance(container, dict):
        return container.items()
    is_set = isinstance(container, set | frozenset)
    return enumerate(sorted(container, key=repr) if is_set else container)


def _constants(code: types.CodeType) -> Iterator[Any]:
    for constant in code.co_consts:
        yield constant
        if isinstance(constant, types.CodeType):
            yield from _constants(constant)


def _key(value: Any) -> Any:
    """Return a key that equal values of one type share, and a process can compare."""
    kind = type(value)
    if is_kind(kind, tuple):
        return class_name(kind), tuple(map(_key, tuple.__iter__(value)))
    if is_kind(kind, frozenset):
        return class_name(kind), frozenset(map(_key, frozenset.__iter__(value)))
    if is_scalar(kind) or is_copied(value):
        return class_name(kind), repr(value)
    return "object", id(value)
