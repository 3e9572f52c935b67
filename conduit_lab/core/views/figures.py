"""Figures for display: three significant digits, a unit, thin spaces between thousands."""

from __future__ import annotations

import math

THIN_SPACE = "\u2009"


def count(number: int) -> str:
    """Return `number` with thin spaces between thousands: `12 345`."""
    return f"{number:,}".replace(",", THIN_SPACE)


def plural(number: int, noun: str) -> str:
    """Return `number` with its noun: `1 call`, `12 345 calls`, `2 entries`, `2 batches`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count(number)} {noun[:-1]}ies"
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count(number)} {noun}{ending}"


def _significant(value: float) -> str:
    """Format `value` with at least three significant digits and no exponent."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.2e}")  # rounded first: 9.996 is 10.0, not 10.00
    if abs(rounded) >= 100:
        return count(round(value))
    return f"{rounded:.{2 - math.floor(math.log10(abs(rounded)))}f}"


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """Format `value` in the largest unit of `steps` (descending) that yields at least 1."""
    rounded = abs(float(f"{value:.2e}"))
    factor, unit = next((step for step in steps if rounded >= step[0]), steps[-1])
    return f"{_significant(value / factor)} {unit}"


def seconds(value: float) -> str:
    """Format a duration given in seconds: `12.4 ms`, `3.10 s`."""
    return _scaled(value, ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")))


def size(value: float) -> str:
    """Format a size given in bytes: `1.50 KB` (1 KB = 1024 bytes)."""
    if value < 2**10:
        return f"{count(round(value))} B"
    return _scaled(value, ((2**30, "GB"), (2**20, "MB"), (2**10, "KB")))


def rate(value: float, unit: str) -> str:
    """Format `value` per second: `1 234 chunks/s`."""
    return f"{_significant(value)} {unit}/s"
