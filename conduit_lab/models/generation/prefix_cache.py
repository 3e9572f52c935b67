"""PrefixCache: the KV cache of recent sequences, reused by sequences with a common prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

MIN_PREFIX_TOKENS = 16  # shorter prefixes are computed as fast as copied
MAX_PREFIXES = 32
_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)  # arrays have no truth value to compare by
class _Prefix:
    tokens: npt.NDArray[np.int64]
    side: int
    saved: list[Array]
    size: int


class PrefixCache:
    """The most recently used sequences with their KV cache, at most `limit` bytes (LRU)."""

    def __init__(self, limit: int = _MAX_BYTES) -> None:
        self._limit = limit
        self._prefixes: list[_Prefix] = []  # most recently used last

    def find(
        self, tokens: Sequence[int], side: int = 0, least: int = MIN_PREFIX_TOKENS
    ) -> tuple[int, list[Array]]:
        """Return the length of the longest cached prefix of `tokens`, and its KV cache.

        Prefixes below `least` tokens are ignored. The last token is never cached: its logits have
        to be computed. Only prompts on the same `side` of the model's switch lengths share a KV
        cache.
        """
        target = np.asarray(tokens, np.int64)[:-1]
        best, found = 0, None
        for prefix in self._on(side):
            length = min(len(target), len(prefix.tokens))
            same = prefix.tokens[:length] == target[:length]
            common = length if same.all() else int(same.argmin())
            if common > best:
                best, found = common, prefix
        if found is None or best < least:
            return 0, []
        self._prefixes.remove(found)
        self._prefixes.append(found)
        return best, found.saved

    def insert(
        self,
        tokens: Sequence[int],
        save: Callable[[int], list[Array]],
        side: int = 0,
        least: int = MIN_PREFIX_TOKENS,
    ) -> None:
        """Cache a sequence of at least `least` tokens, replacing all cached prefixes of it.

        `save` copies the KV cache of a number of tokens. An already cached sequence is not copied,
        and one above the limit is not cached.
        """
        if len(tokens) < least:
            return
        ids = np.asarray(tokens, np.int64)
        same = self._on(side)
        if any(np.array_equal(prefix.tokens[: len(ids)], ids) for prefix in same):
            return
        saved = save(len(ids))
        size = sum(array.nbytes for array in saved)
        if size > self._limit:
            return
        for prefix in same:
            if np.array_equal(prefix.tokens, ids[: len(prefix.tokens)]):
                self._prefixes.remove(prefix)
        self._prefixes.append(_Prefix(ids, side, saved, size))
        while (
            len(self._prefixes) > MAX_PREFIXES or sum(p.size for p in self._prefixes) > self._limit
        ):
            del self._prefixes[0]

    def clear(self) -> None:
        """Drop all prefixes."""
        self._prefixes = []

    def _on(self, side: int) -> list[_Prefix]:
        return [prefix for prefix in self._prefixes if prefix.side == side]
