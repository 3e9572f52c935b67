"""Decoding: a body that is not JSON becomes a value, by its content type."""

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
from conduit_lab.serving.faces.arrow_size import batch_bytes
from conduit_lab.serving.faces.form_fields import FormFields, form_fields
from conduit_lab.serving.file import FORM_TYPE
from conduit_lab.serving.gate.bounds import check_empty

RAW_TYPE = "application/octet-stream"
NPY_TYPE = "application/x-npy"
ARROW_TYPE = "application/vnd.apache.arrow.stream"
# times the limit of a body: columns that are compressed or repeat a value grow when they are read
MAX_ARROW_FACTOR = 16

NUMBER_KINDS = "biuf"  # of dtypes
_NO_NPY = "the body is not a .npy file of one plain dtype: write it with numpy.save"
_MAX_NPY_HEAD = 4096  # bytes; NumPy writes 128
# the dict of three entries that NEP 1 demands, in any order
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
    """Makes a value of a body, its content type with parameters, its endpoint, and the limit.

    One that `copies` takes time that grows with the body, and runs on a thread for a large one.
    """

    decode: Callable[[bytes, bytes, Endpoint[..., Any], int], Any]
    copies: bool


def decoder_of(content_type: bytes) -> BodyDecoder | None:
    """Return the decoder of a content type, None for JSON and for unknown ones."""
    return DECODERS.get(content_type.partition(b";")[0].strip().lower().decode("latin-1"))


def _npy(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Array:
    """Return the array of a `.npy` file without a copy (NEP 1); Python objects are refused."""
    width = 2 if body[6:7] == b"\1" else 4  # bytes of the header's length
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
    check_empty(shape, "the array of the body")
    array = np.frombuffer(body, dtype, count, start)
    try:
        return array.reshape(shape, order="F" if in_columns else "C")
    except ValueError as error:  # more axes, or an axis longer, than NumPy knows
        raise InputError(f"the body's shape {list(shape)} is none that NumPy can hold") from error


@lru_cache(maxsize=64)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether columns come first, and the dtype; clients repeat one header.

    NumPy evaluates the header as a Python literal, which a hostile one ends with errors of the
    parser's own.
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
    """Return rows of little-endian float32, in the shape of the parameter or of the model."""
    axes = _axes(endpoint)
    if axes is None or sum(isinstance(axis, str) for axis in axes) > 1:
        raise HttpError(
            415,
            "unsupported_media_type",
            f"raw numbers need one known shape, and this endpoint states none: send {NPY_TYPE}",
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
    """Return the axes of the one array that the endpoint or its model takes, or None."""
    types = endpoint.signature.types
    arrays = [array_type(hint) for name, hint in types.items() if name != "return"]
    declared = [each.axes for each in arrays if each is not None]
    if declared:
        return declared[0] if len(declared) == 1 else None
    takes = None if endpoint.then is None else endpoint.then.takes
    return takes[0].shape if takes is not None and len(takes) == 1 and takes[0].ranked else None


def _arrow(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Any:
    """Return the table of an Arrow IPC stream: a DataFrame, without pandas a dict of lists."""
    try:
        import pyarrow as pa
    except ImportError:
        raise HttpError(
            415, "unsupported_media_type", f"this server reads no Arrow: send {NPY_TYPE} or JSON"
        ) from None
    batches, size = [], 0
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            for batch in reader:
                batch.validate(full=True)  # offsets of the client's that point outside
                batches.append(batch)
                size += batch_bytes(batch)
                if size > MAX_ARROW_FACTOR * limit:
                    raise HttpError(413, "body_too_large", "the Arrow table is too large")
            table = pa.Table.from_batches(batches, reader.schema)
            return table.to_pandas() if find_spec("pandas") else table.to_pydict()
    except (HttpError, InputError):
        raise
    except Exception as error:  # pandas' metadata is the client's too, read without checks
        raise InputError("the body is not a valid Arrow IPC stream") from error


def _form(body: bytes, content_type: bytes, endpoint: Endpoint[..., Any], limit: int) -> FormFields:
    return form_fields(body, content_type)


# Beside JSON. Of these browsers send forms alone across sites without a preflight: the gate checks
# the origin of every request.
DECODERS: dict[str, BodyDecoder] = {
    NPY_TYPE: BodyDecoder(_npy, copies=False),
    RAW_TYPE: BodyDecoder(_raw, copies=False),
    ARROW_TYPE: BodyDecoder(_arrow, copies=True),
    FORM_TYPE: BodyDecoder(_form, copies=True),
}
