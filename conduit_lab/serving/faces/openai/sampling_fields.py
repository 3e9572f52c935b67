"""The sampling options of a request in OpenAI's format."""

from __future__ import annotations

import re

from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields

MAX_ANSWER_TOKENS = 1_000_000  # in effect limited by the model's context
MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 20
MAX_STOPS = 16
_MAX_TOP_K = 1_000_000
_TOKEN = re.compile(r"[0-9]{1,9}")


def read_sampling(fields: RequestFields, *, max_tokens: int, logprobs: int) -> SamplingOptions:
    """Return a request's sampling options, including extensions of open servers (`top_k`, …)."""
    stop = fields.value("stop") if fields.has("stop") else ()
    return SamplingOptions(
        max_tokens=max_tokens,
        temperature=fields.number("temperature", 0, 2, 1),
        top_p=fields.number("top_p", 0, 1, 1),
        top_k=fields.integer("top_k", 0, _MAX_TOP_K, 0),
        min_p=fields.number("min_p", 0, 1, 0),
        repetition_penalty=fields.number("repetition_penalty", 0.01, 100, 1),
        presence_penalty=fields.number("presence_penalty", -2, 2, 0),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0),
        logit_bias=_biases(fields),
        seed=fields.integer("seed", -(2**63), 2**63 - 1) if fields.has("seed") else None,
        stop=stop,
        n=fields.integer("n", 1, MAX_CHOICES, 1),
        logprobs=logprobs,
    )


def _biases(fields: RequestFields) -> dict[int, float]:
    if not fields.has("logit_bias"):
        return {}
    given = fields.value("logit_bias")
    if not isinstance(given, dict) or not all(_TOKEN.fullmatch(token) for token in given):
        raise FieldError("logit_bias", "logit_bias expects an object of token IDs to numbers")
    return {int(token): value for token, value in given.items()}
