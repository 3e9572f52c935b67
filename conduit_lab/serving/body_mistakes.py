"""Body mistakes: detect a JSON body whose type does not fit an untyped handler."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterable
from types import FrameType
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import clip
from conduit_lab.serving.codec import json_type
from conduit_lab.serving.endpoint import Endpoint

_MAX_KEY_CHARACTERS = 60
_LOADS = ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF")  # also variants such as LOAD_FAST_BORROW
_STORES = ("STORE_FAST", "STORE_DEREF", "DELETE_FAST", "DELETE_DEREF")
_MISSING = object()


def body_mistake(
    error: BaseException, endpoints: Iterable[Endpoint[..., Any]]
) -> InputError | None:
    """Return an `InputError` if the handler failed because its body has the wrong type.

    The code of an untyped handler reveals the body it expects: `body["text"]` and
    `body.get("text")` expect an object. A `TypeError` or `AttributeError` is the client's mistake
    if such an instruction raised it, in the handler's own frame, on the body parameter or an item
    of it, and the handler never assigns to either. Any other error is a server fault: None.
    """
    if type(error) not in (TypeError, AttributeError) or error.__traceback__ is None:
        return None
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    for endpoint in endpoints:
        whole = endpoint.signature.whole
        function: Any = inspect.unwrap(endpoint.function)
        if whole is not None and getattr(function, "__code__", None) is code:
            return _mistake(trace.tb_frame, trace.tb_lasti, whole)
    return None


def _mistake(frame: FrameType, offset: int, whole: str) -> InputError | None:
    """Return the mistake if the instruction at `offset` indexes the body in `whole`."""
    body = frame.f_locals.get(whole, _MISSING)
    if body is _MISSING:
        return None
    before, last = [], None
    for each in dis.get_instructions(frame.f_code):
        if each.opname.startswith(_STORES) and _names(each, whole):
            return None
        if each.offset <= offset:
            before.append(each)
            last = each
    if last is None:
        return None
    if _is_subscript(last):
        *before, key_load, last = before
        key = _constant(key_load, frame)
        steps = _steps(before, whole)
    elif last.opname in ("LOAD_ATTR", "LOAD_METHOD"):
        key = last.argval
        steps = _steps(before[:-1], whole)
    else:
        return None
    if steps is None:
        return None
    if steps and any(each.opname == "STORE_SUBSCR" for each in dis.get_instructions(frame.f_code)):
        return None  # the handler may have stored the wrong item itself
    value = body
    try:
        for step in steps:
            value = value[step]
    except (TypeError, LookupError):
        return None
    expected = _expected(value, key, subscript=_is_subscript(last))
    if expected is None:
        return None
    place = "the body" + "".join(f"[{clip(repr(step), _MAX_KEY_CHARACTERS)}]" for step in steps)
    return InputError(f"{place} expects {expected}, got {json_type(value)}")


def _expected(value: Any, key: Any, *, subscript: bool) -> str | None:
    """Return the JSON type that supports this key or attribute.

    None if `value` has that type or is an object: then the handler's code is at fault.
    """
    if isinstance(value, dict):
        return None
    if subscript:
        if isinstance(key, str):
            return f"an object with {clip(repr(key), _MAX_KEY_CHARACTERS)}"
        return "a list" if isinstance(key, int) and not isinstance(value, list | str) else None
    if hasattr(value, key):
        return None
    kinds = ((dict, "an object"), (list, "a list"), (str, "a string"))
    return next((name for kind, name in kinds if hasattr(kind, key)), None)


def _steps(before: list[dis.Instruction], whole: str) -> list[Any] | None:
    """Return the constant keys that lead from the body to the value last pushed, or None."""
    steps: list[Any] = []
    while before:
        last = before.pop()
        if last.opname.startswith(_LOADS) and last.argval == whole:
            return steps[::-1]
        if not _is_subscript(last) or not before or (key := before.pop()).opname != "LOAD_CONST":
            return None
        steps.append(key.argval)
    return None


def _constant(load: dis.Instruction, frame: FrameType) -> Any:
    """Return the value of a constant or a local variable; None for any other instruction."""
    if load.opname.startswith(_LOADS):
        return frame.f_locals.get(load.argval) if isinstance(load.argval, str) else None
    return load.argval if load.opname in ("LOAD_CONST", "LOAD_SMALL_INT") else None


def _names(instruction: dis.Instruction, name: str) -> bool:
    """Return whether an instruction names this variable; some name two."""
    value = instruction.argval
    return name in value if isinstance(value, tuple) else bool(value == name)


def _is_subscript(instruction: dis.Instruction) -> bool:
    if instruction.opname == "BINARY_SUBSCR":
        return True
    return instruction.opname == "BINARY_OP" and instruction.argrepr == "[]"  # Python 3.14
