"""Principal axes: reduce the number of values that a scan reads per row."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import FloatArray

# Widths: an odd multiple of the 64 values that a product reads at once packs without gaps.
_MIN_WIDTH, _STEP = 64, 128
_PROBES = 64  # rows whose neighbours determine the number of axes, and neighbours per row
_NEIGHBOURS = 10
_MAX_CANDIDATES = 100  # left by the axes for rescoring, as a median


class PrincipalAxes:
    """`axes(x)` projects x `[dimension]` to `[k + 1]` values, preserving its length.

    With x = y + r, y in the span of k orthonormal axes and r orthogonal to it, x·q <= y·y' +
    |r||r'| for any x and q (Cauchy-Schwarz). So the values of y together with |r| have a dot
    product that is never below x·q by more than `tolerance` |x||q|, and close to it if most of both
    vectors is in the span. A rotation evens out the magnitudes, since a single large value makes
    8-bit codes imprecise. `rotated` float32 `[k + 1, dimension + 1]` holds the rotated axes and, in
    its last column, the direction of |r|.
    """

    def __init__(self, rotated: FloatArray) -> None:
        self.rotated = rotated
        width, dimension = len(rotated), rotated.shape[1] - 1
        # A float32 product rounds by at most dimension x 2^-24 |x| along each axis, as does y·y'.
        self.tolerance = (4 * dimension * np.sqrt(width) + 64) * 2.0**-24

    @classmethod
    def of(cls, axes: npt.NDArray[np.float64]) -> Self:
        """Return the projection to orthonormal `axes` float64 `[k, dimension]`."""
        count, dimension = axes.shape
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((count + 1, count + 1)))[0]
        rotated = np.empty((count + 1, dimension + 1), np.float32)
        rotated[:, :-1] = turn[:, :-1] @ axes
        rotated[:, -1] = turn[:, -1]
        return cls(rotated)

    @classmethod
    def along(cls, rows: FloatArray) -> Self | None:
        """Return the minimum set of principal axes sufficient to search `rows` `[n, dimension]`.

        None if all are needed.
        """
        widths = range(_MIN_WIDTH, rows.shape[1] * 3 // 4 + 1, _STEP)
        if not widths or len(rows) < _PROBES:
            return None
        wide = rows.astype(np.float64)
        principal = np.linalg.eigh(wide.T @ wide)[1][:, ::-1]
        values = rows @ principal.astype(np.float32)
        probes = values[:: max(1, len(values) // _PROBES)]
        last = -_NEIGHBOURS - 1
        threshold = np.partition(probes @ values.T, last, axis=1)[:, last, np.newaxis]
        for width in widths:
            count = width - 1
            across = np.outer(
                float32_lengths(probes[:, count:]), float32_lengths(values[:, count:])
            )
            bounds = probes[:, :count] @ values[:, :count].T + across
            if np.median(np.count_nonzero(bounds >= threshold, axis=1)) <= _MAX_CANDIDATES:
                return cls.of(principal[:, :count].T)
        return None

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Return float32 `[m, k + 1]` for rows `[m, dimension]`."""
        axes, rest = self.rotated[:, :-1], self.rotated[:, -1]
        # vecdot never waits for BLAS threads
        values = np.vecdot(axes, rows[0])[np.newaxis] if len(rows) == 1 else rows @ axes.T
        across = np.vecdot(rows, rows) * np.float32(1 + self.tolerance) - np.vecdot(values, values)
        values += np.outer(np.sqrt(np.maximum(across, 0)), rest)
        return values


def float32_lengths(rows: FloatArray) -> FloatArray:
    """Return the length of each row, in float32."""
    lengths: FloatArray = np.sqrt(np.vecdot(rows, rows))
    return lengths
