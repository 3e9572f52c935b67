"""Sampler: choose the next token of each sequence from the logits of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.multinomial import Multinomial, RowOptions, TokenIds
from conduit_lab.models.generation.sampling_options import SamplingOptions

_NO_TOKENS = np.empty(0, np.int64)


class TokenConstraint(Protocol):
    """Restricts the next token of a sequence."""

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Return bool `[vocabulary]`, true for each allowed token; at least one is true."""

    def accept(self, token: int) -> None:
        """Advance by the chosen token."""


@dataclass(frozen=True)
class SampledTokens:
    """The tokens of one decode step, in the order of the given slots.

    `ids` int64 `[n]`. `logprobs` float32 `[n]`, the log softmax of the model's own logits, before
    penalties, bias and temperature; NaN if the model's logits were NaN, in which case the id is
    meaningless. `tops` lists the most likely (id, logprob) pairs per row, best first, as many as
    its `SamplingOptions.logprobs`.
    """

    ids: TokenIds
    logprobs: FloatArray
    tops: list[list[tuple[int, float]]]


class Sampler:
    """Chooses the next tokens of a batch of sequences in a fixed number of slots.

    Operations are applied in the order of vLLM and Hugging Face's `generate`: logit bias,
    repetition penalty, frequency and presence penalties, constraint, temperature, `top_k`,
    `top_p`, `min_p`. If the two differ (vLLM applies `min_p` before `top_k`), Hugging Face's order
    is used, since `generation_config.json` files are written for it.

    - repetition: x / r if x > 0, else x · r, for every token of prompt and generation (Keskar et
      al. 2019, CTRL)
    - frequency and presence: x - count · f - [count > 0] · p, counted only in the generation
      (OpenAI)
    - `top_p`: the most likely tokens with a total probability of p, after `top_k` (Holtzman et al.
      2020)
    - `min_p`: tokens at least this fraction as likely as the best (Nguyen et al. 2024)

    Tokens exactly as likely as the last one kept are also kept. A sequence's tokens depend bit for
    bit only on its logits, seed and step, never on the slot or the rest of the batch.
    """

    def __init__(self, slots: int, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._multinomial = Multinomial(vocabulary)
        self._states: list[SequenceState | None] = [None] * slots  # None for a plain argmax

    def join(
        self,
        slot: int,
        sampling: SamplingOptions,
        prompt: Sequence[int],
        constraint: TokenConstraint | None = None,
        *,
        choice: int = 0,
    ) -> int:
        """Start a sequence in a free slot and return its seed, random if `sampling` has none.

        `choice` is the index among the `n` sequences of one request: each has its own random
        numbers. Raises `InputError` for a bias on a token outside the vocabulary.
        """
        highest = max(sampling.logit_bias, default=0)
        if highest >= self.vocabulary:
            raise InputError(
                f"logit_bias expects tokens from 0 to {self.vocabulary - 1}, got {highest}"
            )
        sampling = sampling.seeded()
        state = SequenceState(sampling, prompt, constraint, choice, self.vocabulary)
        plain = not (state.changes_logits or state.random or sampling.logprobs)
        self._states[slot] = None if plain else state
        return state.seed

    def replay(self, slot: int, tokens: Sequence[int]) -> None:
        """Advance the sequence of a slot by previously chosen tokens, one step each."""
        state = self._states[slot]
        if state is not None:
            state.replay(tokens)

    def leave(self, slot: int) -> None:
        """Free a slot; idempotent."""
        self._states[slot] = None

    def sample(self, logits: FloatArray, slots: Sequence[int]) -> SampledTokens:
        """Return a token per slot; overwrites `logits`, float32 `[slots, vocabulary]`."""
        # the logprob reports the model's infinities and NaN
        with np.errstate(invalid="ignore", over="ignore"):
            ids = logits.argmax(axis=1)  # the first of equal maxima
            best = logits[np.arange(len(ids)), ids]
            states = {
                row: state
                for row, slot in enumerate(slots)
                if (state := self._states[slot]) is not None
            }
            if not states:
                return SampledTokens(ids, -_log_sum_exp(logits, best), [[] for _ in slots])
            tops = {
                row: _top(logits[row], state.logprobs)
                for row, state in states.items()
                if state.logprobs
            }
            own = {
                row: state for row, state in states.items() if state.changes_logits or state.random
            }
            _sample_rows(logits, ids, own, self._multinomial)
            chosen = logits[np.arange(len(ids)), ids]
            mass = _log_sum_exp(logits, best)
            reported = [
                [
                    (token, float(value - best[row] - mass[row]))
                    for token, value in tops.get(row, ())
                ]
                for row in range(len(ids))
            ]
            return SampledTokens(ids, chosen - best - mass, reported)


class SequenceState:
    """The sampling state of a sequence: its random numbers and its token counts."""

    def __init__(
        self,
        sampling: SamplingOptions,
        prompt: Sequence[int],
        constraint: TokenConstraint | None,
        choice: int,
        vocabulary: int,
    ) -> None:
        assert sampling.seed is not None
        self.seed = sampling.seed
        self.sampling = sampling
        self.random = not sampling.greedy
        self.logprobs = sampling.logprobs
        self._constraint = constraint
        self._penalized = sampling.penalized
        self._follows = constraint is not None or self._penalized
        # the steps that change the logits, in order, by the name of their option
        self.changes: dict[str, Callable[[SequenceState, FloatArray], None]] = {}
        if sampling.logit_bias:
            self.changes["logit_bias"] = SequenceState._bias
        if self._penalized:
            self.changes["penalty"] = SequenceState._penalize
        if constraint is not None:
            self.changes["constraint"] = SequenceState._constrain
        self.changes_logits = bool(self.changes)
        if self.random:
            sequence = np.random.SeedSequence(self.seed % 2**64, spawn_key=(choice,))
            self._bits = np.random.PCG64(sequence)
            self._generator = np.random.Generator(self._bits)
        if self._penalized:
            repeats = sampling.repetition_penalty != 1
            known = np.unique(np.asarray(prompt, np.int64)) if repeats else _NO_TOKENS
            # an embedding may have more tokens than the logits
            known = known[(known >= 0) & (known < vocabulary)]
            self._place = {token: place for place, token in enumerate(known.tolist())}
            room = np.zeros(min(sampling.max_tokens, vocabulary), np.int64)
            self._tokens = np.concatenate([known, room])
            self._counts = np.zeros(len(self._tokens), np.float32)
        self._biased = np.array(list(sampling.logit_bias), np.int64)
        self._biases = np.array(list(sampling.logit_bias.values()), np.float32)

    def uniform(self) -> float:
        """Return the random number of this step, in (0, 1]."""
        return 1 - self._generator.random()

    def change(self, logits: FloatArray) -> None:
        """Apply bias, penalties and constraint to one row, in place."""
        for step in self.changes.values():
            step(self, logits)

    def _bias(self, logits: FloatArray) -> None:
        logits[self._biased] += self._biases

    def _penalize(self, logits: FloatArray) -> None:
        size, how = len(self._place), self.sampling
        tokens, counts = self._tokens[:size], self._counts[:size]
        values = logits[tokens]
        values = np.where(
            values > 0, values / how.repetition_penalty, values * how.repetition_penalty
        )
        values -= counts * how.frequency_penalty + (counts > 0) * how.presence_penalty
        logits[tokens] = values

    def _constrain(self, logits: FloatArray) -> None:
        assert self._constraint is not None
        np.copyto(logits, -np.inf, where=~self._constraint.allowed())

    def replay(self, tokens: Sequence[int]) -> None:
        """Advance by previously chosen tokens, each with the random number of its step."""
        if self.random:
            self._bits.advance(len(tokens))
        for token in tokens if self._follows else ():
            self.accept(token)

    def accept(self, token: int) -> None:
        """Advance by the chosen token."""
        if self._penalized:
            place = self._place.setdefault(token, len(self._place))
            self._tokens[place] = token
            self._counts[place] += 1
        if self._constraint is not None:
            self._constraint.accept(token)


def _sample_rows(
    logits: FloatArray, ids: TokenIds, states: Mapping[int, SequenceState], multinomial: Multinomial
) -> None:
    """Write the tokens of some rows into `ids`; `logits` stay unchanged."""
    rows = np.fromiter(states, np.int64, len(states))
    own = logits[rows]
    for values, state in zip(own, states.values(), strict=True):
        if state.changes_logits:
            state.change(values)
    tokens = own.argmax(axis=1)
    places = np.array(
        [place for place, each in enumerate(states.values()) if each.random], np.int64
    )
    if places.size:
        random = [state for state in states.values() if state.random]
        drawn = own if len(random) == len(own) else own[places]
        options = row_options(
            [state.sampling for state in random], [state.uniform() for state in random]
        )
        tokens[places] = multinomial.sample(drawn, options)
    ids[rows] = tokens
    for token, state in zip(tokens.tolist(), states.values(), strict=True):
        state.accept(token)


def row_options(options: Sequence[SamplingOptions], uniform: Sequence[float]) -> RowOptions:
    """Return the filters of some rows, each with its random number."""
    return RowOptions(
        np.array([each.temperature for each in options], np.float32),
        np.array([each.top_k for each in options]),
        np.array([each.top_p for each in options]),
        np.array([each.min_p for each in options]),
        np.array(uniform),
    )


def _log_sum_exp(logits: FloatArray, best: FloatArray) -> FloatArray:
    """Return float32 `[n]`, the log of the sum of exp(logit - best); overwrites the logits."""
    np.subtract(logits, best[:, None], out=logits)
    np.exp(logits, out=logits)
    mass: FloatArray = np.log(logits.sum(axis=1))
    return mass


def _top(logits: FloatArray, count: int) -> list[tuple[int, float]]:
    """Return the `count` largest (token, logit) pairs, best first, ties by token id."""
    count = min(count, len(logits))
    floor = np.partition(logits, len(logits) - count)[len(logits) - count]
    found = np.flatnonzero(logits >= floor)
    order = np.argsort(-logits[found], kind="stable")[:count]
    return list(zip(found[order].tolist(), logits[found[order]].tolist(), strict=True))
