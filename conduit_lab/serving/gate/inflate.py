"""inflate: a compressed request body, within the limit of its inflated size."""

from __future__ import annotations

import zlib

from conduit_lab.core.errors import InputError
from conduit_lab.serving.errors import HttpError

# zlib's window bits: 31 reads a gzip member, 15 the zlib stream that HTTP calls deflate (RFC 9110)
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the inflated body; 413 as soon as it has more than `limit` bytes.

    Raises `HttpError` 415 for another content encoding, `InputError` for a broken body.
    """
    if encoding not in _WINDOW_BITS:
        raise HttpError(
            415,
            "unsupported_encoding",
            "the content-encoding of the body is unknown: expected gzip or deflate",
        )
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = stream.decompress(body, limit + 1)
    except zlib.error:
        raise InputError(f"the body is not the {encoding} that its header declares") from None
    if len(inflated) > limit:
        raise HttpError(
            413, "body_too_large", f"the inflated body is larger than the limit of {limit} bytes"
        )
    if not stream.eof or stream.unused_data:
        raise InputError(f"the body is not one whole {encoding} stream")
    return inflated
