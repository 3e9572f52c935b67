"""PromptEncoder: encode strings, chats, and questions with passages as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from conduit_lab.core.errors import ModelInputError
from conduit_lab.models.generation.chat import ChatTemplate
from conduit_lab.models.generation.control_tokens import ControlTokens
from conduit_lab.models.generation.decoder_folder import DecoderFolder
from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.models.generation.tainted import TaintedStr, concatenated
from conduit_lab.models.text.tokenizer import Tokenizer

_MAX_TOKEN_CHARACTERS = 256  # per token of context; longer prompts are not tokenized

Truncate = Literal["start", "end"]
GenerationPrompt = str | Sequence[int] | Sequence[Mapping[str, Any]]


class PromptEncoder:
    """Encodes the prompts of one model; `name` is the model's in errors.

    `context` is the maximum number of tokens of prompt and generation together, `vocabulary` the
    number of tokens with a logit, `embedded` the number of tokens with an embedding, the only ones
    allowed in a prompt.
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
        self.chat = ChatTemplate.read(folder.path)
        self._control = ControlTokens(tokenizer.backend)
        self._max_tokens = context - 1  # room for one generated token
        self._vocabulary = vocabulary
        self._embedded = embedded
        self._backend = tokenizer.backend

    def encode(
        self,
        prompt: Any = None,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        sampling: SamplingOptions | None = None,
    ) -> list[int]:
        """Return the token ids of a prompt; see `read` for arguments and errors."""
        return self.read(prompt, query, context, truncate, sampling)[0]

    def read(
        self,
        prompt: Any = None,
        query: str | None = None,
        context: Sequence[str] | None = None,
        truncate: Truncate | None = None,
        sampling: SamplingOptions | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[list[int], str]:
        """Return the token ids and the text of a prompt, or of `query` with its passages.

        `tools` are those of a chat, for its template.

        Raises `ModelInputError` for an invalid prompt, for an empty one if the model has no
        beginning-of-sequence token, and for one longer than the context unless `truncate` names the
        end to truncate.
        """
        sampling = sampling or SamplingOptions()
        if truncate not in (None, "start", "end"):
            raise ModelInputError(f"truncate expects 'start', 'end' or None, got {truncate!r}")
        if sampling.logit_bias and max(sampling.logit_bias) >= self._vocabulary:
            raise ModelInputError(
                f"logit_bias of {self._name!r} expects tokens from 0 to {self._vocabulary - 1}, "
                f"got {max(sampling.logit_bias)}"
            )
        ids, text = self._ids(prompt, query, context, truncate, tools)
        return self._fitted(ids, truncate, sampling), text

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text that continues another text."""
        return self._control.encode(text, special=False)

    def _fitted(
        self, ids: list[int], truncate: Truncate | None, sampling: SamplingOptions
    ) -> list[int]:
        """Return at least one token id, and at most as many as fit into the context."""
        begin = self._folder.begin
        if not ids:
            if begin is None:
                raise ModelInputError(
                    f"{self._name!r} has no beginning-of-sequence token and expects at least one "
                    "token, got an empty prompt"
                )
            return [begin]
        if len(ids) <= self._max_tokens:
            return ids
        if truncate is None:
            raise ModelInputError(
                f"{self._name!r} expects a prompt of at most {self._max_tokens} tokens, "
                f"got {len(ids)}: shorten it, or pass truncate='start' or 'end'"
            )
        # leave room for the generation, at most half of the context
        room = self._max_tokens + 1 - min(sampling.max_tokens, (self._max_tokens + 1) // 2)
        if truncate == "end":
            return ids[:room]
        kept = ids[-room:]
        return [begin, *kept[1:]] if begin is not None and ids[0] == begin else kept

    def count_tokens(
        self,
        prompt: Any = None,
        query: str | None = None,
        context: Sequence[str] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Return the number of tokens of a prompt; a far too long one is counted in part."""
        if query is None and _is_ids(prompt):
            return max(1, len(prompt))
        return max(1, len(self._tokenize(*self._text(prompt, query, context, tools), "end")))

    def _ids(
        self,
        prompt: Any,
        query: str | None,
        context: Sequence[str] | None,
        truncate: Truncate | None,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> tuple[list[int], str]:
        """Return the token ids of a prompt, all with an embedding, and its text, not truncated."""
        if query is None and _is_ids(prompt):
            ids = [int(token) for token in prompt]
            if ids and not 0 <= min(ids) <= max(ids) < self._embedded:
                wrong = min(ids) if min(ids) < 0 else max(ids)
                raise ModelInputError(
                    f"{self._name!r} expects tokens from 0 to {self._embedded - 1}, got {wrong}"
                )
            return ids, self._backend.decode(ids, skip_special_tokens=False)
        text, special = self._text(prompt, query, context, tools)
        ids = self._tokenize(text, special, truncate)
        if max(ids, default=0) >= self._embedded:
            raise ModelInputError(
                f"{self._name!r} has no embedding for the token {max(ids)} of its tokenizer, "
                f"{self._backend.id_to_token(max(ids))!r}: remove it from the prompt"
            )
        return ids, text.encode("utf-8", "replace").decode()  # a plain string of valid characters

    def _text(
        self,
        prompt: Any,
        query: str | None,
        context: Sequence[str] | None,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> tuple[str, bool]:
        """Return the text of a prompt, and whether the tokenizer must add special tokens."""
        if (prompt is None) == (query is None):
            got = "both" if prompt is not None else "neither"
            raise ModelInputError(
                f"{self._name!r} expects a prompt, or query= with context=; got {got}"
            )
        if query is None:
            if isinstance(prompt, str):
                return prompt, True
            if isinstance(prompt, Sequence) and all(isinstance(each, Mapping) for each in prompt):
                # the template writes the special tokens
                return self.chat.render(prompt, tools=tools), False
            raise ModelInputError(
                f"{self._name!r} expects a prompt that is a string, token ids or the messages of "
                f"a chat, got {_type_of(prompt)}"
            )
        passages = [context] if isinstance(context, str) else list(context or ())
        if not isinstance(query, str) or not all(isinstance(passage, str) for passage in passages):
            raise ModelInputError(f"{self._name!r} expects strings as query= and in context=")
        texts = {"{query}": TaintedStr(query), "{context}": TaintedStr("\n\n".join(passages))}
        return _fill_template(self._folder.rag_prompt, texts), True

    def _tokenize(self, text: str, special: bool, truncate: Truncate | None) -> list[int]:
        limit = self._max_tokens * _MAX_TOKEN_CHARACTERS
        if len(text) > limit:
            if truncate is None:
                raise ModelInputError(
                    f"{self._name!r} expects a prompt of at most {self._max_tokens} tokens, "
                    f"got {len(text)} characters: shorten it, or pass truncate='start' or 'end'"
                )
            text = text[-limit:] if truncate == "start" else text[:limit]
        return self._control.encode(text, special=special)


def _is_ids(prompt: Any) -> bool:
    """Return whether a prompt is token ids."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str | bytes):
        return False
    return all(
        isinstance(token, int | np.integer) and not isinstance(token, bool) for token in prompt
    )


def _type_of(value: Any) -> str:
    """Return the type of `value` for an error; for a list, its items' types."""
    if isinstance(value, list | tuple):
        return f"a list of {', '.join(sorted({type(item).__name__ for item in value}))}"
    return type(value).__name__


def _fill_template(template: str, values: Mapping[str, str]) -> str:
    """Return a template with the first occurrence of each name replaced by its value, unparsed."""
    parts, start = [], 0
    for place, name in sorted((template.index(name), name) for name in values):
        parts += [template[start:place], values[name]]
        start = place + len(name)
    return concatenated([*parts, template[start:]])
