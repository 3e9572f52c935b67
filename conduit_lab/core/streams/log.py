"""Log: the newest chunks of a stream, bounded in bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, islice
from typing import Any, Generic, TypeVar

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.materialize import materialize
from conduit_lab.core.weight import PLAIN, weight

_T = TypeVar("_T")

_ENTRY_BYTES = 64  # overhead per entry
_MAX_INLINE_ITEMS = 64  # of a dict that `append` weighs itself


class Log(Generic[_T]):
    """Retains about `keep` bytes of the newest chunks, and always the newest one.

    One thread writes; any number of threads read without a lock: `window` is (index of the first
    retained chunk, the retained chunks), which grows in place and is replaced atomically when
    trimmed.
    """

    __slots__ = ("_dropped", "_held", "_keep", "_weights", "window")

    def __init__(self, keep: int) -> None:
        self.window: tuple[int, list[_T]] = (0, [])
        self._keep = keep
        self._weights: list[int] = []  # of retained non-text chunks, which may change later
        self._held = 0
        self._dropped = 0

    def append(self, chunk: Any) -> bool:
        """Add the newest chunk, materialized; return whether the log now exceeds its size limit."""
        kind = type(chunk)
        if kind is str:
            size = _ENTRY_BYTES + len(chunk)
        else:
            size = 0
            if kind is dict and len(chunk) <= _MAX_INLINE_ITEMS:
                # the common case; calling `weight` would halve the throughput
                size = _ENTRY_BYTES + chunk.__sizeof__()
                for value in chunk.values():
                    part = type(value)
                    if part is str or part is int:
                        size += value.__sizeof__()
                    elif part not in PLAIN:
                        size = 0
                        break
            elif kind in PLAIN:
                size = _ENTRY_BYTES + chunk.__sizeof__()
            if not size:
                if not isinstance(chunk, str):  # such as a token
                    chunk = materialize(chunk)  # for any number of readers
                size = _ENTRY_BYTES + weight(chunk)
            self._weights.append(size)
        self.window[1].append(chunk)
        self._held = held = self._held + size
        return held > self._keep

    @property
    def keep(self) -> int:
        """Approximate size limit of the retained chunks, in bytes."""
        return self._keep

    @property
    def count(self) -> int:
        """Chunks added so far, including dropped ones."""
        base, kept = self.window
        return base + len(kept)

    @property
    def size(self) -> int:
        """Bytes of the chunks added so far, as measured by `weight`."""
        return self._held + self._dropped - _ENTRY_BYTES * self.count

    @property
    def surplus(self) -> int:
        """The index of the first chunk to retain when the log exceeds its size limit.

        Drops the oldest quarter by weight, so that trims stay rare, but never the newest chunk.
        """
        base, kept = self.window
        excess = self._held - self._keep * 3 // 4
        dropped = self._reaching(excess, 0) if excess > 0 else 0
        return base + min(dropped, len(kept) - 1)

    def half_from(self, index: int) -> int:
        """Return the index at which chunks from `index` on add up to half the log, or the count."""
        base, kept = self.window
        half = self._reaching(self._keep // 2, index - base)
        return min(index + half, base + len(kept))

    def drop(self, index: int) -> None:
        """Drop the chunks below `index`."""
        base, kept = self.window
        count = index - base
        dropped = sum(islice(self._sizes(), count))
        mixed = len(self._weights) < len(kept)
        texts = sum(type(chunk) is str for chunk in kept[:count]) if mixed else 0
        del self._weights[: count - texts]
        self._held -= dropped
        self._dropped += dropped
        self.window = (index, kept[count:])

    def skip(self, index: int) -> None:
        """Continue with chunk `index`; all chunks below it count as dropped, even retained ones.

        A log has no gaps, and the chunks before `index` never arrived here.
        """
        self._dropped += self._held + _ENTRY_BYTES * (index - self.count)
        self._held = 0
        self._weights = []
        self.window = (index, [])

    def lagged(self, name: str, index: int) -> StreamLagged:
        """Return the error for a reader of stream `name` whose next chunk, `index`, was dropped."""
        base, kept = self.window
        return StreamLagged(name, base - index, base, list(kept))

    def _reaching(self, size: int, start: int) -> int:
        """Return how many chunks, from retained chunk `start` on, weigh at least `size`."""
        return bisect_left(list(accumulate(islice(self._sizes(), start, None))), size) + 1

    def _sizes(self) -> Iterable[int]:
        """Return the weight of each retained chunk when it was added."""
        if len(self._weights) == len(self.window[1]):
            return self._weights
        weights = iter(self._weights)
        return (
            _ENTRY_BYTES + len(chunk) if type(chunk) is str else next(weights)  # type: ignore[arg-type]
            for chunk in self.window[1]
        )
