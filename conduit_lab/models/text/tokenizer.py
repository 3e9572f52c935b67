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
from conduit_lab.core.text import first_line
from conduit_lab.core.views import figures
from conduit_lab.models.text.shortening import Shortener

MAX_TOKENIZER_BYTES = 128 * 2**20  # large multilingual models have 35 MB

_Int64Array = npt.NDArray[np.int64]
TextOrPair = str | tuple[str, str]  # one text, or two that share a sequence


class Tokenizer:
    """The `tokenizer.json` of a model folder; text longer than `max_length` tokens is truncated.

    With a `stride`, the whole text is read instead, in windows of `max_length` tokens that overlap
    by `stride`. `lower_case` overrides the file and lowercases text first. `vocabulary_size` is the
    number of tokens. Raises `ModelLoadError` naming the file, `MissingExtra` if the package
    tokenizers is not installed.
    """

    def __init__(
        self, path: Path, max_length: int, *, lower_case: bool = False, stride: int | None = None
    ) -> None:
        self.backend: Any = _backend(path)
        added = self.backend.num_special_tokens_to_add(False)
        if max_length <= added:  # the backend would silently truncate nothing
            raise ModelLoadError(
                f"{display(path)} adds {figures.plural(added, 'token')} to each text: "
                f"a max_seq_length of {max_length} is too few"
            )
        # files often set a fixed padding: 128 tokens for a short sentence
        self.backend.no_padding()
        self.max_length = max_length
        self._whole = stride is not None
        self.stride = min(stride or 0, (max_length - added) // 2)
        self.backend.enable_truncation(max_length, stride=self.stride)
        if lower_case:
            from tokenizers import normalizers

            own = [self.backend.normalizer] if self.backend.normalizer else []
            self.backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        self.vocabulary_size: int = self.backend.get_vocab_size()

    def drop(self, tokens: Collection[int]) -> None:
        """Remove added tokens by their ids: their spelling becomes plain text."""
        content = json.loads(self.backend.to_str())
        content["added_tokens"] = [
            token for token in content["added_tokens"] if token["id"] not in tokens
        ]
        self.backend = self.backend.from_str(json.dumps(content))
        self.vocabulary_size = self.backend.get_vocab_size()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, unpadded."""
        encodings = self.backend.encode_batch_fast(list(map(self.clean, texts)))
        return [encoding.ids for encoding in encodings]

    def encode(self, items: Sequence[TextOrPair]) -> list[Any]:
        """Return the backend's encoding per text or pair; a truncated one has `overflowing`."""
        clean = [self.clean(item) if isinstance(item, str) else self._pair(*item) for item in items]
        encodings: list[Any] = self.backend.encode_batch(clean)
        return encodings

    def added(self) -> tuple[list[int], list[int]]:
        """Return the ids that the tokenizer adds before and after each text."""
        encoding = self.backend.encode("a")
        mask = encoding.special_tokens_mask
        before = mask.index(0) if 0 in mask else len(mask)
        after = mask[::-1].index(0) if 0 in mask else 0
        return encoding.ids[:before], encoding.ids[len(mask) - after :]

    def clean(self, text: str) -> str:
        """Return the text without lone surrogates, and without the part that truncation drops."""
        valid = _valid(text)
        if self._whole or len(valid) <= self._shortener.limit:
            return valid
        return self._shortener(valid)

    def _pair(self, first: str, second: str) -> tuple[str, str]:
        first, second = _valid(first), _valid(second)
        if max(len(first), len(second)) <= self._shortener.pair_limit:
            return first, second
        return self._shortener.pair(first, second)

    @cached_property
    def _shortener(self) -> Shortener:
        return Shortener(self.backend, self.max_length)

    def prompt_tokens(self, prompt: str) -> int:
        """Return the number of tokens of `prompt` before a text, with leading special tokens."""
        mask = self.backend.encode(self.clean(prompt)).special_tokens_mask
        return len(mask) - (1 if mask and mask[-1] else 0)


def _backend(path: Path) -> Any:
    """Return the package's tokenizer for a file, after a trial on a text."""
    try:
        from tokenizers import Tokenizer as Backend
    except ImportError as error:
        raise MissingExtra("tokenizers", "cpu", "embedding models") from error
    where = display(path)
    if not path.is_file():
        raise ModelLoadError(
            f"no tokenizer at {where}: an embedding model folder needs its tokenizer.json; "
            "transformers' AutoTokenizer writes it with save_pretrained"
        )
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ModelLoadError(
            f"{where} has {figures.size(path.stat().st_size)}: the limit of a tokenizer.json is "
            f"{figures.size(MAX_TOKENIZER_BYTES)}"
        )
    try:
        backend = Backend.from_file(str(path))
        backend.encode("a")  # panics if the parts of the file are inconsistent
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # it raises plain Exception, and a panic is a BaseException
        raise ModelLoadError(
            f"{where} is not a readable tokenizer.json: {first_line(error)}"
        ) from error
    return backend


def _valid(text: str) -> str:
    """Replace lone surrogates, valid in JSON strings but not in UTF-8, with "?"."""
    return text.encode("utf-8", "replace").decode()


def pad_rows(rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[_Int64Array, _Int64Array]:
    """Return (ids, mask), int64 `[n, longest]`; shorter rows end with `padding`, masked 0."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    width = max(1, int(lengths.max(initial=0)))  # "" has no tokens unless special ones are added
    filled = np.arange(width) < lengths[:, None]
    ids = np.full(filled.shape, padding, np.int64)
    ids[filled] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    return ids, filled.astype(np.int64)
