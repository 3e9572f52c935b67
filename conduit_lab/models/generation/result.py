"""Generation: what a text generator gives, token by token and as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from conduit_lab.core.streams.pushed import PushedStream
from conduit_lab.core.views import figures, html

Finish = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Usage:
    """What a text cost: tokens of the prompt, how many of them were known already, tokens made, and
    seconds.

    `first_token` is the time from the request to the first token, `seconds` to the last.
    """

    prompt: int
    cached: int
    generated: int
    first_token: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """The speed after the first token; 0 where there is no second."""
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
    """One token: as a string, the text that it adds, which may be none until a character is whole.

    `index` counts from 0, `id` is the vocabulary's, `logprob` the model's own, `tops` the likeliest
    (id, logprob) where they were asked for, `time` the seconds since the request. The last one has
    a `finish_reason` (stop, length, cancelled or error) and the `usage`.
    """

    __slots__ = ("finish_reason", "id", "index", "logprob", "time", "tops", "usage")

    def __new__(
        cls,
        text: str = "",
        index: int = 0,
        id: int = 0,
        logprob: float = 0.0,
        tops: Sequence[tuple[int, float]] = (),
        time: float = 0.0,
        finish_reason: Finish | None = None,
        usage: Usage | None = None,
    ) -> Token:
        """Return the token."""
        token = super().__new__(cls, text)
        token.index, token.id, token.logprob, token.tops, token.time = (
            index,
            id,
            logprob,
            tops,
            time,
        )
        token.finish_reason, token.usage = finish_reason, usage
        return token

    index: int  # type: ignore[assignment]
    id: int
    logprob: float
    tops: Sequence[tuple[int, float]]
    time: float
    finish_reason: Finish | None
    usage: Usage | None

    @property
    def text(self) -> str:
        """The text that this token adds."""
        return str(self)


class Generation(str):
    """A generated text: a string, with its `tokens`, `finish_reason` and `usage`.

    `seed` draws the same text again. `choices` are all texts where `n` were asked for, this one the
    first of them.
    """

    __slots__ = ("choices", "finish_reason", "seed", "tokens", "usage")

    tokens: list[Token]
    finish_reason: Finish
    usage: Usage
    seed: int
    choices: list[Generation]

    def __new__(
        cls,
        text: str = "",
        tokens: Sequence[Token] = (),
        finish_reason: Finish = "stop",
        usage: Usage = Usage(0, 0, 0, 0.0, 0.0),
        seed: int = 0,
    ) -> Generation:
        """Return the text."""
        made = super().__new__(cls, text)
        made.tokens, made.finish_reason, made.usage, made.seed = (
            list(tokens),
            finish_reason,
            usage,
            seed,
        )
        made.choices = []
        return made

    @property
    def text(self) -> str:
        """The text, as a plain string."""
        return str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header("Generation", self.finish_reason, [str(self.usage)]) + html.text(
            str(self)
        )
        return html.bundle(str(self), shown)


class TokenStream(PushedStream[Token, Generation]):
    """A stream that the generator's own thread writes to: no thread or task of its own stands
    between.

    Its result is the `Generation`.
    """

    def __init__(self, name: str, begin: Callable[[TokenStream], Callable[[], object]]) -> None:
        super().__init__(name=name)
        self.start()
        self.on_cancel(begin(self))

    def end(self, result: Generation | None, error: BaseException | None = None) -> None:
        """End the stream; for the generator."""
        if error is None:
            self.finish(result)
        else:
            self.fail(error)
