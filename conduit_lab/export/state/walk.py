"""Walk: every object that an app's endpoints reach, one line each, in a deterministic order."""

from __future__ import annotations

import builtins
import copyreg
import sys
import types
from collections.abc import Callable, Collection, Iterator
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.frame_file import is_pandas_table
from conduit_lab.export.state.anatomy import (
    attributes_of,
    bases_of,
    class_name,
    class_of_proxy,
    instance_parts,
    is_kind,
    is_made,
    module_of,
    qualname_of,
)
from conduit_lab.export.state.code import (
    code_text,
    formats_values,
    global_names,
    imported_modules,
    set_attributes,
)
from conduit_lab.export.state.identities import Identities
from conduit_lab.export.state.lazy_modules import eager_names, lazy_names
from conduit_lab.export.state.plain_values import (
    PLAIN_VALUES,
    digest,
    flat_text,
    is_scalar,
    scalar_text,
)
from conduit_lab.export.state.reduced import parts_of
from conduit_lab.export.state.settings import FORMATTING
from conduit_lab.export.state.titles import (
    ROUTINES,
    callable_name,
    class_title,
    hint_text,
    qualified,
)

BUILT = ", its built object"  # suffix of the place of a resource's object
MAX_PLACE_CHARACTERS = 400  # of a line; deeply nested places would add up to gigabytes
MAX_ORDER_LINES = 200  # of an item of a set, which its place there depends on
MAX_LINES = 200_000  # per app; further objects are not compared, with a warning

_IMMUTABLE = (*PLAIN_VALUES, tuple, frozenset, Enum)
_CONTAINERS = (list, tuple, set, frozenset, dict)
# class attributes that do not affect behaviour, or hold objects of the process
_CLASS_NOISE = frozenset(
    {"__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__",
     "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__",
     "__annotations_cache__", "__subclasshook__", "__signature__",
     "__slotnames__"}  # set by copyreg once an instance was copied
)  # fmt: skip
_MODULE_NOISE = frozenset(
    {"__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__", "__package__",
     "__path__", "__spec__", "__warningregistry__"}
)  # fmt: skip


class StateLine(NamedTuple):
    """One object: how the endpoints reach it, and its value or type."""

    place: str
    text: str


