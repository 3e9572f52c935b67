"""Citation: a sentence of an answer, and the source sentence that it was taken from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conduit_lab.core.quotation import (
    MAX_TEXT_CHARACTERS,
    nearest_sentence,
    sentence_spans,
    word_stems,
)

MIN_SHARED = 0.5  # of the stems of an answer's sentence
_END_MARK = re.compile(r"""[.!?…。！？]["'”’»)\]*_」』）]*\Z""")


@dataclass(frozen=True)
class Citation:
    """The sentence `response[at[0]:at[1]]` of an answer, and the place it was taken from.

    That place is `sources[source]["text"][start:end]`, a sentence of the source.
    """

    at: tuple[int, int]
    source: int
    start: int
    end: int


class CitationFinder:
    """Finds the citations of an answer in `texts` while the answer is written.

    A sentence is looked up once, after the next one has begun. The last one is looked up when it
    ends with punctuation, and again if it continues ("3." becomes "3.5").
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._complete: list[Citation] = []
        self._at = 0  # start of the last sentence

    def update(self, response: str, *, ended: bool = False) -> list[Citation]:
        """Return the citations of `response`, which extends the one of the previous update.

        Once it has `ended`, its last sentence is complete even without punctuation.
        """
        response = response[:MAX_TEXT_CHARACTERS]
        begin = self._at
        spans = [(begin + start, begin + end) for start, end in sentence_spans(response[begin:])]
        if not spans:
            return list(self._complete)
        *complete, last = spans
        self._complete += self._cited(response, complete)
        self._at = last[0]
        if not ended and not _END_MARK.search(response[slice(*last)]):
            return list(self._complete)
        return [*self._complete, *self._cited(response, [last])]

    def _cited(self, response: str, spans: Iterable[tuple[int, int]]) -> list[Citation]:
        """Return the citations of the sentences that are found in a text."""
        found = []
        for at in spans:
            stems = word_stems(response[slice(*at)])
            nearest = [
                (place, nearest_sentence(text, stems)) for place, text in enumerate(self._texts)
            ]
            ranked = [
                (count, -place, span) for place, near in nearest if near for span, count in [near]
            ]
            if not ranked:
                continue
            count, place, (start, end) = max(ranked)
            if count >= MIN_SHARED * len(stems):
                found.append(Citation(at, -place, start, end))
        return found


def citations(response: str, texts: Sequence[str]) -> list[Citation]:
    """Return the place in `texts` of each sentence of `response` that occurs in one of them."""
    return CitationFinder(texts).update(response, ended=True)
