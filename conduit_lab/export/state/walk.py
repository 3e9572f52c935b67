"""Walk: every object that an app's endpoints reach, as one line each, in a fixed order."""

from __future__ import annotations

import builtins
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from conduit_lab.export.state.code import code_text, global_names
from conduit_lab.export.state.plain_values import SCALARS, digest, flat_text, scalar_text
from conduit_lab.export.state.reduced import reduced

MAX_LINES = 200_000  # of one app; further objects are not compared, and a warning says so

_ROUTINES = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_IMMUTABLE = (
    tuple,
    frozenset,
    range,
    slice,
    date,
    time,
    timedelta,
    tzinfo,
    Decimal,
    Fraction,
    UUID,
    PurePath,
    re.Pattern,
    np.generic,
    Enum,
)
_CONTAINERS = (list, tuple, set, frozenset, dict)
# attributes of a class that say nothing about its behaviour, or hold the process's own objects
_CLASS_NOISE = frozenset(
    {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__",
     "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__",
     "__annotations_cache__", "__subclasshook__", "__signature__"}
)  # fmt: skip
_MODULE_NOISE = frozenset(
    {"__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__", "__package__",
     "__path__", "__spec__", "__warningregistry__"}
)  # fmt: skip


class StateLine(NamedTuple):
    """One object: how the endpoints reach it, and its value or its kind."""

    place: str
    text: str


