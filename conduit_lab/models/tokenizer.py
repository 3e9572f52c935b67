"""Tokenizer: text to token ids, from a `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display


class Tokenizer:
    """The `tokenizer.json` of a model folder; text longer than `max_length` tokens is truncated."""

    def __init__(self, path: Path, max_length: int) -> None:
        try:
            from tokenizers import Tokenizer as Backend
        except ImportError as error:
            raise MissingExtra("tokenizers", "cpu", "embedding models") from error
        if not path.is_file():
            raise ModelLoadError(f"no tokenizer at {display(path)}: an embedding model folder needs its tokenizer.json")
        try:
            self._backend: Any = Backend.from_file(str(path))
        except Exception as error:  # the backend raises bare Exception
            raise ModelLoadError(f"{display(path)} is not a readable tokenizer.json: {str(error)[:200]}") from error
        self._backend.no_padding()  # files often carry a fixed padding: 128 tokens for a short sentence
        self._backend.enable_truncation(max_length)
        self.vocabulary_size: int = self._backend.get_vocab_size()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, unpadded."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts))]


def pad(rows: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (ids, mask), int64 `[n, longest]`: padded at the end with 0, the mask 1 where there is a token."""
    width = max(1, *map(len, rows))  # an empty text has no token where the tokenizer adds none of its own
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask
