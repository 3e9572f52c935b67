"""Encode an array of numbers as a `.npy` file, and decode it (NEP 1)."""

from __future__ import annotations

import io
import math
import re
from functools import lru_cache
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import Array

NPY_TYPE = "application/x-npy"
NUMBER_KINDS = "biuf"  # dtype kinds

_NO_NPY = "the body is not a .npy file of one plain dtype: write it with numpy.save"
_MAX_HEAD = 4096  # bytes; NumPy writes 128
_MAX_ITEM_BYTES = 8  # longer floats differ between platforms
# the three dict entries required by NEP 1, in any order
_ENTRY = re.compile(
    rb"""['"](descr|fortran_order|shape)['"]\s*:\s*"""
    rb"""(['"][<>=|]?[?a-zA-Z]\d{0,4}['"]|True|False|\([\d,\s]*\))\s*"""
)
_HEAD = re.compile(
    rb"\x93NUMPY[\1-\3]\0..(?:..)?\{\s*((?:%b,\s*){2}%b)(?:,\s*)?\}\s*" % ((_ENTRY.pattern,) * 2),
    re.DOTALL,
)


def has_npy_form(value: Any) -> bool:
    """Return whether a value is a plain array of numbers or booleans of at most 8 bytes each."""
    if type(value) is not np.ndarray:
        return False
    return value.dtype.kind in NUMBER_KINDS and value.dtype.itemsize <= _MAX_ITEM_BYTES


def npy_bytes(array: Array) -> bytes:
    """Return an array as a `.npy` file in row-major order."""
    return _head(array.dtype.str, array.shape) + array.tobytes()


def array_of_npy(file: bytes) -> Array:
    """Return a writable copy of the array in a `.npy` file.

    Raises `InputError` for any other bytes, and for arrays of objects or strings.
    """
    width = 2 if file[6:7] == b"\1" else 4  # size of the header length field
    start = 8 + width + int.from_bytes(file[8 : 8 + width], "little")
    if start > _MAX_HEAD:
        raise InputError(_NO_NPY)
    shape, in_columns, dtype = _read_head(file[:start])
    if dtype.kind not in NUMBER_KINDS:
        raise InputError(f"the body expects an array of numbers or booleans, got {dtype}")
    count = math.prod(shape)
    if len(file) - start != count * dtype.itemsize:
        raise InputError(
            f"the body expects {count * dtype.itemsize:,} bytes for {dtype} {list(shape)} after "
            f"the header, got {len(file) - start:,}"
        )
    array = np.frombuffer(file, dtype, count, start).copy()
    try:
        return array.reshape(shape, order="F" if in_columns else "C")
    except ValueError as error:  # too many axes, or too long an axis, for NumPy
        raise InputError(f"the body's shape {list(shape)} is not supported by NumPy") from error


@lru_cache(maxsize=64)
def _head(dtype: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@lru_cache(maxsize=64)
def _read_head(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse the shape, Fortran order and dtype; cached, since clients repeat the same header.

    NumPy evaluates the header as a Python literal, and a hostile one can raise errors of Python's
    parser.
    """
    found = _HEAD.fullmatch(head)
    entries = {} if found is None else dict(_ENTRY.findall(found[1]))
    try:
        axes = entries[b"shape"].strip(b"()").split(b",")
        shape = tuple(int(axis) for axis in axes if axis.strip())
        in_columns = {b"True": True, b"False": False}[entries[b"fortran_order"]]
        return shape, in_columns, np.dtype(entries[b"descr"][1:-1].decode())
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(_NO_NPY) from error
