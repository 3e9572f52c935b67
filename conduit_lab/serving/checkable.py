"""Adapt types for pydantic: NumPy arrays, and `TypedDict` from the standard library."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import typing_extensions
from pydantic_core import core_schema

from conduit_lab.serving.array_shape import ArrayShape, ArrayType

# pydantic rejects `typing.TypedDict` before Python 3.12
_TYPED_DICT = type(typing.TypedDict("_TYPED_DICT", {}))  # type: ignore[operator]


def checkable(hint: Any) -> Any:
    """Return a type with the parts that pydantic cannot validate replaced."""
    return _replaced(hint, {})


def _replaced(hint: Any, seen: dict[Any, Any]) -> Any:
    origin = get_origin(hint)
    if hint is np.ndarray or origin is np.ndarray:
        return Annotated[hint, _AnyShape()]
    if isinstance(hint, _TYPED_DICT):
        return _typed_dict(hint, seen)
    if origin is None or origin is Literal:
        return hint
    parts = get_args(hint)
    if origin is Annotated:
        inner, *metadata = parts
        if any(isinstance(each, ArrayShape) for each in metadata):
            return hint
        return Annotated[(_replaced(inner, seen), *metadata)]
    changed = tuple(
        part if isinstance(part, list) or part is ... else _replaced(part, seen) for part in parts
    )
    if all(new is old for new, old in zip(changed, parts, strict=True)):
        return hint
    if origin in (Union, types.UnionType):
        return Union[changed]  # noqa: UP007 -- made of parts
    copy_with: Callable[[Any], Any] = getattr(hint, "copy_with", origin.__class_getitem__)
    return copy_with(changed)


def _typed_dict(hint: Any, seen: dict[Any, Any]) -> Any:
    if hint in seen:
        return seen[hint]
    seen[hint] = hint  # for recursive types
    fields = {}
    for name, kind in get_type_hints(hint, include_extras=True).items():
        qualifier = get_origin(kind)
        if qualifier in (typing.Required, typing.NotRequired):
            kind, required = get_args(kind)[0], qualifier is typing.Required
        else:  # string annotations hide qualifiers from `__required_keys__`
            required = name in hint.__required_keys__
        wrap: Any = typing_extensions.Required if required else typing_extensions.NotRequired
        fields[name] = wrap[_replaced(kind, seen)]
    make: Any = typing_extensions.TypedDict
    made = make(hint.__name__, fields)
    made.__doc__ = hint.__doc__
    seen[hint] = made
    return made


class _AnyShape:
    """Marks an array type without an `ArrayShape`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return ArrayType.of(source).core_schema()
