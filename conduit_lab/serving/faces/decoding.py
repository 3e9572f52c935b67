"""Decoding: convert a non-JSON body to a value, by its content type."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.npy import NPY_TYPE, array_of_npy
from conduit_lab.core.spec import Array
from conduit_lab.serving.array_shape import array_type
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.arrow_size import batch_bytes
from conduit_lab.serving.faces.form_fields import FormFields, form_fields
from conduit_lab.serving.file import FORM_TYPE
from conduit_lab.serving.gate.bounds import check_empty

RAW_TYPE = "application/octet-stream"
INLINE_ARRAY_BYTES = 2**18  # copied on the event loop, within some 50 µs
ARROW_TYPE = "application/vnd.apache.arrow.stream"
# times the body limit: compressed columns, and columns that repeat a value, expand when read
MAX_ARROW_FACTOR = 16


class BodyDecoder(NamedTuple):
    """Decodes a body, given its content type with parameters, its endpoint and the size limit.

    A body of more than `inline_bytes` is decoded on a thread.
    """

    decode: Callable[[bytes, bytes, Endpoint[..., Any], int], Any]
    inline_bytes: int


def decoder_of(content_type: bytes) -> BodyDecoder | None:
    """Return the decoder of a content type; None for JSON and unknown types."""
    return DECODERS.get(content_type.partition(b";")[0].strip().lower().decode("latin-1"))


def _npy(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Array:
    array = array_of_npy(body)
    check_empty(array.shape, "the array of the body")
    return array


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
    return np.frombuffer(body, "<f4").reshape(shape).copy()  # a handler may write to it


def _axes(endpoint: Endpoint[..., Any]) -> tuple[int | str, ...] | None:
    """Return the axes of the endpoint's or its model's only array input, or None."""
    types = endpoint.signature.types
    arrays = [array_type(hint) for name, hint in types.items() if name != "return"]
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
                size += batch_bytes(batch)
                if size > MAX_ARROW_FACTOR * limit:
                    raise HttpError(413, "body_too_large", "the Arrow table is too large")
            table = pa.Table.from_batches(batches, reader.schema)
            return table.to_pandas() if find_spec("pandas") else table.to_pydict()
    except (HttpError, InputError):
        raise
    except Exception as error:  # the client's pandas metadata is read unchecked
        raise InputError("the body is not a valid Arrow IPC stream") from error


def _form(body: bytes, content_type: bytes, endpoint: Endpoint[..., Any], limit: int) -> FormFields:
    return form_fields(body, content_type)


# All types but JSON. Of these, browsers send only forms cross-site without a preflight; the gate
# checks the origin of every request.
DECODERS: dict[str, BodyDecoder] = {
    NPY_TYPE: BodyDecoder(_npy, INLINE_ARRAY_BYTES),
    RAW_TYPE: BodyDecoder(_raw, INLINE_ARRAY_BYTES),
    ARROW_TYPE: BodyDecoder(_arrow, 0),
    FORM_TYPE: BodyDecoder(_form, 0),
}
