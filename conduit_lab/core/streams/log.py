"""Log: the newest chunks of a stream, up to a number of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Generic, TypeVar

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.materialize import materialize
from conduit_lab.core.weight import plain_weight, weight

T = TypeVar("T")

_OVERHEAD = 64  # bytes of an entry beside its content


class Log(Generic[T]):
    """Keeps about `keep` bytes of the newest chunks, always the newest one; one thread writes, any
    number read.

    `window` is (index of the first kept chunk, the kept chunks): replaced as one, so a reader never
    sees half a trim.
    """

    __slots__ = ("_dropped", "_held", "_keep", "_weights", "window")

    def __init__(self, keep: int) -> None:
        self.window: tuple[int, list[T]] = (0, [])
        self._keep = keep
        self._weights: list[int] = []  # of kept chunks other than text, which may change later
        self._held = 0
        self._dropped = 0

    def append(self, chunk: T) -> bool:
        """Add the newest chunk, materialized; return whether the log is now over its bytes."""
        if type(chunk) is str:
            size = len(chunk)  # type: ignore[arg-type]  # then T is str
        else:
            if (plain := plain_weight(chunk)) is None:
                chunk = materialize(chunk)  # any number of readers read it
            size = weight(chunk) if plain is None else plain
            self._weights.append(size)
        self.window[1].append(chunk)
        self._held = held = self._held + _OVERHEAD + size
        return held > self._keep

    @property
    def count(self) -> int:
        """Chunks added so far, dropped ones included."""
        base, kept = self.window
        return base + len(kept)

    @property
    def size(self) -> int:
        """Bytes of the chunks added so far, as `weight` counts them."""
        return self._held + self._dropped - _OVERHEAD * self.count

    @property
    def surplus(self) -> int:
        """The number of the first chunk to keep when the log is over its bytes.

        The oldest quarter by weight is dropped, so that drops stay rare, but never the newest
        chunk.
        """
        place, kept = self.window
        newest, held = place + len(kept) - 1, self._held
        for size in self._sizes():
            if held <= self._keep * 3 // 4 or place == newest:
                break
            held -= size
            place += 1
        return place

    def beyond(self, place: int) -> int:
        """Return the number up to which the chunks from `place` on weigh half the log, or the count."""
        base, kept = self.window
        weighed = accumulate(islice(self._sizes(), place - base, None))
        return next(
            (n for n, sum_ in enumerate(weighed, place + 1) if sum_ >= self._keep // 2),
            base + len(kept),
        )

    def drop(self, place: int) -> None:
        """Drop the chunks below number `place`."""
        base, kept = self.window
        count = place - base
        gone = sum(islice(self._sizes(), count))
        del self._weights[: sum(type(chunk) is not str for chunk in kept[:count])]
        self._held -= gone
        self._dropped += gone
        self.window = (place, kept[count:])

    def _sizes(self) -> Iterator[int]:
        """Yield the bytes of each kept chunk, as weighed when it came."""
        weights = iter(self._weights)
        for chunk in self.window[1]:
            yield _OVERHEAD + (len(chunk) if type(chunk) is str else next(weights))  # type: ignore[arg-type]

    def lagged(self, name: str, index: int) -> StreamLagged:
        """Return the error for a reader of stream `name` whose next chunk, `index`, was dropped."""
        base, kept = self.window
        return StreamLagged(name, base - index, base, list(kept))
