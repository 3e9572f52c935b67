"""Sampling: from the logits of many running texts to the next token of each, every text with its own parameters."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.drawing import Drawing, Draws, Ids

# Upper bounds of what a request may ask for; a request is often a stranger's.
MAX_TOKENS = 1_000_000
MAX_CHOICES = 128
MAX_TOP_K = 1_000_000
MAX_LOGPROBS = 20  # OpenAI's
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 1_000
MAX_BIASES = 1_024

_RANGES = {  # lowest and highest, both allowed
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
}
_COUNTS = {
    "max_tokens": (1, MAX_TOKENS),
    "top_k": (0, MAX_TOP_K),
    "n": (1, MAX_CHOICES),
    "logprobs": (0, MAX_LOGPROBS),
}
_NONE = np.empty(0, np.int64)
_COLDEST = 1e-4  # of temperatures that are not 0; below it float32 knows no second best


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one text are chosen; a field out of range raises `InputError`.

    `temperature` 0 takes the most likely token, and then `top_k`, `top_p`, `min_p` and `seed` mean
    nothing. `top_k` 0, `top_p` 1 and `min_p` 0 leave all tokens in. `logit_bias` is added to the
    logits of the token ids it names. `seed` is any whole number of 64 bits. `stop` is a text or
    some; the result ends before the first. `n` is how many texts are wanted, `logprobs` how many of
    the likeliest tokens are told at each step.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: str | Sequence[str] = ()
    n: int = 1
    logprobs: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in _COUNTS.items():
            _whole(name, getattr(self, name), least, most)
        if self.seed is not None:
            _whole("seed", self.seed, -(2**63), 2**64 - 1)
        for name, (low, high) in _RANGES.items():
            _number(name, getattr(self, name), low, high)
        _number("temperature", self.temperature, 0.0, 100.0)
        if 0 < self.temperature < _COLDEST:
            raise InputError(
                f"temperature is {self.temperature}: wanted 0 (greedy) or {_COLDEST} to 100"
            )
        if self.top_p == 0:
            raise InputError(
                "top_p is 0, which leaves no token: wanted more than 0, up to 1; temperature=0 is greedy"
            )
        object.__setattr__(self, "stop", _stops(self.stop))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken, without chance."""
        return self.temperature == 0

    @property
    def penalised(self) -> bool:
        """Whether what a text holds already changes what comes next."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)

    def seeded(self) -> Sampling:
        """Return this with a seed: its own, or a fresh one below 2**53, which JSON carries whole."""
        return self if self.seed is not None else replace(self, seed=secrets.randbits(53))


class Allowing(Protocol):
    """What a text must keep to: which token may come next."""

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Return bool `[vocabulary]`, true for a token that may come next; at least one is."""

    def take(self, token: int) -> None:
        """Go on by the token that was chosen."""


@dataclass(frozen=True)
class Picked:
    """The tokens of one step, in the order of the slots that were asked for.

    `ids` int64 `[n]`. `logprobs` float32 `[n]`, the log softmax of the model's own logits, before
    any penalty, bias or temperature; NaN says that the model gave NaN, and then the id means
    nothing. `tops` has for each row the likeliest (id, logprob), best first, as many as its
    `Sampling.logprobs`.
    """

    ids: Ids
    logprobs: FloatArray
    tops: list[list[tuple[int, float]]]


