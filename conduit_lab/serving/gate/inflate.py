"""inflate: decompress a request body up to a size limit."""

from __future__ import annotations

import zlib

from conduit_lab.core.errors import InputError
from conduit_lab.serving.errors import HttpError

# zlib window bits: 31 for a gzip member, 15 for a zlib stream, HTTP's "deflate" (RFC 9110)
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decompressed body; 413 as soon as it exceeds `limit` bytes.

    Raises `HttpError` 415 for any other content encoding, `InputError` for corrupt data.
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
