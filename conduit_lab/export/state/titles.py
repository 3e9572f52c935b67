"""Titles: the names of classes, functions and annotations in the lines of a state."""

from __future__ import annotations

import re
import types
from typing import Any

from conduit_lab.export.state.anatomy import class_name, module_of, qualname_of

ROUTINES = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def class_title(kind: type, own: Any) -> str:
    """Return a library class's full name; classes of the session's module have no prefix."""
    module = module_of(kind)
    return qualname_of(kind) if module in ("", "builtins", own) else f"{module}.{qualname_of(kind)}"


def qualified(value: Any, own: Any) -> str:
    """Return a function's full name; functions of the session's module have no prefix."""
    module = getattr(value, "__module__", None) or module_of(type(value))
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    named = isinstance(module, str) and module not in ("", "builtins", own)
    return f"{module}.{name}" if named else str(name)


def callable_name(function: Any) -> str:
    """Return the name of a method's function, which may be any callable."""
    plain = types.FunctionType, *ROUTINES
    return str(function.__name__) if type(function) in plain else class_name(type(function))


def hint_text(hint: Any, own: str) -> str:
    """Return an annotation as text, without object addresses."""
    try:
        text = repr(hint)
    except Exception:  # raised by session code in an annotation
        text = class_name(type(hint))
    return _ADDRESS.sub("", text).replace(f"{own}.", "")
