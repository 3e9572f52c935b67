"""Media: images, audio and video in chunks, as bytes with a media type."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from base64 import b64encode
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.weight import PLAIN

# The signature of each file format: (bytes, offset, media type)
_SIGNATURES = [
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"WAVE", 8, "audio/wav"),
    (b"fLaC", 0, "audio/flac"),
    (b"OggS", 0, "audio/ogg"),
    (b"ID3", 0, "audio/mpeg"),
    (b"\xff\xfb", 0, "audio/mpeg"),
    (b"ftyp", 4, "video/mp4"),
    (b"moof", 4, "video/mp4"),
    (b"\x1a\x45\xdf\xa3", 0, "video/webm"),
]
_SIGNATURE_BYTES = 16  # long enough for every signature


class Media(NamedTuple):
    """The bytes of one encoded file and its media type."""

    type: str
    data: bytes

    @property
    def base64(self) -> str:
        """The bytes in base64."""
        return b64encode(self.data).decode()

    @property
    def url(self) -> str:
        """The bytes as a data URL that a page can show or play."""
        return f"data:{self.type};base64,{self.base64}"


def media(chunk: Any) -> Media | None:
    """Return `chunk` as media, or None for anything else.

    Bytes keep their format, recognized by its signature. A uint8 array of shape [height, width],
    [height, width, 3] or [height, width, 4] and an object with `_repr_png_` (a Pillow image) become
    PNG images.
    """
    if isinstance(chunk, bytes | bytearray | memoryview):
        data = bytes(chunk)
        return Media(_type_of(data), data)
    if isinstance(chunk, np.ndarray):
        return Media("image/png", png(chunk)) if is_image(chunk) else None
    encode = getattr(type(chunk), "_repr_png_", None)
    drawn = None if encode is None else encode(chunk)
    return Media("image/png", drawn) if isinstance(drawn, bytes) else None


def image(chunk: Any) -> Media | None:
    """Return `chunk`, or the first image among the values of a `dict`, as an image, or None."""
    found = find_media(chunk, "image/")
    return None if found is None else media(found)


def find_media(chunk: Any, prefix: str) -> Any:
    """Return `chunk`, or the first `dict` value, whose media type starts with `prefix`, or None.

    Nothing is encoded.
    """
    for value in chunk.values() if isinstance(chunk, dict) else (chunk,):
        if _type(value).startswith(prefix):
            return value
    return None


def is_image(array: npt.NDArray[Any]) -> bool:
    """Return whether an array is an image: non-empty uint8, grey or with 3 or 4 channels last."""
    shape = array.shape
    return (
        array.dtype == np.uint8
        and array.size > 0
        and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4)))
    )


def png(array: npt.NDArray[np.uint8]) -> bytes:
    """Encode a uint8 array [height, width], [height, width, 3] or [height, width, 4] as PNG.

    Each line stores its difference from the one above (filter 2 of the PNG specification, section
    9), with zlib's fastest level. Raises `ValueError` for any other array.
    """
    if not is_image(array):
        raise ValueError(
            "png expects a uint8 image [height, width], optionally with 3 or 4 channels last, got "
            f"{array.dtype} {list(array.shape)}: convert it with array.astype('uint8')"
        )
    height, width = array.shape[:2]
    lines = np.ascontiguousarray(array).reshape(height, -1)
    filtered = np.empty((height, 1 + lines.shape[1]), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = lines[0]
    filtered[1:, 1:] = lines[1:] - lines[:-1]
    color = 0 if array.ndim == 2 else {3: 2, 4: 6}[array.shape[2]]
    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(filtered.tobytes(), 1)), (b"IEND", b""))
    return _SIGNATURES[0][0] + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in parts
    )


def wav(samples: npt.NDArray[Any], rate: int) -> bytes:
    """Encode audio samples [n] or [n, channels] at `rate` Hz as a 16-bit WAV file.

    int16 samples are unchanged, floats are clipped to -1 to 1. Raises `ValueError` for any other
    array.
    """
    if samples.ndim not in (1, 2) or not (
        samples.dtype == np.int16 or np.issubdtype(samples.dtype, np.floating)
    ):
        raise ValueError(
            "wav expects int16 or float samples [n] or [n, channels], got "
            f"{samples.dtype} {list(samples.shape)}"
        )
    if samples.dtype != np.int16:
        samples = np.round(np.clip(np.nan_to_num(samples), -1, 1) * 32767)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _type(value: Any) -> str:
    """Return the media type of a value without encoding it; empty if it has none."""
    if type(value) in PLAIN:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        return _type_of(bytes(value[:_SIGNATURE_BYTES]))
    if isinstance(value, np.ndarray):
        return "image/png" if is_image(value) else ""
    return "image/png" if hasattr(type(value), "_repr_png_") else ""


def _type_of(data: bytes) -> str:
    for mark, offset, kind in _SIGNATURES:
        if data.startswith(mark, offset):
            return kind
    return "application/octet-stream"
