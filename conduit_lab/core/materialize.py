"""materialize: replace single-use iterators with lists."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import suppress
from typing import Any

import numpy as np

from conduit_lab.core.weight import PLAIN

_LEAVES = PLAIN | {bytes, np.ndarray}


def materialize(value: Any) -> Any:
    """Return `value` with each iterator in it replaced by a list of its items.

    Containers, dataclasses and pydantic models that contain an iterator are copied; everything else
    is returned as is.
    """
    if type(value) in _LEAVES:
        return value
    with suppress(RecursionError):  # nested deeper than JSON allows: `dumps` raises the error
        return _materialized(value)
    return value


def _materialized(value: Any) -> Any:
    kind = type(value)
    if kind in _LEAVES or (kind is list and PLAIN.issuperset(map(type, value))):
        return value
    if isinstance(value, Iterator):
        return [_materialized(item) for item in value]
    if isinstance(value, Mapping):
        changed = _changed(value.items(), PLAIN.issuperset(map(type, value.values())))
        return {**value, **changed} if changed else value
    if isinstance(value, list | tuple | deque | KeysView | ValuesView | ItemsView):
        changed = _changed(enumerate(value), PLAIN.issuperset(map(type, value)))
        items = [changed.get(place, item) for place, item in enumerate(value)] if changed else value
        return value._make(items) if changed and hasattr(value, "_make") else items  # a named tuple
    # a pydantic model, recognized without importing pydantic
    if hasattr(type(value), "model_copy"):
        changed = _changed(value)
        return value.model_copy(update=changed) if changed else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        changed = _changed((f.name, getattr(value, f.name, None)) for f in fields)
        value = copy.copy(value) if changed else value
        for name, new in changed.items():
            object.__setattr__(value, name, new)  # works for frozen ones too
    return value


def _changed(items: Iterable[tuple[Any, Any]], plain: bool = False) -> dict[Any, Any]:
    """Return the items that contain an iterator, materialized; `plain` items contain none."""
    if plain:
        return {}
    materialized = ((key, item, _materialized(item)) for key, item in items)
    return {key: new for key, item, new in materialized if new is not item}