class Sampler:
    """Chooses the next token of the texts in a bounded number of slots, all of a step together.

    The order is that of vLLM and of Hugging Face's `generate`: logit bias, repetition penalty,
    frequency and presence penalties, what a constraint allows, temperature, `top_k`, `top_p`,
    `min_p`. Where the two differ (vLLM has `min_p` before `top_k`) it is Hugging Face's, since a
    model's `generation_config.json` is written for it.

    - repetition: x / r where x > 0, else x · r, for every token of the prompt and the text (Keskar
    et al. 2019, CTRL)
    - frequency and presence: x - count · f - [count > 0] · p, counted in the text without the
    prompt (OpenAI)
    - `top_p`: the likeliest tokens that together reach p, after `top_k` (Holtzman et al. 2020)
    - `min_p`: tokens at least that fraction as likely as the best (Nguyen et al. 2024)

    Tokens exactly as likely as the last one that stays, stay too. What a text draws depends on its
    logits, its seed and its own step, bit for bit, and never on the slot or on the other texts.
    """

    def __init__(self, slots: int, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._drawing = Drawing(vocabulary)
        self._texts: list[_Text | None] = [
            None
        ] * slots  # None where an argmax is all that is needed

    def join(
        self,
        slot: int,
        sampling: Sampling,
        prompt: Sequence[int],
        constraint: Allowing | None = None,
        *,
        choice: int = 0,
    ) -> int:
        """Begin a text in a free slot and return its seed, a fresh one where `sampling` has none.

        `choice` is which of the `n` texts of a request it is: each has random numbers of its own.
        Raises `InputError` for a bias on a token that the vocabulary does not have.
        """
        over = max(sampling.logit_bias, default=0)
        if over >= self.vocabulary:
            raise InputError(
                f"logit_bias names token {over}: this model has tokens 0 to {self.vocabulary - 1}"
            )
        sampling = sampling.seeded()
        text = _Text(sampling, prompt, constraint, choice, self.vocabulary)
        self._texts[slot] = text if text.changing or text.drawing or sampling.logprobs else None
        return text.seed

    def leave(self, slot: int) -> None:
        """End the text of a slot; one that is free already stays so."""
        self._texts[slot] = None

    def pick(self, logits: FloatArray, slots: Sequence[int]) -> Picked:
        """Return the next token of each slot; `logits`, float32 `[len(slots), vocabulary]`, are overwritten."""
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # the model's infinities and NaN: their logprob tells
            ids = logits.argmax(axis=1)  # of equal ones the first
            best = logits[np.arange(len(ids)), ids]
            texts = {
                row: text
                for row, slot in enumerate(slots)
                if (text := self._texts[slot]) is not None
            }
            if not texts:
                return Picked(ids, -_log_mass(logits, best), [[] for _ in slots])
            tops = {
                row: _likeliest(logits[row], text.logprobs)
                for row, text in texts.items()
                if text.logprobs
            }
            own = {row: text for row, text in texts.items() if text.changing or text.drawing}
            _pick(logits, ids, own, self._drawing)
            chosen = logits[np.arange(len(ids)), ids]
            mass = _log_mass(logits, best)
            told = [
                [
                    (token, float(value - best[row] - mass[row]))
                    for token, value in tops.get(row, ())
                ]
                for row in range(len(ids))
            ]
            return Picked(ids, chosen - best - mass, told)


class _Text:
    """One text that is more than greedy: its random numbers, and the tokens that it holds so far."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        constraint: Allowing | None,
        choice: int,
        vocabulary: int,
    ) -> None:
        assert sampling.seed is not None
        self.seed = sampling.seed
        self.sampling = sampling
        self.drawing = not sampling.greedy
        self.logprobs = sampling.logprobs
        self._constraint = constraint
        self._penalised = sampling.penalised
        self.changing = constraint is not None or self._penalised or bool(sampling.logit_bias)
        if self.drawing:
            sequence = np.random.SeedSequence(self.seed % 2**64, spawn_key=(choice,))
            self._random = np.random.Generator(np.random.PCG64(sequence))
        if self._penalised:
            known = (
                np.unique(np.asarray(prompt, np.int64))
                if sampling.repetition_penalty != 1
                else _NONE
            )
            known = known[
                (known >= 0) & (known < vocabulary)
            ]  # a model may know tokens that it cannot give
            self._place = {token: place for place, token in enumerate(known.tolist())}
            self._tokens = np.concatenate(
                [known, np.zeros(min(sampling.max_tokens, vocabulary), np.int64)]
            )
            self._counts = np.zeros(len(self._tokens), np.float32)
        self._biased = np.array(list(sampling.logit_bias), np.int64)
        self._biases = np.array(list(sampling.logit_bias.values()), np.float32)

    def uniform(self) -> float:
        """Return the random number of this step, in (0, 1]."""
        return 1 - self._random.random()

    def change(self, logits: FloatArray) -> None:
        """Apply bias, penalties and constraint to one row, in place."""
        if self._biased.size:
            logits[self._biased] += self._biases
        if self._penalised:
            size, how = len(self._place), self.sampling
            tokens, counts = self._tokens[:size], self._counts[:size]
            values = logits[tokens]
            values = np.where(
                values > 0, values / how.repetition_penalty, values * how.repetition_penalty
            )
            values -= counts * how.frequency_penalty + (counts > 0) * how.presence_penalty
            logits[tokens] = values
        if self._constraint is not None:
            np.copyto(logits, -np.inf, where=~self._constraint.allowed())

    def take(self, token: int) -> None:
        """Go on by the token that was chosen."""
        if self._penalised:
            place = self._place.setdefault(token, len(self._place))
            self._tokens[place] = token
            self._counts[place] += 1
        if self._constraint is not None:
            self._constraint.take(token)


def _pick(logits: FloatArray, ids: Ids, texts: Mapping[int, _Text], drawing: Drawing) -> None:
    """Write into `ids` what the texts of some rows choose; `logits` stay as they are."""
    rows = np.fromiter(texts, np.int64, len(texts))
    own = logits[rows]
    for values, text in zip(own, texts.values(), strict=True):
        if text.changing:
            text.change(values)
    tokens = own.argmax(axis=1)
    drawn = np.array([place for place, text in enumerate(texts.values()) if text.drawing], np.int64)
    if drawn.size:
        who = [text for text in texts.values() if text.drawing]
        tokens[drawn] = drawing.draw(own if len(who) == len(own) else own[drawn], _draws(who))
    ids[rows] = tokens
    for token, text in zip(tokens.tolist(), texts.values(), strict=True):
        text.take(token)


def _draws(texts: Sequence[_Text]) -> Draws:
    how = [text.sampling for text in texts]
    return Draws(
        np.array([each.temperature for each in how], np.float32),
        np.array([each.top_k for each in how]),
        np.array([each.top_p for each in how]),
        np.array([each.min_p for each in how]),
        np.array([text.uniform() for text in texts]),
    )


def _log_mass(logits: FloatArray, best: FloatArray) -> FloatArray:
    """Return float32 `[n]`, the log of the sum of exp(logit - best); overwrites the logits."""
    np.subtract(logits, best[:, None], out=logits)
    np.exp(logits, out=logits)
    mass: FloatArray = np.log(logits.sum(axis=1))
    return mass


def _likeliest(logits: FloatArray, count: int) -> list[tuple[int, float]]:
    """Return the (token, logit) of the largest, best first, of equal ones the lowest token first."""
    count = min(count, len(logits))
    floor = np.partition(logits, len(logits) - count)[len(logits) - count]
    found = np.flatnonzero(logits >= floor)
    order = np.argsort(-logits[found], kind="stable")[:count]
    return list(zip(found[order].tolist(), logits[found[order]].tolist(), strict=True))


def _whole(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name} is {_shown(value)}: wanted a whole number from {least} to {most}")
    if not least <= value <= most:
        raise InputError(f"{name} is {_shown(value)}: wanted {least} to {most}")


def _number(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(
        value, bool
    )
    if not number or not low <= value <= high:  # NaN is not either
        raise InputError(f"{name} is {_shown(value)}: wanted a number from {low:g} to {high:g}")


def _shown(value: Any) -> str:
    return (
        repr(value)
        if not isinstance(value, int) or abs(value) < 10**18
        else f"a number of {len(hex(value))} hex digits"
    )


def _stops(stop: Any) -> tuple[str, ...]:
    """Return the stop strings, checked."""
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, Sequence | set | frozenset) or isinstance(stops, bytes):
        raise InputError(f"stop is a {type(stop).__name__}: wanted a text or a list of texts")
    if len(stops) > MAX_STOPS:
        raise InputError(f"stop has {len(stops)} texts: wanted at most {MAX_STOPS}")
    for each in stops:
        if not isinstance(each, str):
            raise InputError(f"stop holds a {type(each).__name__}: wanted texts")
        if not 0 < len(each) <= MAX_STOP_CHARACTERS:
            raise InputError(
                f"stop holds a text of {len(each)} characters: wanted 1 to {MAX_STOP_CHARACTERS}"
            )
    return tuple(stops)


def _biases(bias: Any) -> dict[int, float]:
    """Return the bias of each token, checked, apart from the caller's own dict."""
    if not isinstance(bias, Mapping):
        raise InputError(
            f"logit_bias is a {type(bias).__name__}: wanted a dict of token ids and numbers"
        )
    if len(bias) > MAX_BIASES:
        raise InputError(f"logit_bias has {len(bias)} tokens: wanted at most {MAX_BIASES}")
    for token, value in bias.items():
        _whole("a token of logit_bias", token, 0, 2**31 - 1)
        _number(f"logit_bias of token {token}", value, -100.0, 100.0)
    return {int(token): float(value) for token, value in bias.items()}
