"""Quotation: split a text into sentences, and find the one most similar to another text.

Words are compared by stem: "refunds" and "refunded" share the stem of "refund". Stop words have no
stem.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# A sentence ends at its mark with closing quotes and brackets, unless the next word starts with a
# lower-case letter ("e.g. this"); in scripts without spaces, it ends at the mark. A line ends at
# its break.
SENTENCE_END = re.compile(
    r"""[.!?…]+["'”’»)\]*_]*(?=\s+[^\sa-zà-ÿ]|\s*$)|[。！？]+[」』”）]*|(?=\n)|\Z"""
)
MAX_TEXT_CHARACTERS = 100_000  # of a passage, when comparing sentences

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_ENDINGS = ("ing", "ed", "es", "en", "s", "e", "y")
_MIN_STEM = 3
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about after all also am an and any are as at be because been before both but by can could did
    do does done each either few for from further had has have having he her here hers him his how i
    if in into is it its just me more most my no nor not now of off on once only or other our ours
    out over own same she should so some such than that the their them then there these they this
    those through to too under until up us very was we were what when where which while who whom why
    will with would you your yours
    """,
    )
)
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]")
_MARKS = (
    (re.compile(r"^[ \t]*#{1,6}[ \t]+(.*?)[ \t#]*$", re.MULTILINE), r"\1"),
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)"), r"\1"),
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
    (re.compile(r"^[ \t]*(?:>|[-*+][ \t]|```.*)[ \t]*", re.MULTILINE), ""),
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence, without surrounding space; skip headings."""
    spans, at = [], 0
    for found in SENTENCE_END.finditer(text[:MAX_TEXT_CHARACTERS]):
        start, end = at, found.end()
        at = end
        sentence = text[start:end]
        start += len(sentence) - len(sentence.lstrip())
        if start < end and not _HEADING.match(text[start:end]):
            spans.append((start, start + len(text[start:end].rstrip())))
    return spans


def stem(word: str) -> str:
    """Return the stem of a word, or "" for a stop word."""
    folded = unicodedata.normalize("NFKD", word).casefold().replace("’", "'").partition("'")[0]
    if folded in _STOP_WORDS or (len(folded) < 2 and not folded.isdigit()):
        return ""
    for ending in _ENDINGS:
        if folded.endswith(ending) and len(folded) - len(ending) >= _MIN_STEM:
            return folded.removesuffix(ending)
    return folded


def word_stems(text: str) -> set[str]:
    """Return the stems of the words in a text."""
    return {own for own, _, _ in _stems(text)}


def matching_words(text: str, stems: set[str]) -> list[tuple[int, int]]:
    """Return the start and end of each word whose stem is one of `stems`."""
    return [(start, end) for own, start, end in _stems(text) if own in stems]


def nearest_sentence(text: str, stems: set[str]) -> tuple[tuple[int, int], int] | None:
    """Return the sentence that shares the most `stems`, and how many; None if no sentence does.

    The first one wins a tie.
    """
    best, most = None, 0
    for start, end in sentence_spans(text):
        shared = len(stems & word_stems(text[start:end]))
        if shared > most:
            best, most = (start, end), shared
    return None if best is None else (best, most)


def without_marks(text: str) -> str:
    """Return Markdown as plain text: no markup for headings, emphasis, code, links or lists."""
    for mark, kept in _MARKS:
        text = mark.sub(kept, text)
    return text


def _stems(text: str) -> Iterator[tuple[str, int, int]]:
    for found in _WORD.finditer(text[:MAX_TEXT_CHARACTERS]):
        if own := stem(found.group()):
            yield own, found.start(), found.end()
