"""Alternative: a candidate token at one position of a generation, and why it was not chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.models.generation.multinomial import Multinomial
from conduit_lab.models.generation.sampling import SequenceState, row_options

MAX_ALTERNATIVES = 12


@dataclass(frozen=True)
class Alternative:
    r"""A candidate token at one position of a generation.

    `probability` is the softmax of the model's logits; `adjusted` is the probability used for
    sampling, after logit bias, penalties, constraint, temperature, `top_k`, `top_p` and `min_p`. It
    is 0 for an excluded token, and `cut` then names the option: "constraint", "top_k", "top_p",
    "min_p", "greedy" (a temperature of 0 takes only the best token), or "penalty" and "logit_bias"
    for a token that a filter would keep without them. `text` spells special tokens, and writes the
    bytes of an incomplete character as `\xf0`.
    """

    id: int
    text: str
    probability: float
    adjusted: float
    cut: str | None = None


def explain(
    logits: FloatArray, state: SequenceState, chosen: int, spell: Callable[[int], str]
) -> list[Alternative]:
    """Return the most likely tokens after a sequence, and the `chosen` token.

    A token is included if it is likely either by the model's logits or after bias, penalties and
    constraint. `logits` are the model's, float32 `[vocabulary]`, `state` is the sampling state of
    the sequence before that step, and `spell` returns the text of a token. Tokens that can be
    sampled come first, then the excluded ones, each group by descending probability.
    """
    if not np.isfinite(logits.max()):  # NaN too
        raise ModelRunError("alternatives expect finite logits of the model, got NaN or infinity")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        raw = _softmax(logits)
        changed, before = logits.copy(), {}
        for name, change in state.changes.items():
            before[name] = changed.copy()
            change(state, changed)
        adjusted, filters = _filtered(changed, state)
        # filters preserve the order of the changed logits; greedy keeps one token
        largest = np.argsort(-np.maximum(raw, _softmax(changed)), kind="stable")[:MAX_ALTERNATIVES]
        found = [*largest.tolist(), *([] if chosen in largest else [chosen])]
        made = [
            Alternative(
                token,
                spell(token),
                float(raw[token]),
                float(adjusted[token]),
                None if adjusted[token] > 0 else _cut(token, changed, before, state, filters),
            )
            for token in found
        ]
    return sorted(made, key=lambda each: (each.cut is not None, -each.adjusted, -each.probability))


_Filters = dict[str, float]  # the largest distance from the best logit that each filter keeps


def _filtered(changed: FloatArray, state: SequenceState) -> tuple[Array, _Filters]:
    """Return the probabilities used for sampling, and the limits of the filters."""
    if not state.random:
        adjusted = np.zeros(len(changed))
        adjusted[changed.argmax()] = 1  # like the sampler: the first of equal maxima
        return adjusted, {"greedy": 0.0}
    options = row_options([state.sampling], [1.0])
    adjusted, limits = Multinomial(len(changed)).probabilities(changed[None], options)
    named = {"top_k": limits.top_k, "top_p": limits.top_p, "min_p": limits.min_p}
    return adjusted[0], {name: float(limit[0]) for name, limit in named.items()}


def _cut(
    token: int,
    changed: FloatArray,
    before: dict[str, FloatArray],
    state: SequenceState,
    filters: _Filters,
) -> str | None:
    """Return the option that excluded the token; None if its probability underflows float32."""
    if "constraint" in before and changed[token] == -np.inf:
        return "constraint"
    best = changed.max()
    for name in ("penalty", "logit_bias"):  # the later step first
        if name in before:
            after = before.get("constraint", changed)
            own = before[name][token]
            if own > after[token] and _passes(best - own, state, filters):
                return name
    distance = _distance(best - changed[token], state)
    cut = next((name for name, limit in filters.items() if distance > limit), None)
    return cut if state.random else "greedy"  # of two equal maxima only the first is taken


def _passes(gap: float, state: SequenceState, filters: _Filters) -> bool:
    return bool(_distance(gap, state) <= min(filters.values()))


def _distance(gap: float, state: SequenceState) -> float:
    temperature = np.float32(state.sampling.temperature)
    return float(np.float32(gap) / temperature) if state.random else float(gap)


def _softmax(logits: FloatArray) -> Array:
    """Return float64 `[vocabulary]`."""
    weights = np.exp((logits - logits.max()).astype(np.float64))
    made: Array = weights / weights.sum()
    return made
