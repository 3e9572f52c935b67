"""Request: one text that is asked of a generator, from its prompt to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from conduit_lab.core.errors import InputError
from conduit_lab.models.generation.constraint import Constraint
from conduit_lab.models.generation.result import Finish, Generation, Token, Usage
from conduit_lab.models.generation.sampling import Sampling
from conduit_lab.models.generation.text import Text

if TYPE_CHECKING:
    from conduit_lab.models.generation.scheduler import Scheduler


class Request:
    """One generation request: its prompt as token ids, its sampling settings and its tokens so far.

    `written` is called with each token, `ended` once with this request; both on the generator's
    thread, which they must not hold up. Then `result` is the text, or `error` says why there is
    none.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        text: Text,
        *,
        limit: int,
        constraint: Constraint | None = None,
        choice: int = 0,
        written: Callable[[Token], object] | None = None,
        ended: Callable[[Request], object] | None = None,
    ) -> None:
        self.prompt = prompt
        self.reading = prompt  # tokens that have to be in the cache before the next one is chosen
        self.sampling = sampling
        self.constraint = constraint
        self.choice = choice
        self.result: Generation | None = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.filled = self.cached = 0  # tokens of `reading` in the cache; from others
        self.slot = -1
        self.seed = 0
        self.owner: Scheduler | None = None
        self._text = text
        self._limit = limit
        self._written = written
        self._ended = ended
        self._tokens: list[Token] = []
        self._started = perf_counter()
        self._first = 0.0

    def cancel(self) -> None:
        """End the request before the next decode step; its tokens so far are kept."""
        self.cancelled = True
        if self.owner is not None:
            self.owner.wake()

    def take(self, token: int, logprob: float, tops: Any, ends: frozenset[int], now: float) -> bool:
        """Add a token and return whether it was the last."""
        index, text = len(self._tokens), self._text
        finish: Finish | None = None
        if token in ends:
            delta = text.flush()
            finish = "stop"
        else:
            delta = text.push(token)
            kept = self.constraint
            if text.stopped or (kept is not None and kept.complete):
                delta += text.flush()
                finish = "stop"
            elif index + 1 >= self._limit:
                delta += text.flush()
                finish = "length"
        time = now - self._started
        if index == 0:
            self._first = time
        usage = None if finish is None else self._usage(index + 1, time)
        made = Token(delta, index, token, logprob, tops, time, finish, usage)
        self._tokens.append(made)
        if self._written is not None:
            self._written(made)
        if finish is None:
            return False
        problem = self.constraint.error if self.constraint is not None else ""
        if problem:
            self.end(
                "error", InputError(f"the text cannot keep to its constraint any longer: {problem}")
            )
        else:
            self.end(finish)
        return True

    def read_again(self) -> None:
        """Read the whole text so far, prompt and tokens, as if nothing of it was in the cache."""
        self.reading = [*self.prompt, *(token.id for token in self._tokens)]
        self.filled = 0

    def end(self, finish: Finish, error: BaseException | None = None) -> None:
        """Make the result from the tokens so far, and notify the owner."""
        if self.result is not None:
            return
        tokens = self._tokens
        usage = tokens[-1].usage if tokens else None
        usage = usage or self._usage(len(tokens), perf_counter() - self._started)
        self.error = error
        self.result = Generation("".join(tokens), tokens, finish, usage, self.seed)
        if self._ended is not None:
            self._ended(self)

    def _usage(self, generated: int, seconds: float) -> Usage:
        return Usage(len(self.prompt), self.cached, generated, self._first, seconds)
