"""NumberLine: a stream of numbers as a line."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from conduit_lab.core.streams.shapes.chunk_shape import ChunkShape, ShapeName
from conduit_lab.core.streams.shapes.envelope import Envelope
from conduit_lab.core.views import figures
from conduit_lab.core.views.line_picture import LineColumns, LinePicture, reading
from conduit_lab.core.views.pieces import Line, ViewPiece


class NumberLine(ChunkShape):
    """All numbers in at most 512 columns."""

    name: ClassVar[ShapeName] = "numbers"

    def __init__(self) -> None:
        self.envelope = Envelope()
        self.first = 0  # index of its first chunk

    @staticmethod
    def takes(chunk: Any) -> bool:
        """Return whether `chunk` is a real number, excluding `bool`."""
        return is_real(chunk)

    def add(self, chunks: Sequence[Any], start: int) -> None:
        """Add numbers."""
        if not self.envelope.count:
            self.first = start
        self.envelope.add(as_floats(chunks))

    @property
    def note(self) -> str:
        """The caption: how many numbers, how they are grouped, and how many are not finite."""
        line = self.envelope
        parts = [figures.plural(line.count, "number")]
        if line.count > 1 and line.last is not None:
            low, high = map(reading, line.bounds)
            parts += [f"min {low}", f"max {high}"]
        if line.per > 1:
            parts.append(
                f"the line is the mean of every {figures.count(line.per)} numbers, "
                "the band their minimum to maximum"
            )
        if line.invalid:
            parts.append(f"{figures.count(line.invalid)} not finite")
        return " · ".join(parts)

    @property
    def ends(self) -> tuple[str, str]:
        """The labels at the ends of the horizontal axis."""
        last = self.first + self.envelope.count - 1
        return f"chunk {figures.count(self.first)}", f"chunk {figures.count(last)}"

    def pieces(self) -> list[ViewPiece]:
        """Return the line and its note."""
        if (drawn := self._drawn()) is None:
            return [Line(self.note, "quiet")]
        return [drawn, Line(self.note, "quiet")]

    def _drawn(self) -> LinePicture | None:
        line = self.envelope
        if line.last is None:
            return None
        columns = LineColumns(*(column.tolist() for column in line.columns()))
        return LinePicture(
            columns,
            line.bounds,
            line.last,
            *self.ends,
        )


def is_real(value: Any) -> bool:
    """Return whether `value` is a real number, excluding `bool`."""
    kind = type(value)
    return kind is float or kind is int or (isinstance(value, Real) and kind is not bool)


def as_floats(values: Sequence[Any]) -> Any:
    """Return numbers as float64; None and numbers beyond its range become NaN and infinity."""
    try:
        return np.asarray(values, np.float64)
    except (OverflowError, TypeError, ValueError):
        return np.array([_as_float(value) for value in values], np.float64)


def _as_float(value: Any) -> float:
    try:
        return float("nan") if value is None else float(value)
    except OverflowError:
        return float("inf")
