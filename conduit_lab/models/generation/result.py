"""Token and Generation: the result of a generator, token by token and as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from conduit_lab.core.views import figures
from conduit_lab.core.views.view import View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.models.generation.generation_view import generation_view

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Usage:
    """Token counts and timings of one generation.

    `cached` of the `prompt` tokens came from the prefix cache. `first_token` is the time in seconds
    from the request to the first token, `seconds` the time to the last one.
    """

    prompt: int
    cached: int
    generated: int
    first_token: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second after the first token; 0 for a single token."""
        took = self.seconds - self.first_token
        return (self.generated - 1) / took if took > 0 else 0.0

    def __str__(self) -> str:
        parts = [
            f"{self.prompt} + {self.generated} tokens",
            f"first after {figures.seconds(self.first_token)}",
        ]
        if self.cached:
            parts.insert(1, f"{self.cached} cached")
        if self.generated > 1:
            parts.append(figures.rate(self.tokens_per_second, "tokens"))
        return ", ".join(parts)


class Token(str):
    """One generated token; the string is its text delta, empty until a character is complete.

    `position` counts from 0 within the generation, `id` is the token's id in the vocabulary,
    `logprob` its log probability by the model's own logits, before bias, penalties and temperature,
    `tops` the most likely (id, logprob) pairs if `logprobs` were requested, `time` the seconds
    since the request, `choice` the index of its generation within the call. The last token has a
    `finish_reason` (stop, length, cancelled or error) and the `usage`.
    """

    __slots__ = ("choice", "finish_reason", "id", "logprob", "position", "time", "tops", "usage")

    position: int
    id: int
    logprob: float
    tops: Sequence[tuple[int, float]]
    time: float
    finish_reason: FinishReason | None
    usage: Usage | None
    choice: int

    def __new__(
        cls,
        text: str = "",
        position: int = 0,
        id: int = 0,
        logprob: float = 0.0,
        tops: Sequence[tuple[int, float]] = (),
        time: float = 0.0,
        finish_reason: FinishReason | None = None,
        usage: Usage | None = None,
        choice: int = 0,
    ) -> Token:
        """Return the token."""
        token = super().__new__(cls, text)
        token.position, token.id, token.logprob = position, id, logprob
        token.tops, token.time = tops, time
        token.finish_reason, token.usage, token.choice = finish_reason, usage, choice
        return token

    @property
    def text(self) -> str:
        """The text delta as a plain string."""
        return str(self)

    @property
    def probability(self) -> float:
        """The model's probability of the token, `exp(logprob)`."""
        return math.exp(self.logprob)


class Generation(str, Viewed):
    """A generated text: a string with its `tokens`, `finish_reason` and `usage`.

    The same `seed` samples the same text again. `choices` are all `n` generations of the request;
    this one is the first. `prompt` is the text of the prompt, or the messages of a chat, one per
    line, and `max_tokens` the maximum number of tokens.
    """

    __slots__ = ("choices", "finish_reason", "max_tokens", "prompt", "seed", "tokens", "usage")

    tokens: list[Token]
    finish_reason: FinishReason
    usage: Usage
    seed: int
    prompt: str
    max_tokens: int
    choices: list[Generation]

    def __new__(
        cls,
        text: str = "",
        tokens: Sequence[Token] = (),
        finish_reason: FinishReason = "stop",
        usage: Usage = Usage(0, 0, 0, 0.0, 0.0),
        seed: int = 0,
        prompt: str = "",
        max_tokens: int = 0,
    ) -> Generation:
        """Return the generation."""
        made = super().__new__(cls, text)
        made.tokens, made.finish_reason = list(tokens), finish_reason
        made.usage, made.seed = usage, seed
        made.prompt, made.max_tokens = prompt, max_tokens
        made.choices = []
        return made

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str(self)

    def _view(self) -> View:
        spans = [(token.text, token.probability) for token in self.tokens] or [(str(self), 1.0)]
        return generation_view(self.prompt, spans, self.max_tokens, self.usage, self.finish_reason)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self._view().bundle(str(self))  # the text itself, without the quotes of its repr
