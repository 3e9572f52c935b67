"""Packing: fit as many passages as possible into a generator's prompt."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from conduit_lab.core.quotation import SENTENCE_END

_WORD = re.compile(r"(?<=\S)(?=\s)")
_CHARACTER = re.compile(r"\S")
_HEADING = re.compile(r"^#{1,6}\s.*\s*", re.MULTILINE)


@runtime_checkable
class Counting(Protocol):
    """A generator with a known context length that can count tokens."""

    @property
    def context(self) -> int:
        """The maximum number of tokens of prompt and answer combined."""

    def count_tokens(
        self, prompt: Any = None, *, query: str | None = None, context: Sequence[str] | None = None
    ) -> int:
        """Return the number of tokens of a prompt, given as for `generate`."""


class Packed(NamedTuple):
    """The beginning of the text at index `place`: all of it, or as many sentences as fit."""

    place: int
    text: str


def pack(texts: Sequence[str], fits: Callable[[list[str]], bool]) -> list[Packed]:
    """Return the parts of `texts`, best first, that fit a prompt according to `fits`.

    A text that fits is included whole. Otherwise it is cut at the last sentence end that fits; if
    not even the first sentence of the best text fits, that is cut at a word or anywhere.
    """
    packed: list[Packed] = []
    for place, text in enumerate(texts):
        before = [part.text for part in packed]

        def with_others(part: str, before: list[str] = before) -> bool:
            return fits([*before, part])

        if not with_others(text):
            ends = (SENTENCE_END,) if packed else (SENTENCE_END, _WORD, _CHARACTER)
            text = next(filter(None, (_beginning(text, end, with_others) for end in ends)), "")
        if text.strip():
            packed.append(Packed(place, text))
    return packed


def _beginning(text: str, end: re.Pattern[str], fits: Callable[[str], bool]) -> str:
    """Return the longest beginning that fits and stops at an `end`, except after a heading."""
    size = 1024
    while size < len(text) and fits(text[:size]):
        size *= 2
    text = text[: 2 * size]  # a passage may be a book; recognizing an end takes the text after it
    headings = [found.span() for found in _HEADING.finditer(text)]
    ends = [
        found.end()
        for found in end.finditer(text)
        if found.end() and not _within(headings, found.end())
    ]
    count = bisect_left(ends, True, key=lambda place: not fits(text[:place]))
    return text[: ends[count - 1]] if count else ""


def _within(spans: Sequence[tuple[int, int]], place: int) -> bool:
    """Return whether an index is inside one of the sorted spans, or at its end."""
    before = bisect_left(spans, place, key=lambda span: span[0])
    return before > 0 and place <= spans[before - 1][1]
