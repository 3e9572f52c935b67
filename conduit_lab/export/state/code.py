"""The code of a function as text that is equal for equal source, wherever it was compiled."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType

_FLAGS = 0xFF  # arguments, generator, coroutine: the flags that affect a call
# Python compiles a call on an imported name to other instructions than one on any other name
_UNSTABLE = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "NOP", "RESUME", "EXTENDED_ARG"})
_FORMATTING = frozenset(
    {"str", "repr", "format", "print", "to_string", "to_html", "array2string", "array_str",
     "array_repr", "__str__", "__repr__"}
)  # fmt: skip
_SAME = {"LOAD_METHOD": "LOAD_ATTR", "CALL_FUNCTION": "CALL", "CALL_METHOD": "CALL"}


def code_text(code: CodeType) -> str:
    """Return the instructions of `code` and of nested code, without file positions."""
    return "\n".join(_lines(code))


def global_names(code: CodeType) -> list[str]:
    """Return the distinct global names that running `code` may look up, in order."""
    return list(dict.fromkeys(_global_names(code)))


def formats_values(code: CodeType) -> bool:
    """Return whether running `code` may format a value as text."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return (
        not _FORMATTING.isdisjoint(code.co_names)
        or any(each.opname.startswith("FORMAT_") for each in dis.get_instructions(code))
        or any(map(formats_values, inner))
    )


def set_attributes(code: CodeType) -> set[str]:
    """Return the names of the attributes that running `code` may set."""
    found = {str(e.argval) for e in dis.get_instructions(code) if e.opname == "STORE_ATTR"}
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return found.union(*map(set_attributes, inner))


def imported_modules(code: CodeType) -> set[str]:
    """Return the modules that running `code` imports."""
    found = {
        str(each.argval) for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME"
    }
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return found.union(*map(imported_modules, inner))


def _lines(code: CodeType) -> Iterator[str]:
    kept = [each for each in dis.get_instructions(code) if each.opname not in _UNSTABLE]
    numbers = {each.offset: number for number, each in enumerate(kept)}
    yield (
        f"{code.co_name} {code.co_varnames} {code.co_freevars} {code.co_argcount} "
        f"{code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags & _FLAGS}"
    )
    for each in kept:
        name = _SAME.get(each.opname, each.opname)
        if each.opcode in dis.hasjrel or each.opcode in dis.hasjabs:
            later = (offset for offset in numbers if offset >= each.argval)
            yield f"{name} to {numbers.get(next(later, -1), 'end')}"
        elif isinstance(each.argval, CodeType):
            yield name
            yield from _lines(each.argval)
        elif isinstance(each.argval, tuple | frozenset):
            yield f"{name} {_constant(each.argval)}"
        else:
            yield f"{name} {type(each.argval).__name__} {each.argrepr.removeprefix('NULL + ')}"


def _constant(value: object) -> str:
    """Return a constant as text; sets are sorted, as their order differs between processes."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_constant, value))})"
    return f"({', '.join(map(_constant, value))})" if isinstance(value, tuple) else repr(value)


def _global_names(code: CodeType) -> Iterator[str]:
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(each.argval)
        elif isinstance(each.argval, CodeType):
            yield from _global_names(each.argval)
