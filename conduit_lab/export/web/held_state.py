"""HeldState: restore the containers that a function can reach after it was traced."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from conduit_lab.export.web.guard import is_library
from conduit_lab.export.web.stand_ins import names_in_code

_CONTAINERS = (list, dict, set, deque, bytearray)
_MAX_OBJECTS = 10_000
_NONE = object()


class HeldState:
    """Shallow copies of the lists, dicts and sets that a user's function can change.

    A trace calls the function with symbols. A symbol appended to a list of the session must not
    stay there, nor may the change go unnoticed.
    """

    def __init__(self, function: Any) -> None:
        self._copies = [(each, copy.copy(each)) for each in _containers(function)]

    def restore(self) -> bool:
        """Restore changed containers; return whether there were any."""
        changed = [pair for pair in self._copies if not _same(*pair)]
        for held, before in changed:
            held.clear()
            if isinstance(held, (dict, set)):
                held.update(before)
            else:
                held.extend(before)
        return bool(changed)


def _containers(function: Any) -> Iterator[Any]:
    pending: list[Any] = [function]
    seen: set[int] = set()
    while pending and len(seen) < _MAX_OBJECTS:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = type(value)
        if kind is FunctionType:
            if not is_library(value.__code__.co_filename):
                pending += _held_by(value)
        elif issubclass(kind, _CONTAINERS):
            yield value
            pending += value.values() if issubclass(kind, dict) else list(value)
        elif issubclass(kind, tuple):
            pending += value
        elif not is_library(_file_of(kind)):  # an instance of the user's own class
            pending += getattr(value, "__dict__", {}).values()
            pending += [vars(kind).get(name) for name in vars(kind)]


def _held_by(function: FunctionType) -> list[Any]:
    held = [function.__globals__.get(name, _NONE) for name in names_in_code(function.__code__)]
    held += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return [*held, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not _NONE
    except ValueError:
        return False


def _file_of(kind: type) -> str:
    """Return the file of a class's first method, or a name for Python's own if it has none."""
    codes = (getattr(each, "__code__", None) for each in vars(kind).values())
    return next((code.co_filename for code in codes if code is not None), "<frozen")


def _same(held: Any, before: Any) -> bool:
    if len(held) != len(before):
        return False
    if isinstance(held, dict):
        pairs = zip(held.items(), before.items(), strict=True)
        return all(key is other and each is old for (key, each), (other, old) in pairs)
    if isinstance(held, set):
        return {id(each) for each in held} == {id(each) for each in before}
    return all(each is old for each, old in zip(held, before, strict=True))
