"""ArrayShape: the shape of an array parameter; ArrayType: conversion of values to such arrays."""

from __future__ import annotations

from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import numpy as np

from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.core.spec import Array, describe

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema

_NUMBERS = frozenset({float, int})
_JSON_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}


class ArrayShape:
    """The shape of an array parameter: an integer for a fixed axis, a name for a free one.

    `Annotated[NDArray[np.float32], ArrayShape("n", 64)]` accepts rows of 64 numbers, in JSON as
    nested lists. An array type without `ArrayShape` accepts any shape; without a dtype it is
    float32.
    """

    def __init__(self, *axes: int | str) -> None:
        for axis in axes:
            if not (isinstance(axis, str) or (isinstance(axis, int) and axis >= 0)):
                raise EndpointError(
                    f"ArrayShape expects a number of at least 0 or a name per axis, got {axis!r}"
                )
        self.axes = axes

    def __repr__(self) -> str:
        return f"ArrayShape({', '.join(map(repr, self.axes))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayShape) and self.axes == other.axes

    def __hash__(self) -> int:
        return hash(self.axes)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Return the validator of an array type with this shape."""
        return ArrayType.of(source, self).core_schema()


class ArrayType:
    """An array type: a dtype, and a shape unless `axes` is None."""

    def __init__(self, dtype: np.dtype[Any], axes: tuple[int | str, ...] | None) -> None:
        self.dtype = dtype
        self.axes = axes
        self._is_float = dtype.kind == "f"
        self._free = axes is not None and all(isinstance(axis, str) for axis in axes)

    @classmethod
    def of(cls, hint: Any, shape: ArrayShape | None = None) -> ArrayType:
        """Return the array type of a hint such as `NDArray[np.int64]`; float32 without a dtype."""
        parts = get_args(hint)
        dtype: np.dtype[Any] = np.dtype(np.float32)
        if len(parts) > 1 and (inner := get_args(parts[1])):
            kind = inner[0]
            if isinstance(kind, type) and issubclass(kind, np.generic):
                with_size = np.dtype(kind) if kind.__subclasses__() == [] else None
                dtype = with_size or dtype
        if dtype.kind not in _JSON_TYPES:
            raise EndpointError(f"an array parameter expects numbers or booleans, got {dtype}")
        axes = None if shape is None else shape.axes
        if axes is None and parts and get_origin(parts[0]) is tuple:
            rank = get_args(parts[0])
            if rank and rank[-1] is not ...:
                axes = tuple(f"axis_{n}" for n in range(len(rank)))
        return cls(dtype, axes)

    def __str__(self) -> str:
        axes = "..." if self.axes is None else ", ".join(map(str, self.axes))
        return f"{self.dtype} [{axes}]"

    def convert(self, value: Any) -> Array:
        """Convert `value` to an array; raise `InputError` for another type or shape.

        Floats are rounded to the dtype; other numbers must be representable exactly.
        """
        if type(value) is list:
            array = self._of_list(value)
        elif isinstance(value, np.ndarray):
            array = self._cast(value)
        elif isinstance(value, int | float | np.generic | tuple):
            array = self._of_list(value)
        else:
            raise InputError(f"expected {self}, got {_named(value)}")
        axes = self.axes
        if axes is not None:
            shape = array.shape
            if array.size == 0 and len(shape) < len(axes):  # an empty list has no inner axes
                inner = axes[len(shape) :]
                shape += tuple(axis if isinstance(axis, int) else 0 for axis in inner)
                array = array.reshape(shape)
            if len(shape) != len(axes) or not (
                self._free
                or all(want == got or want.__class__ is str for want, got in zip(axes, shape))  # noqa: B905 -- of one length
            ):
                raise InputError(f"expected {self}, got {describe(array)}")
        return array

    def _of_list(self, value: Any) -> Array:
        items = value if type(value) is list else [value]
        if self._is_float and _NUMBERS.issuperset(map(type, items)):
            return self._rounded(value)
        try:
            array = np.array(value)
        except (ValueError, OverflowError):
            raise InputError(f"expected {self}, got lists of unequal length or depth") from None
        if array.size == 0:  # NumPy makes empty lists float64
            return array.astype(self.dtype)
        above_64_bits = array.dtype == np.dtype(object)
        if above_64_bits and self._is_float and _NUMBERS.issuperset(map(type, array.flat)):
            return self._rounded(value)
        if array.dtype.kind not in _JSON_TYPES:
            raise InputError(f"expected {self}, got values that are not numbers")
        if array.dtype.kind != "b" and _has_boolean(value, array.ndim):
            raise InputError(f"expected {self}, got numbers and booleans")
        return self._cast(array)

    def _rounded(self, numbers: Any) -> Array:
        try:
            with np.errstate(over="raise"):
                return np.array(numbers, self.dtype)
        except (FloatingPointError, OverflowError):
            raise InputError(
                f"expected {self}, got a number that {self.dtype} cannot hold"
            ) from None

    def _cast(self, array: Array) -> Array:
        given, dtype = array.dtype, self.dtype
        if given == dtype:
            return array if given.isnative else array.astype(dtype)
        if given.kind not in _JSON_TYPES or (given.kind == "b") != (dtype.kind == "b"):
            raise InputError(f"expected {self}, got {describe(array)}")
        try:
            with np.errstate(over="raise", invalid="ignore"):
                cast = array.astype(dtype)
        except FloatingPointError:
            raise InputError(f"expected {self}, got a number that {dtype} cannot hold") from None
        if not self._is_float and not _holds(array, cast):
            raise InputError(f"expected {self}, got numbers that {dtype} cannot hold exactly")
        return cast

    def core_schema(self) -> CoreSchema:
        """Return the pydantic core schema: `convert` as the validator, and the JSON Schema."""
        from pydantic_core import PydanticCustomError, core_schema

        def validate(value: Any) -> Array:
            try:
                return self.convert(value)
            except InputError as error:
                raise PydanticCustomError("array", "{message}", {"message": str(error)}) from None

        return core_schema.no_info_plain_validator_function(
            validate,
            metadata={"pydantic_js_functions": [lambda *_: self.schema()]},
            serialization=core_schema.plain_serializer_function_ser_schema(np.ndarray.tolist),
        )

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema: nested arrays, with equal item bounds for fixed axes."""
        numbers: dict[str, Any] = {"type": _JSON_TYPES[self.dtype.kind]}
        if self.dtype.kind in "iu":
            bounds = np.iinfo(self.dtype)
            numbers |= {"minimum": int(bounds.min), "maximum": int(bounds.max)}
        elif self._is_float and self.dtype.itemsize < 8:
            limits = np.finfo(self.dtype)
            # the smallest number that rounds to infinity
            bound = 2.0**limits.maxexp - 2.0 ** (limits.maxexp - limits.nmant - 2)
            numbers |= {"exclusiveMinimum": -bound, "exclusiveMaximum": bound}
        facts = {"x-dtype": str(self.dtype), "x-shape": None if self.axes is None else [*self.axes]}
        if self.axes is None:
            return {"type": "array", **facts}
        schema = numbers
        for axis in reversed(self.axes):
            schema = {"type": "array", "items": schema}
            if isinstance(axis, int):
                schema |= {"minItems": axis, "maxItems": axis}
        return schema | facts


