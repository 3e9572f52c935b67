"""Envelope: summarize any number of values in a fixed number of min/max columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class EnvelopeColumns(NamedTuple):
    """The columns of an envelope: minimum, maximum and mean; NaN if no value is finite."""

    low: Floats
    high: Floats
    mean: Floats


class Envelope:
    """Summarizes values in order, `per` of them in each column.

    When all `width` columns are full, neighbours are merged and `per` doubles, so the columns
    always cover all values. Non-finite values are counted but not included.
    """

    def __init__(self, width: int = 512) -> None:
        self.per = 1
        self.count = 0
        self.invalid = 0
        self.last: float | None = None
        self._width = width
        self._low = np.full(width, np.nan)
        self._high = np.full(width, np.nan)
        self._sum = np.zeros(width)
        self._finite = np.zeros(width)

    def add(self, values: npt.ArrayLike) -> None:
        """Add values; float64 [n] or convertible."""
        added = np.asarray(values, np.float64).ravel()
        if not added.size:
            return
        finite = np.isfinite(added)
        kept = added[finite]
        self.invalid += added.size - kept.size
        end = self.count + added.size
        while end > self.per * self._width:
            self._merge()
        places = (np.arange(self.count, end) // self.per)[finite]
        np.fmin.at(self._low, places, kept)
        np.fmax.at(self._high, places, kept)
        with np.errstate(over="ignore", invalid="ignore"):  # a mean beyond float64 becomes a gap
            np.add.at(self._sum, places, kept)
        np.add.at(self._finite, places, 1)
        self.count = end
        if kept.size:
            self.last = float(kept[-1])

    @property
    def bounds(self) -> tuple[float, float]:
        """The minimum and maximum so far; zeros before the first finite value."""
        if self.last is None:
            return 0.0, 0.0
        return float(np.nanmin(self._low)), float(np.nanmax(self._high))

    @property
    def length(self) -> int:
        """The number of columns in use."""
        return -(-self.count // self.per)

    def columns(self, start: int = 0) -> EnvelopeColumns:
        """Return the used columns from `start` on."""
        place = slice(start, self.length)
        finite = self._finite[place]
        mean = np.full(finite.size, np.nan)
        np.divide(self._sum[place], finite, out=mean, where=finite > 0)
        return EnvelopeColumns(self._low[place].copy(), self._high[place].copy(), mean)

    def _merge(self) -> None:
        half = self._width // 2
        for array, join, empty in (
            (self._low, np.fmin, np.nan),
            (self._high, np.fmax, np.nan),
            (self._sum, np.add, 0.0),
            (self._finite, np.add, 0.0),
        ):
            with np.errstate(over="ignore", invalid="ignore"):
                array[:half] = join(array[0::2], array[1::2])
            array[half:] = empty
        self.per *= 2
