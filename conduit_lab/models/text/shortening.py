"""Shortener: the beginning of a very long text that has the same first tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cached_property
from typing import Any

_CHARACTERS = 8  # per token, at first
_SHORT = 4  # times as long as the first attempt: a text up to here is tokenised whole
_WORDS = 8  # kept behind the last token: a cut changes at most the last two words
_UNSURE = 100  # tokens at the end of a beginning that may belong to a longer word
_RUN = 1000  # characters of an unknown word that are kept
_CHUNK = 2**16
_DIGITS = dict.fromkeys(map(ord, "0123456789"))
_BLANKS = " \t\n\r"
_SPLIT = re.compile(
    "[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)  # each is a word of its own in a BERT


class Shortener:
    """Cuts texts so that their first `max_length` tokens are those of the whole, and there are more
    of them.

    `backend` is a tokenizer that truncates to `max_length`. A text whose beginning does not prove
    that stays whole.
    """

    def __init__(self, backend: Any, max_length: int) -> None:
        self._backend = backend
        self._max_length = max_length
        self._first = _CHARACTERS * max_length
        self.limit = _SHORT * self._first
        # lower, since the backend makes windows of each part of one text with each part of the
        # other
        self.pair_limit = self._first

    def __call__(self, text: str, above: int = 0, times: int = _SHORT) -> str:
        """Return the beginning of `text`, which has more than `above` tokens too, or all of it.

        A text of up to `times` the size of the first attempt stays whole.
        """
        size = self._first
        while times * size < len(text):
            beginning = text[:size]
            encoding = self._backend.encode(beginning, add_special_tokens=False)
            more = encoding.overflowing
            enough = more and (not above or _count(encoding) > above + _UNSURE)
            if enough and more[-1].word_ids[-1] - encoding.word_ids[-1] >= _WORDS:
                return beginning
            if enough and self._merges and self._agree(text, size):
                return beginning
            end = self._run_end(text, size)
            if end is None:
                size *= 4
            else:
                text = beginning[: _run_start(beginning) + self._run] + text[end:]
        return text

    def pair(self, first: str, second: str) -> tuple[str, str]:
        """Return the beginnings of two texts, of which the same one has more tokens.

        Where both are cut at an odd length, that one keeps a token more. So the shorter of two long
        texts is counted.
        """
        turned = len(first) > len(second)
        small, big = (second, first) if turned else (first, second)
        least = self._tokens(small)
        most = self._tokens(self(big, least, 1))  # at least, where that is more than the other's
        if most < least or (most == least and turned):
            big, small, turned = small, big, not turned
        small = self(small, 0, 1)
        big = self(big, self._tokens(small), 1)
        return (big, small) if turned else (small, big)

    def _tokens(self, text: str) -> int:
        return _count(self._backend.encode(text, add_special_tokens=False))

    # A word that does not end: byte-pair encoding and unigrams

    @cached_property
    def _merges(self) -> bool:
        return type(self._backend.model).__name__ in ("BPE", "Unigram")

    @cached_property
    def _longest(self) -> int:
        """The characters of the longest token."""
        return max(map(len, self._backend.get_vocab()), default=0)

    def _agree(self, text: str, size: int) -> bool:
        """Whether all beginnings that end within a token's length before `size` have the same first
        tokens.

        One of them ends where a token of the whole text does, and up to there has its tokens: in
        byte-pair encoding no merge crosses that place, with unigrams the best way to it does not
        depend on what follows.
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

    # A word that does not end: WordPiece, for which any word of that length is unknown; and blanks,
    # which are none

    @cached_property
    def _run(self) -> int:
        """The characters to keep of a run, or 0 where the tokenizer may split or join one."""
        model, added = self._backend.model, self._backend.get_added_tokens_decoder().values()
        kinds = {
            type(part).__name__ for part in (self._backend.normalizer, self._backend.pre_tokenizer)
        }
        plain = {
            "NoneType",
            "BertNormalizer",
            "Lowercase",
            "BertPreTokenizer",
            "Whitespace",
            "WhitespaceSplit",
        }
        if (
            type(model).__name__ != "WordPiece"
            or not kinds <= plain
            or any(_is_word(t.content) for t in added)
        ):
            return 0
        return max(_RUN, int(model.max_input_chars_per_word) + 1)

    def _run_end(self, text: str, size: int) -> int | None:
        """Return the end of the run at `size`, or None if it is no longer than the part that is kept."""
        if not self._run or size - _run_start(text[:size]) <= self._run:
            return None
        same = _kind(text[size - 1])
        end = size
        while chunk := text[end : end + _CHUNK]:
            if not same(chunk):
                return end + next(i for i, character in enumerate(chunk) if not same(character))
            end += len(chunk)
        return end


def _count(encoding: Any) -> int:
    return len(encoding.ids) + sum(len(more.ids) for more in encoding.overflowing)


def _run_start(text: str) -> int:
    """Return the start of the run at the end of the text."""
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
    """Whether all characters are letters, or digits from 0 to 9, and none is a word of its own."""
    if text.isascii():
        return text.isalnum()
    return text.translate(_DIGITS).isalpha() and not _SPLIT.search(text)