class Walk:
    """The lines of all objects below some roots; each object is walked once, with its aliases.

    `names` are the globals of the session or of the exported `app.py`, and `root` is the project
    folder there: paths below it, and modules loaded from it, belong to the state. `is_hidden`
    accepts names that a notebook adds to the user's own. `built` names the resources whose objects
    are compared, by default those whose function uses a name that changed since they were built.
    """

    def __init__(
        self,
        names: dict[str, Any],
        root: Path,
        is_hidden: Callable[[str], bool] = lambda name: False,
        built: Collection[str] | None = None,
    ) -> None:
        self.names = names
        self.built = built
        self.root = root
        self._is_hidden = is_hidden
        self.lines: list[StateLine] = []
        self.packages: set[str] = set()  # modules of the libraries reached so far
        self.set_attributes: set[str] = set()  # attributes that the session's own code sets
        self.identities = Identities()
        self._own = names.get("__name__")
        self._seen: dict[int, tuple[str, Any]] = {}  # first place of each object, kept alive
        self._max_lines = MAX_LINES
        self._table = "\n"  # prefix of the places in the newest table
        self._pending: list[tuple[str, Iterator[tuple[str, Any]]]] = []

    @property
    def objects(self) -> list[Any]:
        """The objects seen so far, except immutable ones."""
        return [value for _, value in self._seen.values()]

    def add(self, place: str, value: Any) -> None:
        """Add the lines of `value` and of everything below it, depth first."""
        self._pending = [(place, iter([(place, value)]))]
        while self._pending and len(self.lines) < self._max_lines:
            above, parts = self._pending[-1]
            try:
                step = next(parts, None)
            except Exception as error:  # raised by the object's code, or by a concurrent change
                self._write(above, f"not readable: {class_name(type(error))}")
                step = None
            if step is None:
                self._pending.pop()
            else:
                where = _bounded(step[0])
                self._pending.append((where, self._visit(where, step[1])))

    def _visit(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Add the line of one object; yield the objects below it."""
        kind = type(value)
        if is_scalar(kind):
            is_own = place.endswith("__module__") and value == self._own  # set by functools.wraps
            self._write(place, "this module" if is_own else scalar_text(value))
            self.identities.add(place, value)
            return
        if is_kind(kind, _IMMUTABLE):
            self.identities.add(place, value)
        else:
            if (known := self._seen.get(id(value))) is not None:
                self._write(place, f"the same object as {known[0]}")
                return
            self._seen[id(value)] = place, value
        yield from self._describe(place, value, kind)

    def _describe(self, place: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
        from conduit_lab.export.state.resources import resource_parts

        if is_kind(kind, list) and module_of(kind) == "IPython.utils.text":  # output of `!cmd`
            value, kind = list(value), list
        if (parts := resource_parts(value, self)) is not None:
            text, below = parts
            self._table = f"{place}, " if is_pandas_table(value) else self._table
            self._write(place, text)
            yield from ((f"{place}, {name}" if name else place, part) for name, part in below)
        elif any(kind is one for one in _CONTAINERS):
            yield from self._container(place, value)
        elif kind is types.FunctionType:
            yield from self._function(place, value)
        elif is_kind(kind, type):
            yield from self._class(place, value)
        elif is_kind(kind, types.ModuleType):
            yield from self._module(place, value)
        elif any(kind is one for one in ROUTINES):
            self._write(place, f"built-in {qualified(value, self._own)}")
            self.packages.add(str(getattr(value, "__module__", "")))
        elif kind is types.MethodType:
            self._write(place, f"method {callable_name(value.__func__)}")
            yield f"{place}, its object", value.__self__
            yield f"{place}, its function", value.__func__
        elif is_kind(kind, partial):
            self._write(place, "functools.partial")
            yield f"{place}, its function", value.func
            yield f"{place}, its arguments", value.args
            yield f"{place}, its keyword arguments", value.keywords
        elif kind is types.MappingProxyType and (shown := class_of_proxy(value)) is not None:
            self._write(place, "the attributes of a class")
            yield f"{place}, its class", shown
        elif kind is staticmethod or kind is classmethod:
            self._write(place, kind.__name__)
            yield place, value.__func__
        elif is_kind(kind, property):
            self._write(place, "property")
            accessors = [(name, getattr(value, name)) for name in ("fget", "fset", "fdel")]
            yield from ((f"{place}, {name}", each) for name, each in accessors if each is not None)
        elif is_kind(kind, (np.ndarray, np.generic)):
            yield from self._array(place, value)
        elif is_kind(kind, PurePath):
            self._write(place, f"path {self.path_text(value)}")
        else:
            yield from self._instance(place, value, kind)

    def _write(self, place: str, text: str) -> None:
        self.lines.append(StateLine(place, text))

    def path_text(self, path: PurePath) -> str:
        """Return a path, relative to the root if it lies below it."""
        if path.is_absolute() and path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        return path.as_posix()

    def _container(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        flat = flat_text(value)
        if flat is not None:
            self._write(place, flat)
            if not place.startswith(self._table):  # whose cells pandas makes
                self.identities.add_items(place, value)
            return
        self._write(place, f"{type(value).__name__} of {len(value)}")
        if isinstance(value, dict):
            for number, (key, item) in enumerate(value.items()):
                if is_scalar(type(key)):
                    yield f"{place}[{scalar_text(key, typed=False)}]", item
                else:
                    yield f"{place}, key {number}", key
                    yield f"{place}, value {number}", item
        elif isinstance(value, set | frozenset):
            if self._max_lines == MAX_ORDER_LINES:  # of an item of another set
                return
            ordered = sorted(value, key=self._order)
            yield from ((f"{place}, item {number}", item) for number, item in enumerate(ordered))
        else:
            yield from ((f"{place}[{number}]", item) for number, item in enumerate(value))

    def _order(self, item: Any) -> tuple[str, list[StateLine]]:
        """Return the sort key of a set item: its first lines, without running its code."""
        walk = Walk(self.names, self.root, self._is_hidden, built=())
        walk._max_lines = MAX_ORDER_LINES
        walk.add("", item)
        return qualname_of(type(item)), walk.lines

    def _array(self, place: str, value: Any) -> Iterator[tuple[str, Any]]:
        self.packages.add("numpy")
        array = np.asarray(value)
        kind = "array" if is_kind(type(value), np.ndarray) else "NumPy scalar"
        shown = f"{kind} {array.dtype.str} {list(array.shape)}"
        if type(value) not in (np.ndarray, array.dtype.type):
            shown += f" of {class_name(type(value))}"
        if kind == "array" and not array.flags.writeable and not place.startswith(self._table):
            shown += " read-only"  # of a table's arrays, pandas decides that
        if array.dtype.hasobject:
            self._write(place, shown)
            yield f"{place}, its items", array.ravel().tolist()
        else:
            self._write(place, f"{shown} {digest(np.ascontiguousarray(array).tobytes())}")

    def _function(self, place: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        if not self._is_own_function(function):
            self.packages.add(str(function.__module__))
            self._write(place, f"function {qualified(function, self._own)}")
            wrapped = function.__dict__.get("__wrapped__")
            if wrapped is not None or function.__closure__:  # created by a library for the session
                yield from self._held_by(place, function)
            return
        code = function.__code__
        self.identities.add_function(place, function)
        self.packages |= imported_modules(code)
        self.set_attributes |= set_attributes(code)
        if formats_values(code):
            self.packages.add(FORMATTING)
        self._write(place, f"function {function.__name__}, code {digest(code_text(code).encode())}")
        yield from self._held_by(place, function)
        for name in global_names(code):
            if name == "__file__":  # the file is elsewhere in the other process
                continue
            if name in function.__globals__ and not (
                function.__globals__ is self.names and self._is_hidden(name)
            ):
                yield f"{place} → {name}", function.__globals__[name]
            else:
                known = hasattr(builtins, name)
                self._write(f"{place} → {name}", f"built-in {name}" if known else "not defined")
        for module, name in lazy_names(function):
            if self._is_own_module(module):
                yield f"{place} → {module.__name__}.{name}", getattr(module, name)

    def _held_by(self, place: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        """Yield defaults, closure variables, attributes and annotations."""
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            yield f"{place}, default of {name}", default
        for name, default in (function.__kwdefaults__ or {}).items():
            yield f"{place}, default of {name}", default
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield f"{place}, variable {name}", cell.cell_contents
            except ValueError:  # an empty cell
                self._write(f"{place}, variable {name}", "not set")
        for name, value in function.__dict__.items():
            yield f"{place}, attribute {name}", value
        for name, hint in function.__annotations__.items():
            yield from self._annotation(f"{place}, annotation of {name}", hint)

    def _annotation(self, place: str, hint: Any) -> Iterator[tuple[str, Any]]:
        if is_kind(type(hint), type):
            yield place, hint
        else:
            self._write(place, hint_text(hint, str(self._own)))

    def _is_own_function(self, function: types.FunctionType) -> bool:
        generated = function.__code__.co_filename == "<string>"  # as dataclasses generate
        if function.__globals__ is self.names or generated:
            return True
        module = sys.modules.get(str(function.__module__))
        return type(module) is types.ModuleType and self._is_own_module(module)

    def _is_own_module(self, module: types.ModuleType) -> bool:
        """Return whether a module is a project file, which the user may change."""
        names = vars(module)
        if names is self.names or is_made(module):
            return True
        file, own = names.get("__file__"), str(names.get("__name__")).partition(".")[0]
        if type(file) is not str or own == "conduit_lab":
            return False
        path = Path(file)
        return path.is_relative_to(self.root) and "site-packages" not in path.parts

    def _module(self, place: str, module: types.ModuleType) -> Iterator[tuple[str, Any]]:
        held = types.ModuleType.__getattribute__(module, "__dict__")
        title = held.get("__name__")
        self._write(place, f"module {title}")
        self.packages.add(str(title))
        if not self._is_own_module(module) or held is self.names:
            return
        for name, value in sorted(eager_names(module).items()):
            if name not in _MODULE_NOISE:
                yield f"{title}.{name}", value

    def _is_own_class(self, kind: type) -> bool:
        """Return whether a class belongs to the session or the project."""
        name = module_of(kind)
        if name == self._own:
            return True
        module = sys.modules.get(name)
        return type(module) is types.ModuleType and self._is_own_module(module)

    def _class(self, place: str, kind: type) -> Iterator[tuple[str, Any]]:
        if not self._is_own_class(kind):
            self.packages.add(module_of(kind))
            self._write(place, f"class {class_title(kind, self._own)}")
            return
        self._write(place, f"class {qualname_of(kind)}")
        for number, base in enumerate(bases_of(kind)):
            if base is not object:
                yield f"{place}, base {number + 1}", base
        if type(kind) is not type:
            yield f"{place}, metaclass", type(kind)
        for registered, call in list(copyreg.dispatch_table.items()):
            if registered is kind:
                yield f"{place}, how it is copied", call
        for name, value in sorted(attributes_of(kind).items(), key=lambda item: str(item[0])):
            if name == "__annotations__" and type(value) is dict:
                for field, hint in value.items():
                    yield from self._annotation(f"{place}, annotation of {field}", hint)
            elif not _is_noise(name) and type(value) is not types.GetSetDescriptorType:
                yield f"{place}.{name}", value

    def _instance(self, place: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
        """Describe any other object by the parts from which it could be rebuilt."""
        made = parts_of(value, kind, self._is_own_class)
        title = class_title(kind, self._own)
        if made is None:
            self._write(place, f"a {title}")
        elif isinstance(made, str):
            self._write(place, f"{title} {made}")
        else:
            self._write(place, f"a {class_name(kind)}")
            yield f"{place}, its class", kind
            yield from ((f"{place}{name}", part) for name, part in made)
        wrapped = dict(instance_parts(value)).get(".__wrapped__")
        if type(wrapped) is types.FunctionType:
            yield f"{place}, its function", wrapped


def _is_noise(name: str) -> bool:
    """Return whether a class attribute carries no information."""
    if name.startswith("__pydantic_"):  # generated from fields and methods; contains addresses
        return name != "__pydantic_fields__"
    return name in _CLASS_NOISE


def _bounded(place: str) -> str:
    """Return a place, shortened in the middle if deeply nested."""
    if len(place) <= MAX_PLACE_CHARACTERS:
        return place
    half = MAX_PLACE_CHARACTERS // 2
    return f"{place[:half]}…{place[-half:]}"