class Walk:
    """The lines of the objects below some roots; each object is walked once, with its aliases.

    `names` are the globals of the session, or of the exported `app.py`, and `root` the folder of
    the project there: paths below it, and modules from files below it, belong to the state.
    `is_hidden` tells the names that a notebook puts beside the user's own.
    """

    def __init__(
        self,
        names: dict[str, Any],
        root: Path,
        is_hidden: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.names = names
        self.root = root
        self._is_hidden = is_hidden
        self.lines: list[StateLine] = []
        self._own = names.get("__name__")
        self._seen: dict[int, tuple[str, Any]] = {}  # the first place of each object; keeps it
        self._pending: list[Iterator[tuple[str, Any]]] = []

    def add(self, place: str, value: Any) -> None:
        """Add the lines of `value` and of everything below it, depth first."""
        self._pending = [iter([(place, value)])]
        while self._pending and len(self.lines) < MAX_LINES:
            try:
                step = next(self._pending[-1], None)
            except Exception:  # an object whose own code raises
                step = None
            if step is None:
                self._pending.pop()
            else:
                self._pending.append(self._visit(*step))

    def _visit(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Write the line of one object; yield the objects below it."""
        kind = type(value)
        if kind in SCALARS:
            self._write(place, scalar_text(value))
            return
        if not isinstance(value, _IMMUTABLE):  # two names of an equal one are the same
            known = self._seen.get(id(value))
            if known is not None:
                self._write(place, f"the same object as {known[0]}")
                return
            self._seen[id(value)] = place, value
        yield from self._describe(place, value, kind)

    def _describe(self, place: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
        from conduit_lab.export.state.resources import resource_parts

        parts = resource_parts(value, self)
        if parts is not None:
            text, below = parts
            self._write(place, text)
            yield from ((f"{place}, {name}" if name else place, part) for name, part in below)
        elif kind in _CONTAINERS:
            yield from self._container(place, value)
        elif isinstance(value, types.FunctionType):
            yield from self._function(place, value)
        elif isinstance(value, type):
            yield from self._class(place, value)
        elif isinstance(value, types.ModuleType):
            yield from self._module(place, value)
        elif isinstance(value, _ROUTINES):
            self._write(place, f"built-in {_qualified(value, self._own)}")
        elif isinstance(value, types.MethodType):
            self._write(place, f"method {value.__func__.__name__}")
            yield f"{place}, its object", value.__self__
            yield f"{place}, its function", value.__func__
        elif isinstance(value, partial):
            self._write(place, "functools.partial")
            yield f"{place}, its function", value.func
            yield f"{place}, its arguments", value.args
            yield f"{place}, its keyword arguments", value.keywords
        elif isinstance(value, staticmethod | classmethod):
            self._write(place, kind.__name__)
            yield place, value.__func__
        elif isinstance(value, property):
            self._write(place, "property")
            accessors = ("fget", value.fget), ("fset", value.fset), ("fdel", value.fdel)
            yield from ((f"{place}, {name}", each) for name, each in accessors if each is not None)
        elif isinstance(value, np.ndarray | np.generic):
            yield from self._array(place, value)
        elif isinstance(value, PurePath):
            self._write(place, f"path {self.path_text(value)}")
        else:
            yield from self._instance(place, value, kind)

    def _write(self, place: str, text: str) -> None:
        self.lines.append(StateLine(place, text))

    def path_text(self, path: PurePath) -> str:
        """Return a path, relative to the root where it lies below it."""
        if path.is_absolute() and path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        return path.as_posix()

    def _container(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        flat = flat_text(value)
        if flat is not None:
            self._write(place, flat)
            return
        self._write(place, f"{type(value).__name__} of {len(value)}")
        if isinstance(value, dict):
            for number, (key, item) in enumerate(value.items()):
                if type(key) in SCALARS:
                    yield f"{place}[{scalar_text(key, typed=False)}]", item
                else:
                    yield f"{place}, key {number}", key
                    yield f"{place}, value {number}", item
        elif isinstance(value, set | frozenset):
            ordered = sorted(value, key=lambda item: (type(item).__qualname__, _safe_repr(item)))
            yield from ((f"{place}, item {number}", item) for number, item in enumerate(ordered))
        else:
            yield from ((f"{place}[{number}]", item) for number, item in enumerate(value))

    def _array(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        array = np.asarray(value)
        kind = "array" if isinstance(value, np.ndarray) else "NumPy scalar"
        shown = f"{kind} {array.dtype.str} {list(array.shape)}"
        if type(value) not in (np.ndarray, array.dtype.type):
            shown += f" of {type(value).__name__}"
        if array.dtype.hasobject:
            self._write(place, shown)
            yield f"{place}, its items", array.ravel().tolist()
        else:
            self._write(place, f"{shown} {digest(np.ascontiguousarray(array).tobytes())}")

    def _function(self, place: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        if not self._is_own_function(function):
            self._write(place, f"function {_qualified(function, self._own)}")
            wrapped = function.__dict__.get("__wrapped__")
            if wrapped is not None or function.__closure__:  # made by a library for the session
                yield from self._held_by(place, function)
            return
        code = function.__code__
        self._write(place, f"function {function.__name__}, code {digest(code_text(code).encode())}")
        yield from self._held_by(place, function)
        for name in global_names(code):
            if name in function.__globals__ and not (
                function.__globals__ is self.names and self._is_hidden(name)
            ):
                yield f"{place} → {name}", function.__globals__[name]
            else:
                known = hasattr(builtins, name)
                self._write(f"{place} → {name}", f"built-in {name}" if known else "not defined")

    def _held_by(self, place: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        """Yield defaults, closure variables, attributes and annotations."""
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            yield f"{place}, default of {name}", default
        for name, default in (function.__kwdefaults__ or {}).items():
            yield f"{place}, default of {name}", default
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                yield f"{place}, variable {name}", cell.cell_contents
            except ValueError:  # an empty cell
                self._write(f"{place}, variable {name}", "not set")
        for name, value in function.__dict__.items():
            yield f"{place}, attribute {name}", value
        for name, hint in function.__annotations__.items():
            yield from self._annotation(f"{place}, annotation of {name}", hint)

    def _annotation(self, place: str, hint: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(hint, type):
            yield place, hint
        else:
            self._write(place, _hint_text(hint, str(self._own)))

    def _is_own_function(self, function: types.FunctionType) -> bool:
        generated = function.__code__.co_filename == "<string>"  # as dataclasses do
        if function.__globals__ is self.names or generated:
            return True
        module = sys.modules.get(str(function.__module__))
        return module is not None and self._is_own_module(module)

    def _is_own_module(self, module: types.ModuleType) -> bool:
        """Return whether a module is one of the project's files, which the user may change."""
        if vars(module) is self.names:
            return True
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or module.__name__.partition(".")[0] == "conduit_lab":
            return False
        path = Path(file)
        return path.is_relative_to(self.root) and "site-packages" not in path.parts

    def _module(self, place: str, module: types.ModuleType) -> Iterator[tuple[str, Any]]:
        self._write(place, f"module {module.__name__}")
        if not self._is_own_module(module) or vars(module) is self.names:
            return
        for name, value in sorted(vars(module).items()):
            if name not in _MODULE_NOISE:
                yield f"{module.__name__}.{name}", value

    def _class(self, place: str, kind: type) -> Iterator[tuple[str, Any]]:
        own = kind.__module__ == self._own
        module = sys.modules.get(str(kind.__module__))
        if not own and not (module is not None and self._is_own_module(module)):
            self._write(place, f"class {_qualified(kind, self._own)}")
            return
        self._write(place, f"class {kind.__qualname__}")
        for number, base in enumerate(kind.__bases__):
            if base is not object:
                yield f"{place}, base {number + 1}", base
        if type(kind) is not type:
            yield f"{place}, metaclass", type(kind)
        for name, value in sorted(vars(kind).items()):
            if name == "__annotations__":
                for field, hint in value.items():
                    yield from self._annotation(f"{place}, annotation of {field}", hint)
            elif not _is_noise(name) and not isinstance(value, types.GetSetDescriptorType):
                yield f"{place}.{name}", value

    def _instance(self, place: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
        """Describe any other object by the parts from which `copy` would make it again."""
        made = reduced(value, kind)
        if made is None:
            self._write(place, f"a {_qualified(kind, self._own)}")
        elif isinstance(made, str):
            self._write(place, f"{_qualified(kind, self._own)} {made}")
        else:
            self._write(place, f"a {kind.__name__}")
            yield f"{place}, its class", kind
            yield from ((f"{place}{name}", part) for name, part in made)
        wrapped = inspect.getattr_static(value, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            yield f"{place}, its function", wrapped


def _is_noise(name: str) -> bool:
    """Return whether an attribute of a class says nothing of its own."""
    if name.startswith("__pydantic_"):  # built from the fields; it holds addresses
        return name not in ("__pydantic_fields__", "__pydantic_decorators__")
    return name in _CLASS_NOISE


def _qualified(value: Any, own: Any) -> str:
    """Return the full name of a library's object; one of the session's module has no prefix."""
    module = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    named = isinstance(module, str) and module not in ("builtins", own)
    return f"{module}.{name}" if named else str(name)


def _hint_text(hint: Any, own: str) -> str:
    return _safe_repr(hint).replace(f"{own}.", "")


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return type(value).__name__
