"""Tokenizer: text to token ids, from a `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.views import figures
from conduit_lab.models.text.shortening import Shortener

MAX_BYTES = 128 * 2**20  # of a tokenizer.json; those of large multilingual models have 35 MB

Ids = npt.NDArray[np.int64]
Text = str | tuple[str, str]  # alone, or two that are read together


class Tokenizer:
    """The `tokenizer.json` of a model folder; text longer than `max_length` tokens is truncated.

    With a `stride` it is read whole instead, in windows of `max_length` that share this many
    tokens. `lower_case` makes text lower-case first, whatever the file says. `vocabulary_size` is
    the number of tokens. Raises `ModelLoadError` naming the file, `MissingExtra` where the package
    tokenizers is not installed.
    """

    def __init__(
        self, path: Path, max_length: int, *, lower_case: bool = False, stride: int | None = None
    ) -> None:
        try:
            from tokenizers import Tokenizer as Backend
            from tokenizers import normalizers
        except ImportError as error:
            raise MissingExtra("tokenizers", "cpu", "embedding models") from error
        where = display(path)
        if not path.is_file():
            raise ModelLoadError(
                f"no tokenizer at {where}: an embedding model folder needs its tokenizer.json; "
                "transformers' AutoTokenizer writes it with save_pretrained"
            )
        if path.stat().st_size > MAX_BYTES:
            raise ModelLoadError(
                f"{where} has {figures.size(path.stat().st_size)}: the limit of a tokenizer.json is "
                f"{figures.size(MAX_BYTES)}"
            )
        try:
            self.backend: Any = Backend.from_file(str(path))
            self.backend.encode("a")  # panics where the file's parts do not fit each other
        except (KeyboardInterrupt, SystemExit):
            raise
        except (
            BaseException
        ) as error:  # the backend raises bare Exception, and a panic is not even one
            raise ModelLoadError(
                f"{where} is not a readable tokenizer.json: {str(error)[:200]}"
            ) from error
        added = self.backend.num_special_tokens_to_add(False)
        if max_length <= added:  # the backend then truncates nothing, without an error
            raise ModelLoadError(
                f"{where} adds {added} tokens to each text: a max_seq_length of {max_length} is too few"
            )
        # files often carry a fixed padding: 128 tokens for a short sentence
        self.backend.no_padding()
        self.max_length = max_length
        self._whole = stride is not None
        self.stride = min(stride or 0, (max_length - added) // 2)
        self.backend.enable_truncation(max_length, stride=self.stride)
        if lower_case:
            before = [self.backend.normalizer] if self.backend.normalizer else []
            self.backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
        self.vocabulary_size: int = self.backend.get_vocab_size()

    def drop(self, tokens: Collection[int]) -> None:
        """Forget added tokens by their ids: their text is plain text from now on."""
        content = json.loads(self.backend.to_str())
        content["added_tokens"] = [
            token for token in content["added_tokens"] if token["id"] not in tokens
        ]
        self.backend = self.backend.from_str(json.dumps(content))
        self.vocabulary_size = self.backend.get_vocab_size()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, unpadded."""
        return [
            encoding.ids
            for encoding in self.backend.encode_batch_fast(list(map(self.clean, texts)))
        ]

    def encode(self, items: Sequence[Text]) -> list[Any]:
        """Return the backend's encoding of each text, or pair of texts; one that was cut has some `overflowing`."""
        clean = [self.clean(item) if isinstance(item, str) else self._pair(*item) for item in items]
        encodings: list[Any] = self.backend.encode_batch(clean)
        return encodings

    def added(self) -> tuple[list[int], list[int]]:
        """Return the ids that are put before each text, and those after it."""
        encoding = self.backend.encode("a")
        mask = encoding.special_tokens_mask
        before = mask.index(0) if 0 in mask else len(mask)
        after = mask[::-1].index(0) if 0 in mask else 0
        return encoding.ids[:before], encoding.ids[len(mask) - after :]

    def clean(self, text: str) -> str:
        """Return as much of the text as is read, without lone surrogates."""
        plain = _plain(text)
        return (
            plain if len(plain) <= self._shortener.limit or self._whole else self._shortener(plain)
        )

    def _pair(self, first: str, second: str) -> tuple[str, str]:
        first, second = _plain(first), _plain(second)
        if max(len(first), len(second)) <= self._shortener.pair_limit:
            return first, second
        return self._shortener.pair(first, second)

    @cached_property
    def _shortener(self) -> Shortener:
        return Shortener(self.backend, self.max_length)

    def prompt_tokens(self, prompt: str) -> int:
        """Return how many tokens `prompt` takes at the begin of a text, those the tokenizer puts before it included."""
        mask = self.backend.encode(self.clean(prompt)).special_tokens_mask
        return len(mask) - (1 if mask and mask[-1] else 0)


def _plain(text: str) -> str:
    """Replace lone surrogates, which are valid in a JSON string and not in UTF-8, by question marks."""
    return text.encode("utf-8", "replace").decode()


def pad(rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[Ids, Ids]:
    """Return (ids, mask), int64 `[n, longest]`: filled up at the end with `padding`, the mask 1 where a token is."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    width = max(
        1, int(lengths.max(initial=0))
    )  # a text has no token where the tokenizer adds none of its own
    there = np.arange(width) < lengths[:, None]
    ids = np.full(there.shape, padding, np.int64)
    ids[there] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    return ids, there.astype(np.int64)
