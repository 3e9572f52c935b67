"""Spans: combine labelled tokens to words and entities of a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from conduit_lab.models.text.entity import Entity

LabelledToken = tuple[int, int, int, float]  # start, end, label, score

_OUTSIDE = "O"
_TAG = re.compile(r"([BIESLUM])[-_](.+)", re.DOTALL)
# scripts without blanks between words, or with attached endings: each token is a word
_TOKEN_SCRIPTS = re.compile(
    "[\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def words(text: str, tokens: Iterable[LabelledToken]) -> Iterator[LabelledToken]:
    """Yield the words, without blanks, with the label and score of their first token."""
    word: LabelledToken | None = None
    for start, end, label, score in tokens:
        token = text[start:end]
        start, end = end - len(token.lstrip()), start + len(token.rstrip())
        if start >= end:
            continue
        if word is not None and start <= word[1] and (start < word[1] or _inside_word(text, start)):
            word = (word[0], max(end, word[1]), *word[2:])
            continue
        if word is not None:
            yield word
        word = (start, end, label, score)
    if word is not None:
        yield word


def _inside_word(text: str, place: int) -> bool:
    """Return whether the characters before and at `place` belong to one word."""
    around = text[place - 1 : place + 1]
    return all(map(_is_word, around)) and not _TOKEN_SCRIPTS.search(around)


def _is_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def label_tags(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return (tag, label) for each label: ("B", "PER") for "B-PER", ("", "PER") for "PER".

    A letter is a tag only if the same label has a B or I too: "E-MAIL" alone has none.
    """
    matches = [_TAG.fullmatch(label) for label in labels]
    tagged = {match[2] for match in matches if match and match[1] in "BI"}
    return [
        (match[1], match[2]) if match and match[2] in tagged else ("", label)
        for match, label in zip(matches, labels, strict=True)
    ]


def entities(
    text: str, found: Iterable[LabelledToken], tags: Sequence[tuple[str, str]]
) -> list[Entity]:
    """Return runs of words with one label; a tag that does not fit its predecessor starts a run."""
    runs: list[list[LabelledToken]] = []
    previous = ("", _OUTSIDE)
    for word in found:
        tag, label = tags[word[2]]
        if label != _OUTSIDE:
            if _continues(previous, (tag, label)):
                runs[-1].append(word)
            else:
                runs.append([word])
        previous = (tag, label)
    return [_entity(text, run, tags[run[0][2]][1]) for run in runs]


def _continues(previous: tuple[str, str], following: tuple[str, str]) -> bool:
    (before, label), (tag, other) = previous, following
    return (
        label == other
        and tag not in ("B", "S", "U")
        and before not in ("E", "L", "S", "U")
        and (tag == "") == (before == "")
    )


def _entity(text: str, run: Sequence[LabelledToken], label: str) -> Entity:
    start, end = run[0][0], run[-1][1]
    score = float(np.mean([word[3] for word in run]))
    return Entity(label, score, start, end, text[start:end])
