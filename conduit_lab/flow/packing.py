"""Packing: as many passages as a generator's prompt has room for."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

# A sentence ends at its mark with what closes after it, before a blank and no small letter ("e.g.
# this" goes on), or at the mark of a script without blanks; a line ends at its break.
_SENTENCE = re.compile(
    r"""[.!?…]+["'”’»)\]*_]*(?=\s+[^\sa-zà-ÿ]|\s*$)|[。！？]+[」』”）]*|(?=\n)|\Z"""
)
_WORD = re.compile(r"(?<=\S)(?=\s)")
_CHARACTER = re.compile(r"\S")
_HEADING = re.compile(r"^#{1,6}\s.*\s*", re.MULTILINE)


@runtime_checkable
class Counting(Protocol):
    """A generator that knows how much it can read."""

    @property
    def context(self) -> int:
        """The most tokens of prompt and answer together."""

    def count_tokens(
        self, prompt: Any = None, *, query: str | None = None, context: Sequence[str] | None = None
    ) -> int:
        """Return how many tokens a prompt has, which is what `generate` would take."""


class Packed(NamedTuple):
    """The beginning of one of the texts, as long as there was room: the whole text, or some sentences."""

    place: int
    text: str


def pack(texts: Sequence[str], fits: Callable[[list[str]], bool]) -> list[Packed]:
    """Return what goes into a prompt of `texts`, the best first; `fits` tells whether there is room
    for some.

    A text that fits goes in whole. One that does not is cut at the last sentence end that fits; the
    best one at a word, or anywhere, where not even its first sentence does.
    """
    packed: list[Packed] = []
    for place, text in enumerate(texts):
        before = [part.text for part in packed]

        def with_others(part: str, before: list[str] = before) -> bool:
            return fits([*before, part])

        if not with_others(text):
            ends = (_SENTENCE,) if packed else (_SENTENCE, _WORD, _CHARACTER)
            text = next(filter(None, (_beginning(text, end, with_others) for end in ends)), "")
        if text.strip():
            packed.append(Packed(place, text))
    return packed


def _beginning(text: str, end: re.Pattern[str], fits: Callable[[str], bool]) -> str:
    """Return the longest beginning that fits and stops at an `end`, or nothing; a heading is no end."""
    size = 1024
    while size < len(text) and fits(text[:size]):
        size *= 2
    text = text[
        : 2 * size
    ]  # a passage may be a whole book; what comes after an end tells whether it is one
    headings = [found.span() for found in _HEADING.finditer(text)]
    ends = [
        found.end()
        for found in end.finditer(text)
        if found.end() and not _within(headings, found.end())
    ]
    count = bisect_left(ends, True, key=lambda place: not fits(text[:place]))
    return text[: ends[count - 1]] if count else ""


def _within(spans: Sequence[tuple[int, int]], place: int) -> bool:
    """Tell whether a place is inside of one of the spans, which are in order, or at its end."""
    before = bisect_left(spans, place, key=lambda span: span[0])
    return before > 0 and place <= spans[before - 1][1]
