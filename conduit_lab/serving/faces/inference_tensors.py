"""Tensors of the Open Inference Protocol: conversion between arrays and JSON or binary data.

Binary data is little-endian and row-major; an element of BYTES is its length as uint32, followed by
its bytes (the binary tensor data extension).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.core.text import clip
from conduit_lab.serving.gate.bounds import check_empty

# the protocol's datatype names; no BF16, since NumPy lacks that dtype
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "str": "BYTES",
}
_MAX_SHOWN_CHARACTERS = 80  # of client values in errors
_LENGTH = struct.Struct("<I")


def tensor_shape(spec: TensorSpec) -> list[int]:
    """Return a spec's shape in the protocol's form, with -1 for a free axis."""
    return [axis if isinstance(axis, int) else -1 for axis in spec.shape]


def check_tensor(spec: TensorSpec, tensor: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of a request's input tensor; raise `InputError` unless it fits `spec`."""
    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    expected = f"input {spec.name!r} expects {DATATYPES[spec.dtype]} {tensor_shape(spec)}"
    if datatype != DATATYPES[spec.dtype]:
        raise InputError(f"{expected}, got the datatype {_shown(datatype)}")
    if not isinstance(shape, list) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise InputError(f"{expected}, got the shape {_shown(shape)}")
    if not spec.fits(tuple(shape)):
        raise InputError(f"{expected}, got the shape {_shown(shape)}")
    check_empty(shape, f"input {spec.name!r}")
    return tuple(shape)


def from_json(spec: TensorSpec, shape: tuple[int, ...], data: Any) -> Array:
    """Convert nested or flat JSON values to an array; raise `InputError` unless all fit the dtype.

    Floats are rounded to the dtype of `spec`; a number that overflows it is rejected.
    """
    if not isinstance(data, list):
        raise InputError(f"input {spec.name!r} expects its data as a list, got {_shown(data)}")
    values = np.array(data, object)  # a string dtype would pad every element
    if values.shape != shape and not (values.ndim == 1 and values.size == math.prod(shape)):
        raise InputError(
            f"input {spec.name!r} has the shape {list(shape)}, which is "
            f"{math.prod(shape)} elements: its data has the shape {list(values.shape)}"
        )
    kinds = set(map(type, values.flat))
    expected: set[type] = {str} if spec.dtype == "str" else {bool}
    if spec.dtype not in ("str", "bool"):
        expected = {int, float} if spec.dtype.startswith("float") else {int}
    if kinds - expected:
        wrong = ", ".join(sorted(kind.__name__ for kind in kinds - expected))
        raise InputError(
            f"input {spec.name!r} expects {DATATYPES[spec.dtype]} elements in {list(shape)}, "
            f"got {wrong}"
        )
    values = values.reshape(shape)
    return values if spec.dtype == "str" else _numbers(spec, values)


def _numbers(spec: TensorSpec, values: Array) -> Array:
    """Convert Python numbers to an array with the dtype of `spec`."""
    dtype = np.dtype(spec.dtype)
    try:
        with np.errstate(over="ignore"):
            array = values.astype(dtype)
    except OverflowError:
        array = None
    fits = array is not None and (
        bool(np.all(np.isfinite(array))) if dtype.kind == "f" else bool(np.all(array == values))
    )
    if not fits:
        raise InputError(
            f"input {spec.name!r} has a number that {DATATYPES[spec.dtype]} cannot hold"
        )
    assert array is not None
    return array


def from_binary(spec: TensorSpec, shape: tuple[int, ...], data: memoryview) -> Array:
    """Return binary data as an array, without a copy if it is aligned."""
    count = math.prod(shape)
    if spec.dtype == "str":
        return _texts(spec, count, data).reshape(shape)
    dtype = _little(np.dtype(spec.dtype))
    if len(data) != count * dtype.itemsize:
        raise InputError(
            f"input {spec.name!r} has the shape {list(shape)} of {DATATYPES[spec.dtype]}, which "
            f"is {count * dtype.itemsize} bytes: it has binary data of {len(data)} bytes"
        )
    if not count:
        return np.empty(shape, spec.dtype)
    array = np.frombuffer(data, dtype)
    if spec.dtype == "bool" and array.view(np.uint8).max() > 1:
        raise InputError(f"input {spec.name!r} expects BOOL elements, which are the bytes 0 and 1")
    # onnxruntime's kernels need aligned data, and the JSON before it may have any length
    return np.require(array.reshape(shape), requirements="A")


def _texts(spec: TensorSpec, count: int, data: memoryview) -> Array:
    """Parse length-prefixed UTF-8 strings."""
    if count > len(data) // _LENGTH.size:  # before anything is allocated
        raise _wrong_texts(spec, count)
    texts = np.empty(count, object)
    place = 0
    for number in range(count):
        start = place + _LENGTH.size
        if start > len(data):
            raise _wrong_texts(spec, count)
        place = start + _LENGTH.unpack_from(data, place)[0]
        if place > len(data):
            raise _wrong_texts(spec, count)
        try:
            texts[number] = str(data[start:place], "utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"input {spec.name!r} expects BYTES elements that are UTF-8; "
                f"element {number} is not"
            ) from None
    if place != len(data):
        raise _wrong_texts(spec, count)
    return texts


def _wrong_texts(spec: TensorSpec, count: int) -> InputError:
    return InputError(
        f"the binary data of input {spec.name!r} is not that of {count} BYTES elements, "
        "each prefixed by its length in four bytes"
    )


def datatype_of(array: Array) -> str:
    """Return the protocol's name for an array's dtype."""
    return "BYTES" if array.dtype.kind in "OUT" else DATATYPES[array.dtype.name]


def to_binary(array: Array) -> bytes | memoryview:
    """Return the binary data of an output, without a copy if the memory layout matches."""
    if array.dtype.kind in "OUT":
        texts = [text.encode(errors="replace") for text in array.ravel().tolist()]
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    little = np.ascontiguousarray(array, _little(array.dtype))
    return little.reshape(-1).view(np.uint8).data if little.size else b""


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the little-endian form of a dtype, which is the dtype itself on most machines."""
    little = dtype.newbyteorder("<")
    return dtype if dtype == little else little  # models skip checks for the identical dtype object


def classified(array: Array, count: int, labels: Sequence[str]) -> Array:
    """Return the `count` largest scores of each row as "score:class:label" strings, best first."""
    if array.ndim < 1 or array.dtype.kind not in "iuf":
        raise InputError("the classification parameter expects an output of numbers")
    best = np.argsort(-array.astype(np.float64), axis=-1, kind="stable")[..., :count]
    scores = np.take_along_axis(array, best, -1)
    texts = np.empty(best.shape, object)
    named = array.shape[-1] == len(labels)
    for place in np.ndindex(best.shape):
        index = int(best[place])
        label = f":{labels[index]}" if named else ""
        texts[place] = f"{float(scores[place]):.6f}:{index}{label}"
    return texts


def _shown(value: Any) -> str:
    """Return a client's value for an error message, clipped."""
    if isinstance(value, list) and len(value) > _MAX_SHOWN_CHARACTERS:
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return clip(repr(value), _MAX_SHOWN_CHARACTERS)
