"""Updates of a stream's shape: the changes since the last message, for the page.

Each kind of chunk has one class here and one script in this folder (`numbers.js` and so on). A page
that has missed a message requests a replay and receives the `whole` shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from conduit_lab.core.streams.shapes.chunk_shape import ChunkShape
from conduit_lab.core.streams.shapes.envelope import Envelope, Floats
from conduit_lab.core.streams.shapes.film import Film
from conduit_lab.core.streams.shapes.number_line import NumberLine
from conduit_lab.core.streams.shapes.record_table import RecordColumn, RecordTable
from conduit_lab.core.streams.shapes.sound_wave import SoundWave
from conduit_lab.core.views import figures
from conduit_lab.core.views.growing_table import column_room
from conduit_lab.core.views.line_picture import last_place, reading

PICTURE_SECONDS = 0.25  # between two images; more would not be visible
# characters/s: half of the Jupyter server's limit; the other half is for text
MAX_MEDIA_RATE = 500_000

ShapePart = dict[str, Any]


class ShapeUpdates(Protocol):
    """Builds the messages of one shape."""

    def changes(self, whole: bool) -> ShapePart | None:
        """Return the changes since the last call, or everything; None if nothing is due."""


class LineUpdates:
    """The columns of an envelope that changed since the last message."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._per = self._length = 0

    def changes(self, whole: bool) -> ShapePart:
        """Return the columns from `at` on; `low` and `high` if they differ from the mean."""
        line = self.envelope
        at = 0 if whole or line.per != self._per else max(self._length - 1, 0)
        self._per, self._length = line.per, line.length
        columns = line.columns(at)
        part: ShapePart = {"at": at, "mean": _sendable(columns.mean), "bounds": line.bounds}
        if line.per > 1:
            part |= {"low": _sendable(columns.low), "high": _sendable(columns.high)}
        return part


class NumberUpdates:
    """The line, its ends and its last number."""

    def __init__(self, shape: NumberLine) -> None:
        self._shape = shape
        self._line = LineUpdates(shape.envelope)
        self._count = 0

    def changes(self, whole: bool) -> ShapePart | None:
        """Return the changed columns with all surrounding texts."""
        line = self._shape.envelope
        if line.count == self._count and not whole:
            return None
        self._count = line.count
        part: ShapePart = {"line": self._line.changes(whole), "note": self._shape.note}
        if line.last is not None:
            part |= {
                "sides": [reading(bound) for bound in line.bounds],
                "ends": self._shape.ends,
                "last": reading(line.last),
                "place": last_place(line.last, line.bounds),
            }
        return part


class RecordUpdates:
    """The new rows among the newest 20, and the column headers."""

    def __init__(self, shape: RecordTable) -> None:
        self._shape = shape
        self._lines: dict[str, LineUpdates] = {}
        self._count = 0

    def changes(self, whole: bool) -> ShapePart | None:
        """Return the rows added since, at most 20, each with its number."""
        shape = self._shape
        if shape.count == self._count and not whole:
            return None
        start = 0 if whole else self._count
        self._count = shape.count
        rows = [
            [figures.count(place), [cells.get(name, "") for name in shape.columns]]
            for place, cells in shape.rows
            if place >= start
        ]
        heads = [self._head(column, whole) for column in shape.columns.values()]
        return {"columns": heads, "rows": rows, "note": shape.note}

    def _head(self, column: RecordColumn, whole: bool) -> ShapePart:
        room = column_room(column.name, column.width)
        head: ShapePart = {"name": column.name, "right": column.right, "room": room}
        if column.drawn:
            known = self._lines.get(column.name)
            line = self._lines.setdefault(column.name, known or LineUpdates(column.line))
            head["line"] = line.changes(whole or known is None)
        return head


class FilmUpdates:
    """The newest image, a few times per second, and new frames of the strip."""

    def __init__(self, shape: Film, clock: Callable[[], float] = monotonic) -> None:
        self._shape = shape
        self._clock = clock
        self._count = 0
        self._due = 0.0
        self._frames: set[int] = set()

    def changes(self, whole: bool) -> ShapePart | None:
        """Return the image with its facts, the numbers in the strip, and its new frames."""
        shape, now = self._shape, self._clock()
        if not whole and (shape.count == self._count or now < self._due):
            return None
        self._count = shape.count
        known = set() if whole else self._frames
        self._frames = {frame.number for frame in shape.frames}
        newest = shape.newest
        added = {frame.number: frame.url for frame in shape.frames if frame.number not in known}
        size = len(newest.url) + sum(map(len, added.values()))
        self._due = now + max(PICTURE_SECONDS, size / MAX_MEDIA_RATE)
        return {
            "picture": newest.url,
            "size": newest.size,
            "facts": newest.facts,
            "reason": newest.reason,
            "frames": [[frame.number, figures.count(frame.number)] for frame in shape.frames],
            "added": added,
            "note": shape.note,
        }


class SoundUpdates:
    """The waveform, its figures, and the segments that the player does not have yet."""

    def __init__(self, shape: SoundWave, clock: Callable[[], float] = monotonic) -> None:
        self._shape = shape
        self._clock = clock
        self._wave = LineUpdates(shape.envelope)
        self._count = 0
        self._next = 0  # number of the first unsent segment
        self._due = 0.0

    def changes(self, whole: bool) -> ShapePart | None:
        """Return the changed columns of the waveform and, if due, new segments."""
        shape = self._shape
        pending = shape.segments[-1].number >= self._next and self._clock() >= self._due
        if shape.count == self._count and not whole and not pending:
            return None
        self._count = shape.count
        part: ShapePart = {"facts": shape.facts, "note": shape.note, "drawn": shape.drawn}
        if shape.drawn and shape.seconds is not None:
            part |= {"line": self._wave.changes(whole), "end": figures.seconds(shape.seconds)}
        if whole:
            self._next, pending = 0, True
        return part | self._sound() if pending else part

    def _sound(self) -> ShapePart:
        """Return the new sound: uncompressed samples to append, or the newest file."""
        shape = self._shape
        new = [segment for segment in shape.segments if segment.number >= self._next]
        if shape.drawn and shape.format is not None:
            sent: ShapePart = {
                "format": shape.format,
                "first": shape.segments[0].number,  # older ones leave the player
                "segments": [[segment.number, segment.base64] for segment in new],
            }
            size = sum(len(data) for _, data in sent["segments"])
        else:
            sent = {"file": shape.file().url}
            size = len(sent["file"])
        self._next = new[-1].number + 1
        self._due = self._clock() + size / MAX_MEDIA_RATE
        return sent


def updates_of(shape: ChunkShape) -> ShapeUpdates:
    """Return the updates of a shape."""
    if isinstance(shape, NumberLine):
        return NumberUpdates(shape)
    if isinstance(shape, RecordTable):
        return RecordUpdates(shape)
    if isinstance(shape, Film):
        return FilmUpdates(shape)
    if isinstance(shape, SoundWave):
        return SoundUpdates(shape)
    raise TypeError(f"updates_of expected a chunk shape with a page side, got {shape!r}")


def _sendable(values: Floats) -> list[float | None]:
    """Return floats with None for values that JSON lacks.

    Twelve digits keep 512 columns of three below 32 KB, and Unix times accurate to the millisecond.
    """
    return [float(f"{v:.12g}") if math.isfinite(v) else None for v in values.tolist()]
