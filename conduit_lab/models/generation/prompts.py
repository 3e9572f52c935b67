"""Prompts: what a person asks, as the token ids that a generator goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.models.generation.chat import ChatTemplate
from conduit_lab.models.generation.control import ControlTokens
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.models.generation.sampling import Sampling
from conduit_lab.models.generation.tainted import TaintedStr, concatenated
from conduit_lab.models.text.tokenizer import Tokenizer

LONGEST = (
    256  # characters of a token; a text longer than so many times the context is not even tokenised
)

Truncate = Literal["start", "end"]
Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]


class Prompts:
    """The prompts of one model, `name` in its errors: texts, token ids, chats, and questions with
    passages.

    `context` is the most tokens of prompt and answer together, `vocabulary` the number of tokens
    with a logit and `embedded` that of tokens with an embedding, which alone can be in a prompt.
    """

    def __init__(
        self,
        name: str,
        folder: DecoderFolder,
        tokenizer: Tokenizer,
        context: int,
        vocabulary: int,
        embedded: int,
    ) -> None:
        self._name = name
        self._folder = folder
        self._chat = ChatTemplate.read(folder.path)
        self._control = ControlTokens(tokenizer.backend)
        self._most = context - 1  # at least one token is for the answer
        self._vocabulary = vocabulary
        self._embedded = embedded
        self._backend = tokenizer.backend

    def ids(
        self,
        prompt: Any = None,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        sampling: Sampling | None = None,
    ) -> list[int]:
        """Return the token ids of a prompt, or of `query` with the passages in `context`.

        Raises `ModelInputError` for what is no prompt, is empty where the model has no token to
        begin with, or is longer than the context; `truncate` says which end of that is cut away.
        """
        how = sampling or Sampling()
        if truncate not in (None, "start", "end"):
            raise ModelInputError(
                f"truncate is {truncate!r}: wanted 'start' or 'end', or None to refuse"
            )
        if how.logit_bias and max(how.logit_bias) >= self._vocabulary:
            raise ModelInputError(
                f"logit_bias names the token {max(how.logit_bias)}: {self._name!r} has {self._vocabulary}"
            )
        if query is None and _is_ids(prompt):
            ids = [int(token) for token in prompt]
            if ids and not 0 <= min(ids) <= max(ids) < self._embedded:
                raise ModelInputError(
                    f"{self._name!r} has the tokens 0 to {self._embedded - 1}, got others"
                )
        else:
            ids = self._encoded(*self._text(prompt, query, context), truncate)
            if max(ids, default=0) >= self._embedded:
                raise ModelInputError(
                    f"{self._name!r} has no embedding for the token {max(ids)} of its tokenizer, "
                    f"{self._backend.id_to_token(max(ids))!r}: leave it out of the prompt"
                )
        begin = self._folder.begin
        if not ids:
            if begin is None:
                raise ModelInputError(
                    f"{self._name!r} got an empty prompt, and has no token to begin a text with"
                )
            return [begin]
        if len(ids) <= self._most:
            return ids
        if truncate is None:
            raise ModelInputError(
                f"{self._name!r} reads {self._most} tokens and the prompt has {len(ids)}: shorten it, or pass "
                "truncate='start' or 'end'"
            )
        room = (
            self._most + 1 - min(how.max_tokens, (self._most + 1) // 2)
        )  # what is cut leaves room for an answer
        if truncate == "end":
            return ids[:room]
        kept = ids[-room:]
        return [begin, *kept[1:]] if begin is not None and ids[0] == begin else kept

    def count_tokens(
        self, prompt: Any = None, query: str | None = None, context: Sequence[str] | None = None
    ) -> int:
        """Return how many tokens a prompt has; of one that is far too long, those of its beginning."""
        if query is None and _is_ids(prompt):
            return max(1, len(prompt))
        return max(1, len(self._encoded(*self._text(prompt, query, context), "end")))

    def _text(
        self, prompt: Any, query: str | None, context: Sequence[str] | None
    ) -> tuple[str, bool]:
        """Return the text of a prompt, and whether the tokenizer adds its special tokens to it."""
        if (prompt is None) == (query is None):
            got = "both" if prompt is not None else "neither"
            raise ModelInputError(
                f"{self._name!r} wants a prompt, or query= with context=; got {got}"
            )
        if query is None:
            if isinstance(prompt, str):
                return prompt, True
            if isinstance(prompt, Sequence) and all(
                isinstance(message, Mapping) for message in prompt
            ):
                return self._chat.render(
                    prompt
                ), False  # the template writes the special tokens itself
            raise ModelInputError(
                f"{self._name!r} wants a text, token ids or the messages of a chat as its prompt, got {_kind(prompt)}"
            )
        passages = [context] if isinstance(context, str) else list(context or ())
        if not isinstance(query, str) or not all(isinstance(passage, str) for passage in passages):
            raise ModelInputError(f"{self._name!r} wants texts as query= and in context=")
        texts = {"{query}": TaintedStr(query), "{context}": TaintedStr("\n\n".join(passages))}
        return filled(self._folder.rag_prompt, texts), True

    def _encoded(self, text: str, special: bool, truncate: Truncate | None) -> list[int]:
        limit = self._most * LONGEST
        if len(text) > limit:
            if truncate is None:
                raise ModelInputError(
                    f"{self._name!r} reads {self._most} tokens, got a prompt of {len(text)} characters: shorten it, "
                    "or pass truncate='start' or 'end'"
                )
            text = text[-limit:] if truncate == "start" else text[:limit]
        return self._control.encode(text, special=special)


def _is_ids(prompt: Any) -> bool:
    """Tell whether a prompt is token ids."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str | bytes):
        return False
    return all(
        isinstance(token, int | np.integer) and not isinstance(token, bool) for token in prompt
    )


def _kind(value: Any) -> str:
    """Return what `value` is, for an error: its type, or for a list its items' types."""
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value}))}"
    return type(value).__name__


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with each value put where its name stands first; braces in a value mean nothing."""
    parts, start = [], 0
    for place, name in sorted((template.index(name), name) for name in values):
        parts += [template[start:place], values[name]]
        start = place + len(name)
    return concatenated([*parts, template[start:]])
