"""GenerationRequest: one sequence to generate, from its prompt to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.constraint import Constraint
from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer
from conduit_lab.models.generation.result import FinishReason, Generation, Token, Usage
from conduit_lab.models.generation.sampling_options import SamplingOptions


class GenerationRequest:
    """One sequence: its prompt as token ids, its sampling options and its tokens so far.

    `on_token` is called with each token and `on_end` once with the request, both on the
    scheduler's thread, which they must not block. After that `result` is the generation and
    `error` the reason of a failed one. `text` is the prompt's, for readers; with `keeps` the KV
    cache of the whole sequence is kept for branches.

    A branch has a `parent`: it begins with the tokens `kept` of it, whose text the detokenizer has
    taken already, and with the tokens `chosen` in place of the parent's next one.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        sampling: SamplingOptions,
        detokenizer: IncrementalDetokenizer,
        *,
        limit: int,
        constraint: Constraint | None = None,
        choice: int = 0,
        text: str = "",
        keeps: bool = False,
        parent: GenerationRequest | None = None,
        kept: Sequence[Token] = (),
        chosen: Sequence[int] = (),
        on_token: Callable[[Token], object] | None = None,
        on_end: Callable[[GenerationRequest], object] | None = None,
    ) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.constraint = constraint
        self.choice = choice
        self.text = text
        self.keeps = keeps
        # in its first state, for branches
        self.grammar = constraint.copy() if keeps and constraint is not None else None
        self.parent = parent
        self.limit = limit  # of all tokens, kept ones included
        self.tokens: list[Token] = list(kept)  # only appended to, by the scheduler's thread
        # tokens to prefill before the next one is sampled
        self.pending: Sequence[int] = [*self.ids, *chosen] if parent is not None else prompt
        self.result: Generation | None = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.prefilled = 0  # of the pending tokens
        self.cached = 0  # pending tokens from the prefix cache
        self.slot = -1  # the sampler's
        self.seed = 0
        self.wake: Callable[[], object] | None = None  # the scheduler, once it is submitted
        self._detokenizer = detokenizer
        self.given = len(kept) + len(chosen)  # tokens that were not generated
        self.chosen = tuple(chosen)
        self._unscored = list(chosen)  # until they are added
        self._logprobs: list[float] = []  # of the chosen tokens
        self._on_token = on_token
        self._on_end = on_end
        self._started = perf_counter()
        self._first = 0.0

    @property
    def seeded(self) -> SamplingOptions:
        """The sampling options with the seed that the sequence has, once it has started."""
        own = self.sampling
        return own if own.seed is not None else replace(own, seed=self.seed)

    @property
    def ids(self) -> list[int]:
        """The token ids of the prompt and of the tokens so far."""
        return [*self.prompt, *(token.id for token in self.tokens)]

    @property
    def stop_sequence(self) -> str | None:
        """The stop sequence that ended it, or None."""
        return self._detokenizer.stop_sequence

    def cancel(self) -> None:
        """End the request before the next decode step; its tokens so far are kept."""
        self.cancelled = True
        if self.wake is not None:
            self.wake()

    # Chosen tokens

    @property
    def first_scored(self) -> int:
        """The index of the pending token whose logits score the first chosen one, or sample."""
        return len(self.pending) - 1 - len(self._unscored)

    def scored(self, tokens: int) -> int:
        """Return how many chosen tokens the next prefill chunk, of this many tokens, scores."""
        return len(self._unscored) if self.prefilled + tokens == len(self.pending) else 0

    def score(self, logits: FloatArray) -> None:
        """Set the logprobs of the chosen tokens, from logits `[chosen, vocabulary]`."""
        best = logits.max(axis=1)
        mass = np.log(np.exp(logits - best[:, None]).sum(axis=1))
        own = logits[np.arange(len(logits)), self._unscored]
        self._logprobs = (own - best - mass).tolist()

    def take_chosen(self) -> Iterator[tuple[int, float]]:
        """Yield the chosen tokens with their logprobs, once."""
        chosen, self._unscored = self._unscored, []
        yield from zip(chosen, self._logprobs, strict=bool(chosen))

    # Tokens

    def add(self, token: int, logprob: float, tops: Any, ends: frozenset[int], now: float) -> bool:
        """Add a token and return whether it was the last."""
        position, detokenizer = len(self.tokens), self._detokenizer
        finish: FinishReason | None = None
        if token in ends:
            delta = detokenizer.flush()
            finish = "stop"
        else:
            delta = detokenizer.push(token)
            constraint = self.constraint
            if detokenizer.stopped or (constraint is not None and constraint.complete):
                delta += detokenizer.flush()
                finish = "stop"
            elif position + 1 >= self.limit:
                delta += detokenizer.flush()
                finish = "length"
        time = now - self._started
        if position == self.given:
            self._first = time
        usage = None if finish is None else self._usage(position + 1, time)
        made = Token(delta, position, token, logprob, tops, time, finish, usage)
        self.tokens.append(made)
        if self._on_token is not None:
            self._on_token(made)
        if finish is None:
            return False
        problem = self.constraint.error if self.constraint is not None else ""
        if problem:
            self.end("error", InputError(f"the constraint cannot be continued: {problem}"))
        else:
            self.end(finish)
        return True

    def restart_prefill(self) -> None:
        """Make the whole sequence so far, prompt and tokens, pending again."""
        self.pending = self.ids
        self.prefilled = 0

    def end(self, finish: FinishReason, error: BaseException | None = None) -> None:
        """Set the result from the tokens so far and call `on_end`; later calls do nothing."""
        if self.result is not None:
            return
        tokens = self.tokens
        usage = tokens[-1].usage if tokens else None
        usage = usage or self._usage(len(tokens), perf_counter() - self._started)
        self.error = error
        text = "".join(tokens)
        self.result = Generation(text, tokens, finish, usage, self.seed, self.text, self.limit)
        if self._on_end is not None:
            self._on_end(self)

    def _usage(self, tokens: int, seconds: float) -> Usage:
        prompt, generated = len(self.prompt) + self.given, max(0, tokens - self.given)
        return Usage(prompt, self.cached, generated, self._first, seconds)


class LogitsRequest(GenerationRequest):
    """A request for the logits after the first tokens of another one; it generates nothing."""

    def __init__(
        self,
        parent: GenerationRequest,
        tokens: int,
        on_end: Callable[[GenerationRequest], object],
    ) -> None:
        super().__init__(
            parent.prompt,
            parent.sampling,
            parent._detokenizer,
            limit=0,
            parent=parent,
            kept=parent.tokens[:tokens],
            on_end=on_end,
        )
        self.logits: FloatArray | None = None  # float32 [vocabulary]

    def answer(self, logits: FloatArray) -> None:
        """Set the logits and end."""
        self.logits = logits
        self.end("stop")
