"""Decoding: a body that is not JSON becomes a value, by its content type."""

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
from conduit_lab.serving.faces.form_fields import FormFields, form_fields
from conduit_lab.serving.file import FORM_TYPE

RAW_TYPE = "application/octet-stream"
INLINE_ARRAY_BYTES = 2**18  # copied on the event loop, within some 50 µs
ARROW_TYPE = "application/vnd.apache.arrow.stream"
MAX_ARROW_FACTOR = 16  # times the limit of a body: compressed columns grow when they are read


class BodyDecoder(NamedTuple):
    """Makes a value of a body, its content type with parameters, its endpoint, and the limit.

    A body of more than `inline_bytes` is decoded on a thread.
    """

    decode: Callable[[bytes, bytes, Endpoint[..., Any], int], Any]
    inline_bytes: int


def decoder_of(content_type: bytes) -> BodyDecoder | None:
    """Return the decoder of a content type, None for JSON and for unknown ones."""
    return DECODERS.get(content_type.partition(b";")[0].strip().lower().decode("latin-1"))


def _npy(body: bytes, _: bytes, endpoint: Endpoint[..., Any], limit: int) -> Array:
    return array_of_npy(body)


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
    return np.frombuffer(body, "<f4").reshape(shape).copy()  # a handler may write to it


def _axes(endpoint: Endpoint[..., Any]) -> tuple[int | str, ...] | None:
    """Return the axes of the one array that the endpoint or its model takes, or None."""
    arrays = [array_type(hint) for hint in endpoint.signature.types.values()]
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
                size += batch.nbytes
                if size > MAX_ARROW_FACTOR * limit:
                    raise HttpError(413, "body_too_large", "the Arrow table is too large")
            table = pa.Table.from_batches(batches, reader.schema)
            return table.to_pandas() if find_spec("pandas") else table.to_pydict()
    except HttpError:
        raise
    except Exception as error:  # pandas' metadata is the client's too, read without checks
        raise InputError("the body is not a valid Arrow IPC stream") from error


def _form(body: bytes, content_type: bytes, endpoint: Endpoint[..., Any], limit: int) -> FormFields:
    return form_fields(body, content_type)


# Beside JSON. Of these browsers send forms alone across sites without a preflight: the gate checks
# the origin of every request.
DECODERS: dict[str, BodyDecoder] = {
    NPY_TYPE: BodyDecoder(_npy, INLINE_ARRAY_BYTES),
    RAW_TYPE: BodyDecoder(_raw, INLINE_ARRAY_BYTES),
    ARROW_TYPE: BodyDecoder(_arrow, 0),
    FORM_TYPE: BodyDecoder(_form, 0),
}
