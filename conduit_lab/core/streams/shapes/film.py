"""Film: a stream of images: the newest one large, and a strip of thumbnails."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from conduit_lab.core.streams.chunk import chunk_value
from conduit_lab.core.streams.media import Media, find_media, media, png
from conduit_lab.core.streams.shapes.chunk_shape import ChunkShape, ShapeName
from conduit_lab.core.text import one_line
from conduit_lab.core.views import figures
from conduit_lab.core.views.pictures import STRIP_HEIGHT, FilmStrip, Picture
from conduit_lab.core.views.pieces import Folded, Line, ViewPiece

MAX_PICTURE_BYTES = 2**20  # of the large image: a saved notebook must not grow without bound
MAX_FRAME_BYTES = 2**15  # of a thumbnail
MAX_FRAMES = 8
_SMALL_SIDE = 160  # pixels; smaller arrays are scaled up
_MAX_FACT_CHARACTERS = 200


@dataclass(frozen=True)
class FilmFrame:
    """An image of the stream: its chunk index and its data URL."""

    number: int
    url: str


@dataclass(frozen=True)
class NewestPicture:
    """The newest image: its chunk index, data URL, size, and the chunk's other values.

    `url` is empty and `reason` says why if the image is too large to show.
    """

    number: int
    url: str
    size: tuple[int, int]
    facts: tuple[str, ...]
    reason: str = ""


class Film(ChunkShape):
    """The newest image, and up to 8 evenly spaced frames."""

    name: ClassVar[ShapeName] = "pictures"

    def __init__(self) -> None:
        self.count = 0
        self.frames: list[FilmFrame] = []
        self._every = 1  # a frame per this many images; doubles when the strip is full
        self._chunk: Any = None
        self._number = 0
        self._newest: NewestPicture | None = None

    @staticmethod
    def takes(chunk: Any) -> bool:
        """Return whether `chunk` is an image or a dict with one."""
        return find_media(chunk, "image/") is not None

    def add(self, chunks: Sequence[Any], start: int) -> None:
        """Add images; only the newest and the frames of the strip are encoded."""
        for number, chunk in enumerate(chunks, start):
            if self.count % self._every == 0:
                self._keep(number, chunk)
            self.count += 1
        self._chunk, self._number = chunks[-1], start + len(chunks) - 1
        self._newest = None

    @property
    def newest(self) -> NewestPicture:
        """The newest image, encoded on first use."""
        if self._newest is None:
            self._newest = _encoded(self._chunk, self._number)
        return self._newest

    @property
    def note(self) -> str:
        """The sentence below the strip."""
        if self.count == 1:
            return ""
        shown = f"{len(self.frames)} of " if len(self.frames) < self.count else ""
        return f"{shown}{figures.plural(self.count, 'picture')}; the kept ones: stream.kept"

    def pieces(self) -> list[ViewPiece]:
        """Return the newest picture, its facts folded, then the strip."""
        newest = self.newest
        shown: list[ViewPiece] = [
            Picture(newest.url, newest.facts[0], *newest.size)
            if newest.url
            else Line(newest.reason, "quiet")
        ]
        title, *others = newest.facts
        facts = [Line(fact) for fact in others]
        shown.append(Folded(title, facts) if facts else Line(title, "quiet"))
        if len(self.frames) > 1:
            shown.append(FilmStrip([(f.url, figures.count(f.number)) for f in self.frames]))
        return [*shown, Line(self.note, "quiet")] if self.note else shown

    def _keep(self, number: int, chunk: Any) -> None:
        if len(self.frames) == MAX_FRAMES:
            del self.frames[1::2]
            self._every *= 2
            if self.count % self._every:
                return
        if (url := _small(find_media(chunk, "image/"))) is not None:
            self.frames.append(FilmFrame(number, url))


def picture_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a PNG or GIF file in pixels; (0, 0) for other formats."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data.startswith(b"GIF8") and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return width, height
    return 0, 0


def _encoded(chunk: Any, number: int) -> NewestPicture:
    value = find_media(chunk, "image/")
    scale = 1.0
    if isinstance(value, np.ndarray):
        drawn, scale = _fitted(value)
        found: Media | None = Media("image/png", drawn)
        size = (value.shape[1], value.shape[0])
        shown = (round(size[0] * scale), round(size[1] * scale))
    else:
        found = media(value)
        size = shown = (0, 0) if found is None else picture_size(found.data)
    facts = [_title(number, size, found, scale), *_facts(chunk, value)]
    if found is None or len(found.data) > MAX_PICTURE_BYTES:
        reason = "The newest picture could not be drawn; inspect stream.kept[-1]."
        if found is not None:
            reason = (
                f"The newest picture is {figures.size(len(found.data))}; the limit is "
                f"{figures.size(MAX_PICTURE_BYTES)}. It is in stream.kept[-1]."
            )
        return NewestPicture(number, "", (0, 0), tuple(facts), reason)
    return NewestPicture(number, found.url, shown, tuple(facts))


def _title(number: int, size: tuple[int, int], found: Media | None, scale: float) -> str:
    parts = [f"chunk {figures.count(number)}"]
    if size[0]:
        parts.append(f"{size[0]} × {size[1]}")
    if scale > 1:
        parts.append(f"shown {scale:.0f} times as large")
    elif scale < 1:
        parts.append(f"shown at 1/{1 / scale:.0f} of its size")
    if scale == 1 and found is not None:
        parts.append(
            f"{found.type.removeprefix('image/').upper()}, {figures.size(len(found.data))}"
        )
    return " · ".join(parts)


def _facts(chunk: Any, picture: Any) -> list[str]:
    """Return the values of a chunk besides its image, one line each."""
    if isinstance(picture, np.ndarray):
        about = [f"{picture.dtype} {list(picture.shape)}"]
    else:
        about = [] if isinstance(picture, bytes) else [type(picture).__name__]
    if not isinstance(chunk, dict):
        return about
    named = (
        f"{name}: {value if isinstance(value, str) else chunk_value(value)}"
        for name, value in chunk.items()
        if value is not picture
    )
    return [*(one_line(fact, _MAX_FACT_CHARACTERS) for fact in named), *about]


def _fitted(array: npt.NDArray[np.uint8]) -> tuple[bytes, float]:
    """Encode an array as a PNG of a suitable display size; return it with the scale."""
    times = min(
        -(-_SMALL_SIDE // max(array.shape[0], 1)), -(-_SMALL_SIDE // max(array.shape[1], 1))
    )
    if times > 1:
        return png(array.repeat(times, axis=0).repeat(times, axis=1)), float(times)
    step, data = 1, png(array)
    while len(data) > MAX_PICTURE_BYTES:
        step *= 2
        data = png(array[::step, ::step])
    return data, 1 / step


def _small(value: Any) -> str | None:
    """Return an image as the data URL of a thumbnail; None if its file is too large."""
    if isinstance(value, np.ndarray):
        step = max(1, value.shape[0] // STRIP_HEIGHT)
        while len(data := png(value[::step, ::step])) > MAX_FRAME_BYTES:
            step *= 2
        return Media("image/png", data).url
    found = media(value)
    return found.url if found is not None and len(found.data) <= MAX_FRAME_BYTES else None
