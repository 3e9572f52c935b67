"""Stillness: whether the code of endpoints leaves the session's objects unchanged.

A call that only reads constants and uses the package's own models and stores changes nothing. Any
other reachable mutable object may be modified.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any

from conduit_lab.core.stage import Stage
from conduit_lab.export.causes import varying
from conduit_lab.export.reach import below, own_modules, uses
from conduit_lab.export.state.anatomy import is_kind, module_of
from conduit_lab.export.state.plain_values import PLAIN_VALUES, is_scalar
from conduit_lab.flow.rag import Rag
from conduit_lab.models.file_model import FileModel
from conduit_lab.serving.app import App
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.vectors.store import VectorStore

_OPERATIONS = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR")
_SETTERS = frozenset({setattr, delattr, globals, vars, exec, eval, next})
_CODE = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.ClassMethodDescriptorType, types.GetSetDescriptorType, staticmethod, classmethod,
)  # fmt: skip
_RESOURCES = (App, Endpoint, FileModel, Rag, VectorStore)
_HOLDERS = (types.ModuleType, type)  # of a library's functions and class methods
_MAX_OBJECTS = 10_000


def is_still(app: App, endpoints: Sequence[Endpoint[..., Any]]) -> bool:
    """Return whether no call of the endpoints changes an object of the session, as far as known."""
    return all(
        not varying(app, each) and _is_still(each, own_modules(app, each)) for each in endpoints
    )


def _is_still(endpoint: Endpoint[..., Any], is_own: Callable[[Any], bool]) -> bool:
    pending: list[Any] = [endpoint]
    seen: dict[int, Any] = {}
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        parts = _parts(value, is_own)
        if parts is None or len(seen) > _MAX_OBJECTS:
            return False
        pending += parts
    return True


def _parts(value: Any, is_own: Callable[[Any], bool]) -> list[Any] | None:
    """Return the objects that a call reaches through this one; None if it may change it."""
    kind = type(value)
    if kind is types.FunctionType:
        if not is_own(value.__module__):
            return below(value, is_own) if value.__closure__ else []
        if _stores(value.__code__):
            return None
        names = [use.value for use in uses(value.__code__, value.__globals__)]
        return [*names, *below(value, is_own)]
    if kind is tuple or kind is frozenset:
        return list(value)
    if kind is types.ModuleType or is_scalar(kind) or is_kind(kind, (*PLAIN_VALUES, Enum)):
        return []
    if is_kind(kind, type):
        return None if is_own(module_of(value)) else []
    if any(kind is each for each in _CODE):
        return None if _is_setter(value) else below(value, is_own)
    if kind is types.MethodType or is_kind(kind, partial):
        return below(value, is_own)
    if is_kind(kind, _RESOURCES) or (is_kind(kind, Stage) and not is_own(module_of(kind))):
        return [value.rerank] if is_kind(kind, Rag) else below(value, is_own)
    return None


def _is_setter(value: Any) -> bool:
    """Return whether a built-in mutates: by its identity, or as a method of an object."""
    if type(value) is not types.BuiltinFunctionType:
        return False
    holder = value.__self__
    return value in _SETTERS or not (holder is None or is_kind(type(holder), _HOLDERS))


def _stores(code: types.CodeType) -> bool:
    """Return whether code sets a global, an attribute, or a variable of an enclosing function."""
    for each in dis.get_instructions(code):
        if each.opname in _OPERATIONS:
            return True
        if each.opname in ("STORE_DEREF", "DELETE_DEREF") and each.argval in code.co_freevars:
            return True
    return any(_stores(const) for const in code.co_consts if isinstance(const, types.CodeType))
