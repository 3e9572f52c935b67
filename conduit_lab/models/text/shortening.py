"""Shortener: cut very long texts to a prefix with the same first tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cached_property
from typing import Any

_TOKEN_CHARACTERS = 8  # of the first attempt, per token
_WHOLE_ATTEMPTS = 4  # times the first attempt; texts up to this length are tokenised whole
_SLACK_WORDS = 8  # after the last token: cutting changes at most the last two words
_SLACK_TOKENS = 100  # at the end of a prefix, which may belong to a longer word
_RUN_CHARACTERS = 1000  # of an unknown word that are kept
_CHUNK_CHARACTERS = 2**16
_DIGITS = dict.fromkeys(map(ord, "0123456789"))
_BLANKS = " \t\n\r"
# BERT treats each as a separate word
_SPLIT = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PLAIN_KINDS = {
    "NoneType",
    "BertNormalizer",
    "Lowercase",
    "BertPreTokenizer",
    "Whitespace",
    "WhitespaceSplit",
}


class Shortener:
    """Cuts texts to a prefix with the same first `max_length` tokens and at least one more.

    `backend` is a tokenizer that truncates to `max_length`. A text stays whole if no prefix is
    guaranteed to have the same tokens.
    """

    def __init__(self, backend: Any, max_length: int) -> None:
        self._backend = backend
        self._max_length = max_length
        self._first = _TOKEN_CHARACTERS * max_length
        self.limit = _WHOLE_ATTEMPTS * self._first
        # lower: the backend combines each window of one text with each window of the other
        self.pair_limit = self._first

    def __call__(self, text: str, above: int = 0, times: int = _WHOLE_ATTEMPTS) -> str:
        """Return a prefix of `text` with more than `above` tokens, or all of it.

        A text of up to `times` the size of the first attempt stays whole.
        """
        size = self._first
        while times * size < len(text):
            prefix = text[:size]
            encoding = self._backend.encode(prefix, add_special_tokens=False)
            more = encoding.overflowing
            enough = more and (not above or _count(encoding) > above + _SLACK_TOKENS)
            if enough and more[-1].word_ids[-1] - encoding.word_ids[-1] >= _SLACK_WORDS:
                return prefix
            if enough and self._merges and self._agree(text, size):
                return prefix
            end = self._run_end(text, size)
            if end is None:
                size *= 4
            else:
                text = prefix[: _run_start(prefix) + self._run] + text[end:]
        return text

    def pair(self, first: str, second: str) -> tuple[str, str]:
        """Return prefixes of two texts that keep the order of their token counts.

        Truncation to an odd length leaves one more token of the longer text, so the shorter of two
        long texts is counted exactly.
        """
        swapped = len(first) > len(second)
        small, big = (second, first) if swapped else (first, second)
        least = self._tokens(small)
        most = self._tokens(self(big, least, 1))  # a lower bound if it exceeds `least`
        if most < least or (most == least and swapped):
            big, small, swapped = small, big, not swapped
        small = self(small, 0, 1)
        big = self(big, self._tokens(small), 1)
        return (big, small) if swapped else (small, big)

    def _tokens(self, text: str) -> int:
        return _count(self._backend.encode(text, add_special_tokens=False))

    # Very long words, in byte-pair encoding and unigrams

    @cached_property
    def _merges(self) -> bool:
        return type(self._backend.model).__name__ in ("BPE", "Unigram")

    @cached_property
    def _longest(self) -> int:
        """The length of the longest token in characters."""
        return max(map(len, self._backend.get_vocab()), default=0)

    def _agree(self, text: str, size: int) -> bool:
        """Return whether all prefixes shorter than `size` by up to a token have the same tokens.

        One of them ends at a token boundary of the whole text and has its tokens up to there: in
        byte-pair encoding no merge crosses that boundary, and with unigrams the best path to it
        does not depend on the text after it.
        """
        if self._longest >= size:
            return False
        ends = [
            place
            for place in range(size, size - self._longest - 1, -1)
            if not unicodedata.combining(text[place])
        ]
        first: list[int] | None = None
        for end in ends:
            ids = self._backend.encode(text[:end], add_special_tokens=False).ids
            first = ids if first is None else first
            if ids != first or len(ids) < self._max_length:
                return False
        return first is not None

    # Very long words in WordPiece, where they are all unknown, and long runs of blanks

    @cached_property
    def _run(self) -> int:
        """The number of characters to keep of a run; 0 if the tokenizer may split or join runs."""
        model, added = self._backend.model, self._backend.get_added_tokens_decoder().values()
        parts = (self._backend.normalizer, self._backend.pre_tokenizer)
        plain = {type(part).__name__ for part in parts} <= _PLAIN_KINDS
        words = any(_is_word(token.content) for token in added)
        if type(model).__name__ != "WordPiece" or not plain or words:
            return 0
        return max(_RUN_CHARACTERS, int(model.max_input_chars_per_word) + 1)

    def _run_end(self, text: str, size: int) -> int | None:
        """Return the end of the run at `size`, or None for a run that is kept whole."""
        if not self._run or size - _run_start(text[:size]) <= self._run:
            return None
        same = _kind(text[size - 1])
        end = size
        while chunk := text[end : end + _CHUNK_CHARACTERS]:
            if not same(chunk):
                return end + next(i for i, character in enumerate(chunk) if not same(character))
            end += len(chunk)
        return end


def _count(encoding: Any) -> int:
    return len(encoding.ids) + sum(len(more.ids) for more in encoding.overflowing)


def _run_start(text: str) -> int:
    """Return the start of the run that ends the text."""
    same, start = _kind(text[-1]), len(text)
    while start and same(text[start - 1]):
        start -= 1
    return start


def _kind(character: str) -> Callable[[str], bool]:
    """Return the test for characters that continue a run."""
    return _is_blank if character in _BLANKS else _is_word


def _is_blank(text: str) -> bool:
    return not text.strip(_BLANKS)


def _is_word(text: str) -> bool:
    """Return whether all characters are letters or digits, and none is a separate word."""
    if text.isascii():
        return text.isalnum()
    return text.translate(_DIGITS).isalpha() and not _SPLIT.search(text)
