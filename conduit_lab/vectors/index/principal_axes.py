"""Axes: the directions in which the rows of an index lie, so that a scan reads fewer values than they have."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import FloatArray

_LEAST, _STEP = (
    64,
    128,
)  # widths: an odd number of the 64 values that a product reads at once packs without a gap
_ASKED = 64  # rows whose neighbours tell how many axes do, and how many neighbours of each
_NEIGHBOURS = 10
_LEFT = 100  # rows that the axes may leave to score, as a median


class Axes:
    """`axes(x)` is x `[dimension]` in fewer values `[k + 1]`, that keep its length and lose little
    of a dot product.

    With x = y + r, where y lies along k orthonormal axes and r across, x·q <= y·y' + |r||r'| for
    any x and q (Cauchy and Schwarz). So the values of y and one more, |r|, have a dot product that
    is never below x·q, but for `slack`, and nearly x·q where most of both lies along the axes. They
    are turned, so that none of them is much greater than the others, which 8 bits would pay for.
    `turned` float32 `[k + 1, dimension + 1]` has the turned axes, and in its last column where |r|
    goes.
    """

    def __init__(self, turned: FloatArray) -> None:
        self.turned = turned
        width, dimension = len(turned), turned.shape[1] - 1
        # A float32 product rounds by at most dimension x 2^-24 |x| along each axis; the same for
        # y·y'.
        self.slack = (4 * dimension * np.sqrt(width) + 64) * 2.0**-24

    @classmethod
    def of(cls, axes: npt.NDArray[np.float64]) -> Self:
        """Return them for orthonormal `axes` float64 `[k, dimension]`."""
        count, dimension = axes.shape
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((count + 1, count + 1)))[0]
        turned = np.empty((count + 1, dimension + 1), np.float32)
        turned[:, :-1] = turn[:, :-1] @ axes
        turned[:, -1] = turn[:, -1]
        return cls(turned)

    @classmethod
    def along(cls, rows: FloatArray) -> Self | None:
        """Return the fewest axes that serve for searches among such `rows` `[n, dimension]`; None
        where all are needed.

        They are the principal axes.
        """
        widths = range(_LEAST, rows.shape[1] * 3 // 4 + 1, _STEP)
        if not widths or len(rows) < _ASKED:
            return None
        wide = rows.astype(np.float64)
        principal = np.linalg.eigh(wide.T @ wide)[1][:, ::-1]
        values = rows @ principal.astype(np.float32)
        asked = values[:: max(1, len(values) // _ASKED)]
        least = np.partition(asked @ values.T, -_NEIGHBOURS - 1, axis=1)[
            :, -_NEIGHBOURS - 1, np.newaxis
        ]
        for width in widths:
            count = width - 1
            across = np.outer(length(asked[:, count:]), length(values[:, count:]))
            bounds = asked[:, :count] @ values[:, :count].T + across
            if np.median(np.count_nonzero(bounds >= least, axis=1)) <= _LEFT:
                return cls.of(principal[:, :count].T)
        return None

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Return float32 `[m, k + 1]` for rows `[m, dimension]`."""
        axes, rest = self.turned[:, :-1], self.turned[:, -1]
        # vecdot, since it never waits for BLAS threads
        values = np.vecdot(axes, rows[0])[np.newaxis] if len(rows) == 1 else rows @ axes.T
        across = np.vecdot(rows, rows) * np.float32(1 + self.slack) - np.vecdot(values, values)
        values += np.outer(np.sqrt(np.maximum(across, 0)), rest)
        return values


def length(rows: FloatArray) -> FloatArray:
    """Return the length of each row, in float32."""
    lengths: FloatArray = np.sqrt(np.vecdot(rows, rows))
    return lengths
