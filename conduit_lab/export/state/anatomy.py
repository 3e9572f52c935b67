"""Anatomy: the parts of classes and instances, read without running any of their code.

A class may return a dict for any attribute, lie about its `__class__`, or raise; so may its
metaclass. These functions therefore use only the descriptors of `type` and of built-in types.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator
from typing import Any

_BASES = type.__dict__["__bases__"]
_MRO = type.__dict__["__mro__"]
_DICT = type.__dict__["__dict__"]
_QUALNAME = type.__dict__["__qualname__"]
_NAME = type.__dict__["__name__"]

# for subclasses of these types: how to read the content besides the attributes
_CONTENTS: tuple[tuple[type, Any], ...] = (
    (dict, lambda value: dict(dict.items(value))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value: bytes(bytearray.__iter__(value))),
    (int, int.__int__),
    (float, float.__float__),
    (complex, lambda value: complex.__pos__(value)),
)


def bases_of(kind: type) -> tuple[type, ...]:
    """Return the direct bases of a class."""
    found: tuple[type, ...] = _BASES.__get__(kind)
    return found


def mro_of(kind: type) -> tuple[type, ...]:
    """Return a class and its bases in method resolution order."""
    found: tuple[type, ...] = _MRO.__get__(kind)
    return found


def attributes_of(kind: type) -> dict[str, Any]:
    """Return the attributes defined in a class body."""
    return dict(_DICT.__get__(kind))


def qualname_of(kind: type) -> str:
    """Return the qualified name of a class."""
    return str(_QUALNAME.__get__(kind))


def class_name(kind: type) -> str:
    """Return the name of a class."""
    return str(_NAME.__get__(kind))


def module_of(kind: type) -> str:
    """Return the module name of a class; empty if it has none."""
    found = _DICT.__get__(kind).get("__module__", "builtins")
    return found if type(found) is str else ""


def class_of_proxy(proxy: types.MappingProxyType[str, Any]) -> type | None:
    """Return the class whose attributes a mapping proxy shows, as `vars(kind)` does, or None."""
    mapping = gc.get_referents(proxy)[0]
    for each in gc.get_referrers(mapping):
        if is_kind(type(each), type) and gc.get_referents(_DICT.__get__(each))[0] is mapping:
            found: type = each
            return found
    return None


def is_made(module: types.ModuleType) -> bool:
    """Return whether code made a module that no import finds, as `types.ModuleType("name")`."""
    names = types.ModuleType.__getattribute__(module, "__dict__")
    return names.get("__spec__") is None and sys.modules.get(str(names["__name__"])) is not module


def is_kind(kind: type, known: type | tuple[type, ...]) -> bool:
    """Return whether `kind` is one of `known` or a subclass, judging by its MRO alone."""
    choices = known if isinstance(known, tuple) else (known,)
    return any(base is one for base in mro_of(kind) for one in choices)


def instance_parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield an instance's attributes and slots, and the content of its built-in base."""
    kind = type(value)
    bases = mro_of(kind)
    for base in bases:
        held = _DICT.__get__(base).get("__dict__")
        if type(held) is types.GetSetDescriptorType:
            attributes = held.__get__(value)
            if type(attributes) is dict:
                yield from ((f".{name}", part) for name, part in list(attributes.items()))
            break
    for base in bases:
        for name, member in _DICT.__get__(base).items():
            if type(member) is types.MemberDescriptorType and type(name) is str:
                try:
                    yield f".{name}", member.__get__(value)
                except AttributeError:  # an unset slot
                    continue
    for base, content in _CONTENTS:
        if kind is not base and any(each is base for each in bases):
            yield ", its content", content(value)
            break
