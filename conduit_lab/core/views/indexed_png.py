"""Indexed PNG: an image of few colours with transparency, small enough for a notebook."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode

import numpy as np
import numpy.typing as npt


def indexed_png(pixels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 `[height, width]` as PNG; `palette` `[n, 4]` has the RGBA of each value.

    PNG specification, colour type 3 with PLTE and tRNS chunks. Raises `ValueError` for an empty
    image, and for a value without a colour.
    """
    height, width = pixels.shape
    if not pixels.size or int(pixels.max()) >= len(palette):
        raise ValueError(
            f"expected uint8 [height, width] below {len(palette)}, got {list(pixels.shape)} up to "
            f"{int(pixels.max(initial=0))}: give the palette a colour for each value"
        )
    lines = np.zeros((height, 1 + width), np.uint8)  # each begins with filter type "none"
    lines[:, 1:] = pixels
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (
        (b"IHDR", head),
        (b"PLTE", palette[:, :3].tobytes()),
        (b"tRNS", palette[:, 3].tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in parts
    )


def png_url(file: bytes) -> str:
    """Return a PNG file as a data URL."""
    return f"data:image/png;base64,{b64encode(file).decode()}"
