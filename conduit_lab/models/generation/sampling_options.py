"""SamplingOptions: options for choosing the tokens of a sequence, checked against fixed limits."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np

from conduit_lab.core.errors import InputError
from conduit_lab.core.nearest import did_you_mean

# Limits of one request; requests are often untrusted.
_MAX_TOKENS = 1_000_000
_MAX_CHOICES = 128
_MAX_TOP_K = 1_000_000
_MAX_LOGPROBS = 20  # OpenAI's
_MAX_STOPS = 16
_MAX_STOP_CHARACTERS = 1_000
_MAX_BIASES = 1_024
_MAX_TEMPERATURE = 100.0
_MIN_TEMPERATURE = 1e-4  # unless 0; below it float32 leaves only one likely token

_RANGES = {  # inclusive bounds
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
}
_COUNTS = {
    "max_tokens": (1, _MAX_TOKENS),
    "top_k": (0, _MAX_TOP_K),
    "n": (1, _MAX_CHOICES),
    "logprobs": (0, _MAX_LOGPROBS),
}


class SamplingKeywords(TypedDict, total=False):
    """The fields of `SamplingOptions` as keywords of `generate`, `stream` and `chat`."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int | None
    stop: str | Sequence[str]
    n: int
    logprobs: int


@dataclass(frozen=True)
class SamplingOptions:
    """Options for choosing the tokens of a sequence; a field out of range raises `InputError`.

    `temperature` 0 is greedy: the most likely token, regardless of `top_k`, `top_p`, `min_p` and
    `seed`. `top_k` 0, `top_p` 1 and `min_p` 0 filter nothing. `logit_bias` is added to the logits
    of the token ids it names. `seed` is any 64-bit integer. `stop` is one stop sequence or several;
    the text ends before the first. `n` is the number of generations per prompt, `logprobs` the
    number of most likely tokens reported per step.
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
        for name, (lowest, highest) in _COUNTS.items():
            _check_integer(name, getattr(self, name), lowest, highest)
        if self.seed is not None:
            _check_integer("seed", self.seed, -(2**63), 2**64 - 1)
        for name, (low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), low, high)
        _check_number("temperature", self.temperature, 0.0, _MAX_TEMPERATURE)
        if 0 < self.temperature < _MIN_TEMPERATURE:
            raise InputError(
                f"temperature expects 0 (greedy) or {_MIN_TEMPERATURE} to {_MAX_TEMPERATURE:g}, "
                f"got {self.temperature}"
            )
        if self.top_p == 0:
            raise InputError(
                "top_p expects more than 0, up to 1, got 0, which keeps no token: "
                "use temperature=0 for greedy decoding"
            )
        object.__setattr__(self, "stop", _checked_stops(self.stop))
        object.__setattr__(self, "logit_bias", _checked_biases(self.logit_bias))

    @classmethod
    def of(cls, base: SamplingOptions | None, /, **keywords: Any) -> SamplingOptions:
        """Return `base`, or the defaults, updated by keywords; reject unknown ones."""
        unknown = sorted(set(keywords) - set(cls.__dataclass_fields__))
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            near = did_you_mean(unknown[0], cls.__dataclass_fields__)
            raise InputError(
                f"unknown sampling option {', '.join(unknown)}: expected {known}{near}"
            )
        if base is not None and not isinstance(base, SamplingOptions):
            raise InputError(f"sampling expects SamplingOptions, got {type(base).__name__}")
        return cls(**keywords) if base is None else replace(base, **keywords)

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always chosen."""
        return self.temperature == 0

    @property
    def penalized(self) -> bool:
        """Whether earlier tokens change the logits of later ones."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)

    def seeded(self) -> SamplingOptions:
        """Return the options with a seed: their own, or a random seed that fits a JSON number."""
        return self if self.seed is not None else replace(self, seed=secrets.randbits(53))


def _check_integer(name: str, value: Any, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(
            f"{name} expects an integer from {lowest} to {highest}, got {_short(value)}"
        )
    if not lowest <= value <= highest:
        raise InputError(f"{name} expects {lowest} to {highest}, got {_short(value)}")


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    kinds = (int, float, np.integer, np.floating)
    number = isinstance(value, kinds) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # false for NaN too
        raise InputError(f"{name} expects a number from {low:g} to {high:g}, got {_short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"a number of {len(hex(value))} hex digits"
    return repr(value)


def _checked_stops(stop: Any) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, Sequence | set | frozenset) or isinstance(stops, bytes):
        raise InputError(f"stop expects a string or a list of strings, got {type(stop).__name__}")
    if len(stops) > _MAX_STOPS:
        raise InputError(f"stop expects at most {_MAX_STOPS} strings, got {len(stops)}")
    for each in stops:
        if not isinstance(each, str):
            raise InputError(f"stop expects strings, got {type(each).__name__}")
        if not 0 < len(each) <= _MAX_STOP_CHARACTERS:
            raise InputError(
                f"stop expects strings of 1 to {_MAX_STOP_CHARACTERS} characters, got {len(each)}"
            )
    return tuple(stops)


def _checked_biases(bias: Any) -> dict[int, float]:
    """Return a checked copy of the bias per token."""
    if not isinstance(bias, Mapping):
        raise InputError(
            f"logit_bias expects a dict of token ids to numbers, got {type(bias).__name__}"
        )
    if len(bias) > _MAX_BIASES:
        raise InputError(f"logit_bias expects at most {_MAX_BIASES} tokens, got {len(bias)}")
    for token, value in bias.items():
        _check_integer("a token of logit_bias", token, 0, 2**31 - 1)
        _check_number(f"logit_bias of token {token}", value, -100.0, 100.0)
    return {int(token): float(value) for token, value in bias.items()}
