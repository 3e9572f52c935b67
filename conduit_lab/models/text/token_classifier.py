"""TokenClassifier: a token classification folder that finds labelled spans in a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import FloatArray, ValueSpec
from conduit_lab.models.text.classifier import Classifier, OpenedClassifier
from conduit_lab.models.text.entity import Entities
from conduit_lab.models.text.logits_graph import Postprocess
from conduit_lab.models.text.spans import LabelledToken, entities, label_tags, words
from conduit_lab.models.text.text_model import Encode, TextColumn, Texts
from conduit_lab.models.text.token_graph import TokenRows
from conduit_lab.runtime.sessions.npz import ACTIVATIONS


@dataclass(frozen=True)
class _WindowRows(TokenRows):
    """One row per window of some texts; `encodings` are the tokenizer's, by text."""

    texts: Sequence[str] = field(default=())
    encodings: Sequence[Sequence[Any]] = field(default=())


class TokenClassifier(Classifier):
    """A token classification folder: a graph with a row of logits per token.

    A text longer than `max_length` tokens is read in windows that overlap by a quarter, so nothing
    is truncated: each token takes its label from the window that gives it more context on both
    sides. A word takes the label of its first token, as such models are trained. Adjacent words
    with one label form one entity, unless a tag (`B-`, `I-`, `E-`, `S-`, also `L-`, `U-`, `M-`)
    starts or ends one between them; `O` means no entity.
    """

    what = "a token classifier"
    by_token = True

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a sequence of str too
        self, texts: str
    ) -> Entities: ...
    @overload
    def predict(self, texts: Sequence[str] | TextColumn) -> list[Entities]: ...
    def predict(self, texts: Texts) -> Entities | list[Entities]:
        """Find the entities of one text, or of each text of a list, tuple, 1-D array or Series.

        `text[entity.start:entity.end] == entity.text` holds for each, in characters of the given
        text. `score` is the mean probability of the label over its words. Raises `ModelInputError`
        for anything other than text, `ModelRunError` if the model returns NaN.
        """
        answer: Entities | list[Entities] = self._traced(texts, lambda: self.run(texts))
        return answer

    def _gives(self, opened: OpenedClassifier) -> ValueSpec:
        return "Entities"

    def _scores(self, config: Mapping[str, Any]) -> Postprocess:
        return ACTIVATIONS["softmax"]

    def _postprocess(self, config: Mapping[str, Any]) -> Postprocess:
        return _best

    def _encoder(self, opened: OpenedClassifier) -> Encode:
        def encode(texts: Sequence[str]) -> TokenRows:
            encodings = [[first, *first.overflowing] for first in opened.tokenizer.encode(texts)]
            ids = [window.ids for windows in encodings for window in windows]
            return _WindowRows(ids, texts=texts, encodings=encodings)

        return encode

    def _whole(
        self, opened: OpenedClassifier, parts: Sequence[tuple[Any, Any]], value: Any
    ) -> Entities | list[Entities]:
        found: list[Entities] = []
        tags = label_tags(opened.labels)
        for rows, answers in parts:
            remaining = iter(answers)
            for text, windows in zip(rows.texts, rows.encodings, strict=True):
                own = [next(remaining) for _ in windows]
                tokens = _tokens(windows, own, opened.tokenizer.stride)
                if any(np.isnan(score) for *_, score in tokens):
                    raise ModelRunError(
                        f"{self.name!r} returned NaN for a token: "
                        "its weights or its input are out of range"
                    )
                found.append(Entities(entities(text, words(text, tokens), tags)))
        return found[0] if self._is_one(value) else found


def _best(logits: FloatArray) -> FloatArray:
    """Return float32 `[…, 2]`: the label of the highest logit, and its probability."""
    label = logits.argmax(axis=-1)
    highest = np.take_along_axis(logits, label[..., None], -1)
    score = 1 / np.exp(logits - highest).sum(axis=-1)
    return np.stack([label.astype(np.float32), score], axis=-1)


def _tokens(
    windows: Sequence[Any], answers: Sequence[FloatArray], stride: int
) -> list[LabelledToken]:
    """Return the text's own tokens; two windows contribute half of their overlap each."""
    tokens: list[LabelledToken] = []
    for place, (window, answer) in enumerate(zip(windows, answers, strict=True)):
        own = [i for i, special in enumerate(window.special_tokens_mask) if not special]
        begin = stride // 2 if place > 0 else 0
        end = len(own) - (stride - stride // 2 if place + 1 < len(windows) else 0)
        labels, scores = answer[:, 0].astype(np.int64).tolist(), answer[:, 1].tolist()
        offsets, names = window.offsets, window.tokens
        # a token without text, such as a lone "▁", has the span of the next word's first character
        kept = [i for i in own[begin:end] if names[i].strip("▁Ġ ")]
        tokens += [(*offsets[i], labels[i], scores[i]) for i in kept]
    return tokens
