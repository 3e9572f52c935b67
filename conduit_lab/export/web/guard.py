"""Guard: while a function runs on symbols, refuse code whose outcome a symbol cannot record.

A symbol detects its use by operators, but not `value is None`, `type(value)`, a `try` whose lookup
cannot fail, the clock, or the reading of a file: their outcomes would be frozen into the page.
"""

from __future__ import annotations

import dis
import math
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

import numpy as np

_PACKAGE = str(Path(__file__).parents[2])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_NUMPY = str(Path(np.__file__).parent)
_BUILTINS = frozenset(
    {
        *("abs", "all", "any", "chr", "divmod", "getattr", "isinstance", "iter", "len", "max"),
        *("min", "next", "ord", "pow", "round", "sorted", "sum"),
    }
)
_ROOMS = {  # parts of this package whose results depend on more than the request
    "vectors": "a store, which stays on the server",
    "client": "a served app, which needs a network",
    "models/generation": "which generates text",
}
_PLAIN = (str, bytes, int, float, list, dict, tuple, set, frozenset, np.ndarray, np.generic)
_OPERATIONS = {
    "IS_OP": "tests a value with `is`",
    "PUSH_EXC_INFO": "handles errors with `try` or `with`",
    "STORE_GLOBAL": "changes a global name",
    "DELETE_GLOBAL": "changes a global name",
    "STORE_ATTR": "changes an attribute",
    "DELETE_ATTR": "changes an attribute",
}


class Guard:
    """A context manager that checks calls made by the user's own code on this thread.

    `refusal` creates the error for a reason, which is raised inside that code.
    """

    def __init__(self, refusal: Callable[[str], Exception]) -> None:
        self._refusal = refusal
        self._checked: set[CodeType] = set()
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = sys.getprofile()
        sys.setprofile(self._event)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        sys.setprofile(self._before)

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "c_call" and _is_own(code):
            if not _is_pure(argument):
                raise self._refusal(f"calls {_name(argument)}, which has no browser equivalent")
        elif event == "call":
            if _is_own(code):
                if code not in self._checked:
                    self._checked.add(code)
                    self._check(code)
            elif frame.f_back is not None and _is_own(frame.f_back.f_code):
                self._check_call(frame)

    def _check_call(self, frame: FrameType) -> None:
        """Check a call from the user's code to a library function."""
        filename = frame.f_code.co_filename
        for room, refused in _ROOMS.items():
            if filename.startswith(f"{_PACKAGE}/{room}/"):
                name = getattr(frame.f_locals.get("self"), "name", room)
                raise self._refusal(f"calls {name}, {refused}")
        if not _is_trusted(filename):
            raise self._refusal(f"calls {_dotted(frame)}, which has no browser equivalent")

    def _check(self, code: CodeType) -> None:
        for each in dis.get_instructions(code):
            name = each.opname
            if name.endswith(("_IF_NONE", "_IF_NOT_NONE")):
                name = "IS_OP"
            if name.startswith("MATCH_"):
                raise self._refusal("matches a value with `match`")
            if name == "STORE_ATTR" and code.co_name == "__init__":
                continue  # of the object under construction
            if name in _OPERATIONS:
                raise self._refusal(_OPERATIONS[name])
            if name == "LOAD_GLOBAL" and each.argval in ("type", "id", "callable", "hasattr"):
                raise self._refusal(f"calls {each.argval}() of a value known only at request time")


def is_library(filename: str) -> bool:
    """Return whether a file belongs to a package or to Python, rather than to the user."""
    return filename.startswith((_PACKAGE, *_LIBRARIES, "<frozen"))


def _is_trusted(filename: str) -> bool:
    """Return whether code in this file depends only on its arguments, or consults the tracer."""
    if filename.startswith(_PACKAGE):
        return True
    return filename.startswith(_NUMPY) and "npyio" not in filename  # reads files


def _is_own(code: CodeType) -> bool:
    return not is_library(code.co_filename)


def _is_pure(function: Any) -> bool:
    """Return whether a builtin is deterministic and has no side effects."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, ModuleType):
        if owner.__name__.startswith("numpy"):
            return bool(function.__name__ != "fromfile")
        return owner is math or (owner.__name__ == "builtins" and function.__name__ in _BUILTINS)
    kind = owner if isinstance(owner, type) else type(owner)
    return owner is None or issubclass(kind, _PLAIN) or kind.__module__.startswith("numpy")


def _name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    where = owner.__name__ if isinstance(owner, ModuleType) else ""
    name = getattr(function, "__qualname__", repr(function))
    return f"{where}.{name}" if where and where != "builtins" else str(name)


def _dotted(frame: FrameType) -> str:
    module = str(frame.f_globals.get("__name__", "")).removeprefix("__main__")
    return f"{module}.{frame.f_code.co_qualname}".lstrip(".")
