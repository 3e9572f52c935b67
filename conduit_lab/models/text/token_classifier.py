"""TokenClassifier: a token-classification folder that finds labelled spans in a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.text.classifier import Classifier, OpenedClassifier
from conduit_lab.models.text.entity import Entities, Entity
from conduit_lab.models.text.text_model import Encode
from conduit_lab.models.text.token_graph import Finish, Rows
from conduit_lab.runtime.sessions.npz import ACTIVATIONS

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLUM])[-_](.+)", re.DOTALL)
# scripts that write words without blanks between them, or with their endings: a token is a word
# there
_TOKEN_SCRIPTS = re.compile(
    "[\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class _Windows(Rows):
    """The windows of some texts as rows; `encodings` are the backend's, by text."""

    texts: Sequence[str] = field(default=())
    encodings: Sequence[Sequence[Any]] = field(default=())


class TokenClassifier(Classifier):
    """A token-classification folder: a graph with a row of logits per token.

    A text longer than `max_length` tokens is read in windows that share a quarter of them, so no
    part is cut: each token has the label of the window in which it has more text on both sides. A
    word has the label of its first token, as such models are trained. Neighbouring words of one
    label are one entity, unless their tags (`B-`, `I-`, `E-`, `S-`, also `L-`, `U-`, `M-`) begin or
    end one between them; `O` is none.
    """

    what = "token classifier"
    by_token = True

    def predict(self, texts: Any) -> Any:
        """Return the `Entities` of one text, or a list of them for a list, tuple, 1-D array or
        Series of texts.

        `text[entity.start:entity.end] == entity.text` for each, in characters of the text as it was
        given. `score` is the mean probability of the label over its words. Raises `ModelInputError`
        for anything else than text, `ModelRunError` where the model gives NaN.
        """
        return self._traced(texts, lambda: self.run(texts))

    def _scores(self, config: Mapping[str, Any]) -> Finish:
        return ACTIVATIONS["softmax"]

    def _finish(self, config: Mapping[str, Any]) -> Finish:
        return _best

    def _encoder(self, opened: OpenedClassifier) -> Encode:
        def encode(texts: Sequence[str]) -> Rows:
            encodings = [[first, *first.overflowing] for first in opened.tokenizer.encode(texts)]
            ids = [window.ids for windows in encodings for window in windows]
            return _Windows(ids, texts=texts, encodings=encodings)

        return encode

    def _whole(self, opened: OpenedClassifier, parts: Sequence[tuple[Any, Any]], value: Any) -> Any:
        found: list[Entities] = []
        tags = _tags(opened.labels)
        for rows, answers in parts:
            left = iter(answers)
            for text, windows in zip(rows.texts, rows.encodings, strict=True):
                tokens = _tokens(windows, [next(left) for _ in windows], opened.tokenizer.stride)
                if any(np.isnan(score) for *_, score in tokens):
                    raise ModelRunError(
                        f"{self.name!r} gave NaN for a token: its weights or its input are out of range"
                    )
                found.append(Entities(_entities(text, _words(text, tokens), tags)))
        return found[0] if self._is_one(value) else found


_Token = tuple[int, int, int, float]  # start, end, label, score


def _best(logits: FloatArray) -> FloatArray:
    """Return float32 `[…, 2]`: the label of the highest logit, and its probability."""
    label = logits.argmax(axis=-1)
    highest = np.take_along_axis(logits, label[..., None], -1)
    score = 1 / np.exp(logits - highest).sum(axis=-1)
    return np.stack([label.astype(np.float32), score], axis=-1)


def _tokens(windows: Sequence[Any], answers: Sequence[FloatArray], stride: int) -> list[_Token]:
    """Return the text's own tokens; of those that two windows share, each window has the half next to its middle."""
    tokens: list[_Token] = []
    for place, (window, answer) in enumerate(zip(windows, answers, strict=True)):
        own = [i for i, special in enumerate(window.special_tokens_mask) if not special]
        begin = stride // 2 if place > 0 else 0
        end = len(own) - (stride - stride // 2 if place + 1 < len(windows) else 0)
        labels, scores = answer[:, 0].astype(np.int64).tolist(), answer[:, 1].tolist()
        offsets, names = window.offsets, window.tokens
        # a lone blank, as "▁" before a word that has no piece with it, has the span of the word's
        # first character
        kept = [i for i in own[begin:end] if names[i].strip("▁Ġ ")]
        tokens += [(*offsets[i], labels[i], scores[i]) for i in kept]
    return tokens


def _words(text: str, tokens: Sequence[_Token]) -> Iterator[_Token]:
    """Yield the words with the label and score of their first token; a token's blanks are not part of it."""
    word: _Token | None = None
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
    """Whether the characters before and at `place` belong to one word."""
    around = text[place - 1 : place + 1]
    return all(map(_is_word, around)) and not _TOKEN_SCRIPTS.search(around)


def _is_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def _tags(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return (tag, label) of each label: "B-PER" is ("B", "PER"), and one without a tag ("",
    "PER").

    A letter is a tag only where the label behind it has a B or I: "E-MAIL" alone is none.
    """
    found = [_TAG.fullmatch(label) for label in labels]
    tagged = {match[2] for match in found if match and match[1] in "BI"}
    return [
        (match[1], match[2]) if match and match[2] in tagged else ("", label)
        for match, label in zip(found, labels, strict=True)
    ]


def _entities(text: str, words: Iterator[_Token], tags: Sequence[tuple[str, str]]) -> list[Entity]:
    """Return runs of words with one label; a tag that does not fit the one before begins a run of its own."""
    runs: list[list[_Token]] = []
    last = ("", OUTSIDE)
    for word in words:
        tag, label = tags[word[2]]
        if label != OUTSIDE:
            goes_on = (
                label == last[1]
                and tag not in ("B", "S", "U")
                and last[0] not in ("E", "L", "S", "U")
            )
            if goes_on and (tag == "") == (last[0] == ""):
                runs[-1].append(word)
            else:
                runs.append([word])
        last = (tag, label)
    return [
        Entity(
            tags[run[0][2]][1],
            float(np.mean([word[3] for word in run])),
            run[0][0],
            run[-1][1],
            text[run[0][0] : run[-1][1]],
        )
        for run in runs
    ]
