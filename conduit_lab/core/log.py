"""Log: the newest chunks of a stream, up to a number of bytes."""

from __future__ import annotations

from typing import Generic, TypeVar

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.weight import weight

T = TypeVar("T")

_OVERHEAD = 64  # bytes of an entry beside its content


class Log(Generic[T]):
    """Keeps about `keep` bytes of the newest chunks, always the newest one; one thread writes, any number read.

    `window` is (index of the first kept chunk, the kept chunks): replaced as one, so a reader never sees half a trim.
    """

    __slots__ = ("_dropped", "_held", "_keep", "window")

    def __init__(self, keep: int) -> None:
        self.window: tuple[int, list[T]] = (0, [])
        self._keep = keep
        self._held = 0
        self._dropped = 0

    def append(self, chunk: T) -> None:
        """Add the newest chunk."""
        self.window[1].append(chunk)
        self._held += _OVERHEAD + (len(chunk) if isinstance(chunk, str) else weight(chunk))
        if self._held > self._keep:
            self._trim()

    @property
    def count(self) -> int:
        """Chunks added so far, dropped ones included."""
        base, kept = self.window
        return base + len(kept)

    @property
    def size(self) -> int:
        """Bytes of the chunks added so far, as `weight` counts them."""
        return self._held + self._dropped - _OVERHEAD * self.count

    def lagged(self, name: str, index: int) -> StreamLagged:
        """Return the error for a reader of stream `name` whose next chunk, `index`, was dropped."""
        base, kept = self.window
        return StreamLagged(name, base - index, base, list(kept))

    def _trim(self) -> None:
        """Drop the oldest quarter by weight (always keeping the newest chunk), so that trims stay rare."""
        base, kept = self.window
        drop = 0
        while self._held > self._keep * 3 // 4 and drop < len(kept) - 1:
            gone = _OVERHEAD + weight(kept[drop])
            self._held -= gone
            self._dropped += gone
            drop += 1
        self.window = (base + drop, kept[drop:])
