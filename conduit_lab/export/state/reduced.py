"""The parts from which an object could be rebuilt."""

from __future__ import annotations

import copyreg
import gc
import types
from collections.abc import Callable
from contextvars import Context, ContextVar
from logging import Logger, RootLogger
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from conduit_lab.export.state.anatomy import (
    attributes_of,
    instance_parts,
    is_kind,
    module_of,
    mro_of,
)

_ONLY_KIND = (  # only their type is compared: they are running, or may be emptied at any time
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    WeakKeyDictionary,
    WeakValueDictionary,
    WeakSet,
)
_CACHES = ("_cache", "_ufunc")  # of a GroupBy, and of np.vectorize
_UNSET = "none"
_HOOKS = ("__reduce_ex__", "__reduce__")

Parts = list[tuple[str, Any]]


def parts_of(value: Any, kind: type, is_own: Callable[[type], bool]) -> Parts | str | None:
    """Return the parts of an object; None if it has none, a string if a name identifies it.

    For the session's own classes (`is_own`), the parts are attributes, slots and content, plus
    those of a library base class; none of their methods runs. For library classes, the parts are
    what `copy` and `pickle` use.
    """
    if is_kind(kind, _ONLY_KIND):
        return None
    if kind is Logger or kind is RootLogger:
        return _logger_parts(value)
    if kind is ContextVar:
        return [(".name", value.name), (", its default", Context().run(value.get, _UNSET))]
    if kind is types.MappingProxyType:
        return [(", its mapping", gc.get_referents(value)[0])]
    bases = mro_of(kind)
    if not any(is_own(base) for base in bases):
        return _reduced(value, kind, kind)
    parts = list(instance_parts(value))
    library = next((base for base in bases if not is_own(base) and _has_hook(base)), None)
    if library is not None:
        made = _reduced(value, kind, library)
        known = {name for name, _ in parts}
        if isinstance(made, list):
            parts += [part for part in made if part[0] not in known]
    return parts


def _logger_parts(logger: Logger) -> Parts:
    """Return a logger's level and filters; its handlers belong to the server."""
    return [
        (".name", logger.name),
        (".getEffectiveLevel()", logger.getEffectiveLevel()),
        (".disabled", logger.disabled),
        (".filters", list(logger.filters)),
        (".manager.disable", logger.manager.disable),
    ]


def is_cache(name: str, kind: type) -> bool:
    """Return whether an attribute of a NumPy or pandas object keeps results that it can repeat."""
    return name in _CACHES and module_of(kind).partition(".")[0] in ("numpy", "pandas")


def _has_hook(base: type) -> bool:
    return base is not object and any(hook in attributes_of(base) for hook in _HOOKS)


def _reduced(value: Any, kind: type, base: type) -> Parts | str | None:
    """Return the parts that `copy` and `pickle` would use, by the methods of `base`."""
    registered = copyreg.dispatch_table.get(kind)
    method: Any = base
    try:
        made: Any = registered(value) if registered else method.__reduce_ex__(value, 4)
    except Exception:  # a lock, a socket, or an object that refuses to be copied
        return None
    if type(made) is str:
        return made
    if type(made) is not tuple or len(made) < 2:
        return None
    call, arguments, state, items, pairs = (*made, None, None, None)[:5]
    parts: Parts = []
    if getattr(call, "__name__", "") not in ("__newobj__", "__newobj_ex__", "_reconstructor"):
        parts.append((", made by", call))
    rest = [part for part in arguments if part is not kind]
    if rest:
        parts.append((", made of", rest))
    slots = None
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        state, slots = state
    for held in (state, slots):
        if type(held) is dict:
            parts += [(f".{name}", part) for name, part in held.items() if not is_cache(name, kind)]
        elif held is not None:
            parts.append((", its state", held))
    if items is not None:
        parts.append((", its items", list(items)))
    if pairs is not None:
        parts.append((", its items", dict(pairs)))
    return parts
