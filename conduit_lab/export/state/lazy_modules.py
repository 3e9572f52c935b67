"""Lazy modules: project modules whose `__getattr__` makes names when code asks for them.

A name that the module keeps afterwards is in one process and not yet in the other. The state
therefore has the names that the file binds, and those that the reached code uses.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Iterator
from typing import Any

from conduit_lab.core.syntax import parse_module
from conduit_lab.export.effects import bound_names


def is_lazy(module: types.ModuleType) -> bool:
    """Return whether a module makes names when code asks for them."""
    return "__getattr__" in vars(module)


def eager_names(module: types.ModuleType) -> dict[str, Any]:
    """Return the names of a module, of a lazy one only those that its file binds."""
    held = vars(module)
    if not is_lazy(module):
        return held
    try:
        body = parse_module(inspect.getsource(module)).body
    except (OSError, TypeError, SyntaxError):
        return held
    bound = {name for node in body for name in bound_names(node)}
    return held if "*" in bound else {name: held[name] for name in held.keys() & bound}


def lazy_names(function: types.FunctionType) -> Iterator[tuple[types.ModuleType, str]]:
    """Yield the names that a function, or one inside of it, uses from lazy modules."""
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        pending += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        module: Any = None
        for step in dis.get_instructions(code):
            if type(module) is types.ModuleType and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                if is_lazy(module) and step.argval not in eager_names(module):
                    yield module, str(step.argval)
                module = None
            elif step.opname not in ("CACHE", "PUSH_NULL"):
                found = step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
                module = function.__globals__.get(step.argval) if found else None
