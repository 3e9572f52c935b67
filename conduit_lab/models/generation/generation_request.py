"""GenerationRequest: one sequence to generate, from its prompt to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.models.generation.constraint import Constraint
from conduit_lab.models.generation.detokenizer import IncrementalDetokenizer
from conduit_lab.models.generation.result import FinishReason, Generation, Token, Usage
from conduit_lab.models.generation.sampling_options import SamplingOptions


class GenerationRequest:
    """One sequence: its prompt as token ids, its sampling options and its tokens so far.

    `on_token` is called with each token and `on_end` once with the request, both on the
    scheduler's thread, which they must not block. After that `result` is the generation and
    `error` the reason of a failed one.
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
        on_token: Callable[[Token], object] | None = None,
        on_end: Callable[[GenerationRequest], object] | None = None,
    ) -> None:
        self.prompt = prompt
        self.pending = prompt  # tokens to prefill before the next one is sampled
        self.sampling = sampling
        self.constraint = constraint
        self.choice = choice
        self.result: Generation | None = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.prefilled = 0  # of the pending tokens
        self.cached = 0  # prompt tokens from the prefix cache
        self.slot = -1  # the sampler's
        self.seed = 0
        self.wake: Callable[[], object] | None = None  # the scheduler, once it is submitted
        self._detokenizer = detokenizer
        self._limit = limit
        self._on_token = on_token
        self._on_end = on_end
        self._tokens: list[Token] = []
        self._started = perf_counter()
        self._first = 0.0

    def cancel(self) -> None:
        """End the request before the next decode step; its tokens so far are kept."""
        self.cancelled = True
        if self.wake is not None:
            self.wake()

    def add(self, token: int, logprob: float, tops: Any, ends: frozenset[int], now: float) -> bool:
        """Add a token and return whether it was the last."""
        position, detokenizer = len(self._tokens), self._detokenizer
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
            elif position + 1 >= self._limit:
                delta += detokenizer.flush()
                finish = "length"
        time = now - self._started
        if position == 0:
            self._first = time
        usage = None if finish is None else self._usage(position + 1, time)
        made = Token(delta, position, token, logprob, tops, time, finish, usage)
        self._tokens.append(made)
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
        self.pending = [*self.prompt, *(token.id for token in self._tokens)]
        self.prefilled = 0

    def end(self, finish: FinishReason, error: BaseException | None = None) -> None:
        """Set the result from the tokens so far and call `on_end`; later calls do nothing."""
        if self.result is not None:
            return
        tokens = self._tokens
        usage = tokens[-1].usage if tokens else None
        usage = usage or self._usage(len(tokens), perf_counter() - self._started)
        self.error = error
        self.result = Generation("".join(tokens), tokens, finish, usage, self.seed)
        if self._on_end is not None:
            self._on_end(self)

    def _usage(self, generated: int, seconds: float) -> Usage:
        return Usage(len(self.prompt), self.cached, generated, self._first, seconds)
