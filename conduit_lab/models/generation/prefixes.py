"""Prefixes: the KV cache of prompts that were read, for the next that begin alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conduit_lab.core.spec import Array

LEAST = 16  # tokens; fewer are computed as fast as they are copied
BYTES = 256 * 2**20
MOST = 32  # prompts


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal
class _Prompt:
    tokens: npt.NDArray[np.int64]
    side: int
    saved: list[Array]
    size: int


class Prefixes:
    """The newest prompts, within `limit` bytes; what was not used for longest goes first."""

    def __init__(self, limit: int = BYTES) -> None:
        self._limit = limit
        self._prompts: list[_Prompt] = []  # the newest last

    def find(self, tokens: Sequence[int], side: int = 0) -> tuple[int, list[Array]]:
        """Return how many tokens of a prompt are known, and their cache.

        Only prompts on the same `side` of the model's switch lengths have the same cache.

        The last token is never: it has to be computed, for its logits.
        """
        wanted = np.asarray(tokens, np.int64)[:-1]
        best, found = 0, None
        for prompt in self._on(side):
            length = min(len(wanted), len(prompt.tokens))
            same = prompt.tokens[:length] == wanted[:length]
            common = length if same.all() else int(same.argmin())
            if common > best:
                best, found = common, prompt
        if found is None or best < LEAST:
            return 0, []
        self._prompts.remove(found)
        self._prompts.append(found)
        return best, found.saved

    def keep(
        self, tokens: Sequence[int], save: Callable[[int], list[Array]], side: int = 0
    ) -> None:
        """Keep a prompt that was read; `save` copies its cache. It takes the place of those it begins with."""
        if len(tokens) < LEAST:
            return
        ids = np.asarray(tokens, np.int64)
        same = self._on(side)
        if any(
            len(p.tokens) >= len(ids) and np.array_equal(p.tokens[: len(ids)], ids) for p in same
        ):
            return
        for prompt in same:
            if np.array_equal(prompt.tokens, ids[: len(prompt.tokens)]):
                self._prompts.remove(prompt)
        saved = save(len(ids))
        self._prompts.append(_Prompt(ids, side, saved, sum(array.nbytes for array in saved)))
        while len(self._prompts) > MOST or sum(p.size for p in self._prompts) > self._limit:
            del self._prompts[0]

    def _on(self, side: int) -> list[_Prompt]:
        return [prompt for prompt in self._prompts if prompt.side == side]

    def clear(self) -> None:
        """Forget all."""
        self._prompts = []
