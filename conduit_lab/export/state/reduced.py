"""The parts of an object, as `copy` and `pickle` see them."""

from __future__ import annotations

import copyreg
import types
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

_ONLY_KIND = (  # running, or emptied at any time
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    WeakKeyDictionary,
    WeakValueDictionary,
    WeakSet,
)


def reduced(value: Any, kind: type) -> list[tuple[str, Any]] | str | None:
    """Return the parts of an object as `copy` and `pickle` see them; None where it has none."""
    if isinstance(value, _ONLY_KIND):
        return None
    registered = copyreg.dispatch_table.get(kind)
    try:
        made: Any = registered(value) if registered else cast("Any", kind).__reduce_ex__(value, 4)
    except Exception:  # a lock, a socket, an object that refuses to be copied
        return None
    if isinstance(made, str):
        return made
    if not isinstance(made, tuple) or len(made) < 2:
        return None
    call, arguments, state, items, pairs = (*made, None, None, None)[:5]
    parts: list[tuple[str, Any]] = []
    if getattr(call, "__name__", "") not in ("__newobj__", "__newobj_ex__", "_reconstructor"):
        parts.append((", made by", call))
    rest = [part for part in arguments if part is not kind]
    if rest:
        parts.append((", made of", rest))
    slots = None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state, slots = state
    for held in (state, slots):
        if isinstance(held, dict):
            parts += [(f".{name}", part) for name, part in held.items()]
        elif held is not None:
            parts.append((", its state", held))
    if items is not None:
        parts.append((", its items", list(items)))
    if pairs is not None:
        parts.append((", its items", dict(pairs)))
    return parts
