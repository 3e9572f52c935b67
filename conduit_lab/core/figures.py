"""Figures for people: three significant digits, a unit, thin spaces between thousands."""

from __future__ import annotations

THIN_SPACE = "\u2009"


def count(number: int) -> str:
    """Return `number` with thin spaces between thousands: `12 345`."""
    return f"{number:,}".replace(",", THIN_SPACE)


def _significant(value: float) -> str:
    """Return `value` with three significant digits and no exponent."""
    if value >= 100 or value == 0:
        return count(round(value))
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """Return `value` in the largest unit of `steps` (descending) that leaves at least 1."""
    factor, unit = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    return f"{_significant(value / factor)} {unit}"


def seconds(value: float) -> str:
    """Return a duration given in seconds: `12.4 ms`, `3.10 s`."""
    return _scaled(value, ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")))


def size(value: float) -> str:
    """Return a size given in bytes: `1.50 KB` (1 KB = 1024 bytes)."""
    return _scaled(value, ((2**30, "GB"), (2**20, "MB"), (2**10, "KB"), (1, "B")))


def rate(value: float, unit: str) -> str:
    """Return `value` per second: `1 234 chunks/s`."""
    return f"{_significant(value)} {unit}/s"