def array_type(hint: Any) -> ArrayType | None:
    """Return the array type of a parameter's hint; None for any other type."""
    shape = None
    if get_origin(hint) is Annotated:
        hint, *metadata = get_args(hint)
        shape = next((each for each in metadata if isinstance(each, ArrayShape)), None)
    is_array = hint is np.ndarray or get_origin(hint) is np.ndarray
    return ArrayType.of(hint, shape) if is_array else None


def takes_array(hint: Any) -> bool:
    """Return whether a parameter of this type may be an array, alone or among other types."""
    if hint is Any or array_type(hint) is not None:
        return True
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return takes_array(inner[0])
    return kind in (Union, UnionType) and any(map(takes_array, inner))


def _has_boolean(value: Any, rank: int) -> bool:
    if rank == 0:
        return isinstance(value, bool)
    if rank == 1:
        return bool in {*map(type, value)}
    return any(map(partial(_has_boolean, rank=rank - 1), value))


def _holds(array: Array, cast: Array) -> bool:
    """Return whether the cast to integers was exact."""
    if array.dtype.kind == "f":
        limits = np.iinfo(cast.dtype)
        if not bool(np.all((array >= limits.min) & (array < float(limits.max) + 1))):
            return False
    return bool(np.array_equal(cast, array))


def _named(value: Any) -> str:
    names: dict[type, str] = {str: "a string", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
