"""Decoding: convert a non-JSON body to a value, by its content type."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import Array
from conduit_lab.serving.array_shape import array_type
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.form_fields import FormFields, form_fields
from conduit_lab.serving.file import FORM_TYPE

RAW_TYPE = "application/octet-stream"
NPY_TYPE = "application/x-npy"
ARROW_TYPE = "application/vnd.apache.arrow.stream"
MAX_ARROW_FACTOR = 16  # times the body limit: compressed columns expand when read

NUMBER_KINDS = "biuf"  # dtype kinds
_NO_NPY = "the body is not a .npy file of one plain dtype: write it with numpy.save"
_MAX_NPY_HEAD = 4096  # bytes; NumPy writes 128
# the three dict entries required by NEP 1, in any order
_NPY_ENTRY = re.compile(
    rb"""['"](descr|fortran_order|shape)['"]\s*:\s*"""
    rb"""(['"][<>=|]?[?a-zA-Z]\d{0,4}['"]|True|False|\([\d,\s]*\))\s*"""
)
_NPY_HEAD = re.compile(
    rb"\x93NUMPY[\1-\3]\0..(?:..)?\{\s*((?:%b,\s*){2}%b)(?:,\s*)?\}\s*"
    % ((_NPY_ENTRY.pattern,) * 2),
    re.DOTALL,
)


class BodyDecoder(NamedTuple):
    """Decodes a body, given its content type with parameters, its endpoint and the size limit.

    A decoder that `copies` takes time proportional to the body, and runs on a thread for large
    ones.
    """

    decode: Callable[[bytes, bytes, Endpoint[..., Any], int], Any]
    copies: bool


def decoder_of(content_type: bytes) -> BodyDecoder | None:
    """Return the decoder of a content type; None for JSON and unknown types."""
    return DECODERS.get(content_type.partition(b";")[0].strip().lower().decode("latin-1"))


def _npy(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Array:
    """Return the array of a `.npy` file (NEP 1) without a copy; reject Python objects."""
    width = 2 if body[6:7] == b"\1" else 4  # size of the header length field
    start = 8 + width + int.from_bytes(body[8 : 8 + width], "little")
    if start > _MAX_NPY_HEAD:
        raise InputError(_NO_NPY)
    shape, in_columns, dtype = _npy_header(body[:start])
    if dtype.kind not in NUMBER_KINDS:
        raise InputError(f"the body expects an array of numbers or booleans, got {dtype}")
    count = math.prod(shape)
    if len(body) - start != count * dtype.itemsize:
        raise InputError(
            f"the body expects {count * dtype.itemsize:,} bytes for {dtype} {list(shape)} after "
            f"the header, got {len(body) - start:,}"
        )
    array = np.frombuffer(body, dtype, count, start)
    try:
        return array.reshape(shape, order="F" if in_columns else "C")
    except ValueError as error:  # too many axes, or too long an axis, for NumPy
        raise InputError(f"the body's shape {list(shape)} is not supported by NumPy") from error


@lru_cache(maxsize=64)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse the shape, Fortran order and dtype; cached, since clients repeat the same header.

    NumPy evaluates the header as a Python literal, and a hostile one can raise errors of Python's
    parser.
    """
    found = _NPY_HEAD.fullmatch(head)
    entries = {} if found is None else dict(_NPY_ENTRY.findall(found[1]))
    try:
        axes = entries[b"shape"].strip(b"()").split(b",")
        shape = tuple(int(axis) for axis in axes if axis.strip())
        in_columns = {b"True": True, b"False": False}[entries[b"fortran_order"]]
        return shape, in_columns, np.dtype(entries[b"descr"][1:-1].decode())
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(_NO_NPY) from error


def _raw(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Array:
    """Return little-endian float32 numbers in the shape of the parameter or the model."""
    axes = _axes(endpoint)
    if axes is None or sum(isinstance(axis, str) for axis in axes) > 1:
        raise HttpError(
            415,
            "unsupported_media_type",
            f"raw numbers need a known shape, and this endpoint declares none: send {NPY_TYPE}",
        )
    fixed = math.prod(axis for axis in axes if isinstance(axis, int))
    count, rest = divmod(len(body), 4 * fixed) if fixed else (0, 1)
    if rest or (count != 1 and all(isinstance(axis, int) for axis in axes)):
        shown = ", ".join(map(str, axes))
        raise InputError(
            f"the body expects float32 [{shown}], {4 * fixed:,} bytes per row, got {len(body):,}"
        )
    shape = [axis if isinstance(axis, int) else -1 for axis in axes]
    return np.frombuffer(body, "<f4").reshape(shape)


def _axes(endpoint: Endpoint[..., Any]) -> tuple[int | str, ...] | None:
    """Return the axes of the endpoint's or its model's only array input, or None."""
    arrays = [array_type(hint) for hint in endpoint.signature.types.values()]
    declared = [each.axes for each in arrays if each is not None]
    if declared:
        return declared[0] if len(declared) == 1 else None
    takes = None if endpoint.then is None else endpoint.then.takes
    return takes[0].shape if takes is not None and len(takes) == 1 and takes[0].ranked else None


def _arrow(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Any:
    """Return the table of an Arrow IPC stream: a DataFrame, or a dict of lists without pandas."""
    try:
        import pyarrow as pa
    except ImportError:
        raise HttpError(
            415, "unsupported_media_type", f"Arrow is not supported here: send {NPY_TYPE} or JSON"
        ) from None
    batches, size = [], 0
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            for batch in reader:
                batch.validate(full=True)  # checks the client's offsets
                batches.append(batch)
                size += batch.nbytes
                if size > MAX_ARROW_FACTOR * limit:
                    raise HttpError(413, "body_too_large", "the Arrow table is too large")
            table = pa.Table.from_batches(batches, reader.schema)
            return table.to_pandas() if find_spec("pandas") else table.to_pydict()
    except HttpError:
        raise
    except Exception as error:  # the client's pandas metadata is read unchecked
        raise InputError("the body is not a valid Arrow IPC stream") from error


def _form(body: bytes, content_type: bytes, endpoint: Endpoint[..., Any], limit: int) -> FormFields:
    return form_fields(body, content_type)


# All types but JSON. Of these, browsers send only forms cross-site without a preflight; the gate
# checks the origin of every request.
DECODERS: dict[str, BodyDecoder] = {
    NPY_TYPE: BodyDecoder(_npy, copies=False),
    RAW_TYPE: BodyDecoder(_raw, copies=False),
    ARROW_TYPE: BodyDecoder(_arrow, copies=True),
    FORM_TYPE: BodyDecoder(_form, copies=True),
}
