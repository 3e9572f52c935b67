"""Quotation: the sentences of a text, and the one that shares most words with another text.

Words are compared by their beginning: "refunds" and "refunded" have the stem of "refund". Words in
nearly every English text have none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# A sentence ends at its mark with closing quotes and brackets, before a space and no small letter
# ("e.g. this" goes on), or at the mark of a script without spaces; a line ends at its break.
SENTENCE_END = re.compile(
    r"""[.!?…]+["'”’»)\]*_]*(?=\s+[^\sa-zà-ÿ]|\s*$)|[。！？]+[」』”）]*|(?=\n)|\Z"""
)
MAX_TEXT_CHARACTERS = 100_000  # of a passage whose sentences are compared

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
    """Return the start and end of each sentence, without the space around it; no heading is one."""
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
    """Return the stem of a word, or nothing for one without a meaning of its own."""
    folded = unicodedata.normalize("NFKD", word).casefold().replace("’", "'").partition("'")[0]
    if folded in _STOP_WORDS or (len(folded) < 2 and not folded.isdigit()):
        return ""
    for ending in _ENDINGS:
        if folded.endswith(ending) and len(folded) - len(ending) >= _MIN_STEM:
            return folded.removesuffix(ending)
    return folded


def word_stems(text: str) -> set[str]:
    """Return the stems of the words of a text."""
    return {own for own, _, _ in _stems(text)}


def matching_words(text: str, stems: set[str]) -> list[tuple[int, int]]:
    """Return the start and end of each word whose stem is one of `stems`."""
    return [(start, end) for own, start, end in _stems(text) if own in stems]


def nearest_sentence(text: str, stems: set[str]) -> tuple[tuple[int, int], int] | None:
    """Return the sentence that shares most of `stems`, and how many; None where none shares any.

    Of several with as many it is the first.
    """
    best, most = None, 0
    for start, end in sentence_spans(text):
        shared = len(stems & word_stems(text[start:end]))
        if shared > most:
            best, most = (start, end), shared
    return None if best is None else (best, most)


def without_marks(text: str) -> str:
    """Return Markdown as text: without marks of headings, emphasis, code, links and lists."""
    for mark, kept in _MARKS:
        text = mark.sub(kept, text)
    return text


def _stems(text: str) -> Iterator[tuple[str, int, int]]:
    for found in _WORD.finditer(text[:MAX_TEXT_CHARACTERS]):
        if own := stem(found.group()):
            yield own, found.start(), found.end()
