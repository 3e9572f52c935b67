"""Identity: equal immutable values that code compares by `is`.

Python shares equal constants within one compiled file, so two cells may hold two objects where
`app.py` holds one. That matters only to code that compares such values by identity.
"""

from __future__ import annotations

import builtins
import dis
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

COMPARED = ", compared by identity in "
CONTAINERS = "containers"  # which find a NaN by identity

_SINGLETONS = (type(None), bool, type(Ellipsis), type(NotImplemented))
_FIXED = (
    range, slice, date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID,
    PosixPath, WindowsPath, PurePosixPath, PureWindowsPath,
)  # fmt: skip
_FIXED_IDS = frozenset(map(id, _FIXED))  # by id, as a metaclass may define its own `==`
_FIXED_BASES = (tuple, frozenset, np.generic)
_NOISE = frozenset({"CACHE", "RESUME", "NOP", "EXTENDED_ARG", "KW_NAMES"})
_LOADS_OF_NAMES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_UNKNOWN = object()


class IdentityTest(NamedTuple):
    """A comparison by identity in a function, and its known values."""

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
        first: dict[int, str] = {}
        groups: dict[Any, int] = defaultdict(int)
        for place, value in self._candidates(set(tests)):
            if not is_copied(value):
                continue
            if not (tests or is_nan(value)):
                continue
            key = _key(value)
            test = tests.get(key) or (is_nan(value) and CONTAINERS)
            if not test:
                continue
            known = first.get(id(value))
            first.setdefault(id(value), place)
            if groups[key]:
                text = "an object of its own" if known is None else f"the same object as {known}"
                yield f"{place}{COMPARED}{test}", text
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
    """Yield the comparisons by identity with a constant, global or enclosing name that is copied.

    `x is None`, and a comparison with a class, a member of an enum or an `object()`, are not among
    them, and neither are those of values that only a call knows, as of two parameters.
    """
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    bound = {name: _contents(cell) for name, cell in cells}
    for values in _tests(code, {**vars(builtins), **function.__globals__, **bound}):
        yield IdentityTest(function.__name__, values)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return _UNKNOWN


def _tests(code: types.CodeType, names: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    steps = [each for each in dis.get_instructions(code) if each.opname not in _NOISE]
    for place, step in enumerate(steps):
        if step.opname == "IS_OP":
            right = _operand(steps[:place])
            left = _operand(steps[: place - len(right)]) if right else []
            values = [_value(each, names) for each in (left, right) if each]
            if known := tuple(filter(is_copied, values)):
                yield known
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _tests(constant, names)


def _operand(steps: Sequence[dis.Instruction]) -> Sequence[dis.Instruction]:
    """Return the last steps, which compute the top of the stack; empty if they branch."""
    height = 0
    for start in range(len(steps) - 1, -1, -1):
        step = steps[start]
        if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            return []
        argument = step.arg if step.opcode >= dis.HAVE_ARGUMENT else None
        height += dis.stack_effect(step.opcode, argument, jump=False)
        if height >= 1:
            return steps[start:] if height == 1 else []
    return []


def _value(steps: Sequence[dis.Instruction], names: Mapping[str, Any]) -> Any:
    """Return the value of an operand that is a constant, a name or its attribute."""
    first, *others = steps
    if first.opname == "LOAD_CONST":
        value = first.argval
    elif first.opname in _LOADS_OF_NAMES:
        value = names.get(first.argval, _UNKNOWN)
    else:
        return _UNKNOWN
    for step in others:
        value = _attribute(value, step.argval) if step.opname == "LOAD_ATTR" else _UNKNOWN
    return value


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute that a module or a class holds, without running code."""
    if is_kind(type(value), types.ModuleType):
        return vars(value).get(name, _UNKNOWN)
    if is_kind(type(value), type):
        return attributes_of(value).get(name, _UNKNOWN)
    return _UNKNOWN


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
