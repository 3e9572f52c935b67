"""StreamStatistics: the progress of a stream in numbers."""

from __future__ import annotations

from typing import NamedTuple


class StreamStatistics(NamedTuple):
    """Chunks and approximate bytes so far, seconds, chunks per second, seconds to the first."""

    chunks: int
    bytes: int
    seconds: float
    rate: float
    first: float | None
