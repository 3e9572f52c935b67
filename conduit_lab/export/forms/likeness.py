"""Likeness: whether two objects match in type, value, order and aliasing, at every depth."""

from __future__ import annotations

import copyreg
import types
from typing import Any

import numpy as np

from conduit_lab.core.frame_file import is_pandas_table, same_table
from conduit_lab.export.forms.places import ObjectPlaces
from conduit_lab.export.state.code import code_text
from conduit_lab.export.state.plain_values import PLAIN_VALUES, SCALARS

_VALUES = (*PLAIN_VALUES, np.dtype)
_MAX_DEPTH = 200


class Likeness:
    """The comparison of a live object with its reconstruction.

    An object in `places` matches only itself: a copy of it would lose the alias.
    """

    def __init__(self, places: ObjectPlaces) -> None:
        self._places = places
        self._pairs: dict[int, tuple[Any, Any]] = {}  # by either id; keeps the objects alive

    def same(self, made: Any, live: Any, depth: int = 0) -> bool:
        """Return whether `made` matches `live` in everything that code could observe."""
        if made is live:
            return True
        kind = type(live)
        if type(made) is not kind or depth > _MAX_DEPTH:
            return False
        if kind in SCALARS:
            return repr(made) == repr(live)
        if kind in (tuple, frozenset) or isinstance(live, _VALUES):
            return self._same_parts(made, live, depth)
        if self._places.of(live) is not None or isinstance(live, type | types.ModuleType):
            return False
        for one, other in ((made, live), (live, made)):
            known = self._pairs.setdefault(id(one), (one, other))
            if known[1] is not other:
                return False
        return self._same_parts(made, live, depth)

    def _same_parts(self, made: Any, live: Any, depth: int) -> bool:
        kind = type(live)
        if kind in (list, tuple):
            return self._same_items(made, live, depth)
        if kind is dict:
            return self._same_items(list(made), list(live), depth) and self._same_items(
                list(made.values()), list(live.values()), depth
            )
        if kind in (set, frozenset):
            return self._same_items(_paired(made, live), list(live), depth)
        if kind is types.FunctionType:
            return self._same_function(made, live, depth)
        if kind is np.ndarray and not live.dtype.hasobject:
            return _same_array(made, live)
        if is_pandas_table(live):
            return same_table(made, live)
        if isinstance(live, types.MappingProxyType):
            return self.same(dict(made), dict(live), depth + 1)
        mine, other = _copied(made), _copied(live)
        return mine is not None and other is not None and self.same(mine, other, depth + 1)

    def _same_items(self, made: list[Any], live: list[Any], depth: int) -> bool:
        if len(made) != len(live):
            return False
        return all(self.same(a, b, depth + 1) for a, b in zip(made, live, strict=True))

    def _same_function(self, made: Any, live: Any, depth: int) -> bool:
        if made.__closure__ or live.__closure__ or made.__name__ != live.__name__:
            return False
        if code_text(made.__code__) != code_text(live.__code__):
            return False
        one, other = (
            (each.__defaults__, each.__kwdefaults__, each.__dict__) for each in (made, live)
        )
        return self.same(one, other, depth + 1)


def _same_array(made: Any, live: Any) -> bool:
    shape = (live.dtype, live.shape, live.flags.writeable, live.flags.f_contiguous)
    other = (made.dtype, made.shape, made.flags.writeable, made.flags.f_contiguous)
    return shape == other and bool(made.tobytes() == live.tobytes())


def _paired(made: Any, live: Any) -> list[Any]:
    """Return the items of a set in the order of an equal one; fewer if one is missing."""
    try:
        known = {each: each for each in made}
        return [known[each] for each in live if each in known] if len(known) == len(live) else []
    except Exception:  # raised by the session's own code
        return []


def _copied(value: Any) -> list[Any] | None:
    """Return the parts from which `copy` rebuilds an object, or None if it cannot be copied."""
    registered = copyreg.dispatch_table.get(type(value))
    try:
        made = registered(value) if registered else value.__reduce_ex__(4)
    except Exception:  # raised by the object's own code
        return None
    if not isinstance(made, tuple):
        return None
    call, arguments, state, items, pairs = (*made, None, None, None)[:5]
    filled = None if items is None else list(items), None if pairs is None else dict(pairs)
    return [call, arguments, state, *filled]
