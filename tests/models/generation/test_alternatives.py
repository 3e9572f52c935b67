"""Alternatives: the probabilities that the sampler draws from, and the option of each cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import ModelRunError
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.models.generation.alternatives import MAX_ALTERNATIVES, Alternative, explain
from conduit_lab.models.generation.sampling import Sampler, SequenceState
from conduit_lab.models.generation.sampling_options import SamplingOptions

VOCABULARY = 300
LOGITS = np.random.default_rng(1).normal(scale=3, size=VOCABULARY).astype(np.float32)
BEST = np.argsort(-LOGITS).tolist()


class Allowing:
    """A constraint that allows some tokens."""

    def __init__(self, *tokens: int) -> None:
        self._mask = np.zeros(VOCABULARY, np.bool_)
        self._mask[list(tokens)] = True

    def allowed(self) -> Any:
        return self._mask

    def accept(self, token: int) -> None:
        pass


def state(
    prompt: list[int], tokens: list[int], constraint: Any = None, **options: Any
) -> SequenceState:
    sampling = SamplingOptions(**{"seed": 5, **options})
    made = SequenceState(sampling, prompt, constraint, 0, VOCABULARY)
    made.replay(tokens)
    return made


def explained(
    *, tokens: tuple[int, ...] = (), chosen: int = 0, constraint: Any = None, **options: Any
) -> dict[int, Alternative]:
    made = explain(LOGITS.copy(), state([], [*tokens], constraint, **options), chosen, str)
    return {each.id: each for each in made}


def expected(
    logits: FloatArray, prompt: list[int], tokens: list[int], how: SamplingOptions
) -> Array:
    """Return the distribution that the documentation of the options describes."""
    values = logits.astype(np.float64)
    for token, bias in how.logit_bias.items():
        values[token] += bias
    for token in {*prompt, *tokens}:
        factor = how.repetition_penalty
        values[token] = values[token] / factor if values[token] > 0 else values[token] * factor
    for token in set(tokens):
        values[token] -= tokens.count(token) * how.frequency_penalty + how.presence_penalty
    values /= how.temperature
    weights = np.exp(values - values.max())
    order = np.argsort(-weights)
    kept = np.zeros(VOCABULARY, np.bool_)
    kept[order[: how.top_k or None]] = True
    if how.top_p < 1:
        sums = np.cumsum(weights[order] * kept[order]) / weights[kept].sum()
        kept[order[np.searchsorted(sums, how.top_p) + 1 :]] = False
    kept &= weights >= how.min_p
    made: Array = weights * kept / weights[kept].sum()
    return made


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.2, 3),
    top_k=st.sampled_from([0, 1, 5, 40]),
    top_p=st.sampled_from([0.3, 0.8, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.02, 0.3]),
    repetition=st.sampled_from([1.0, 1.3]),
    frequency=st.sampled_from([0.0, 0.5]),
    presence=st.sampled_from([0.0, 1.0]),
    bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-5, 5), max_size=4),
)
def test_probabilities_equal_those_of_the_documented_formulas(
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repetition: float,
    frequency: float,
    presence: float,
    bias: dict[int, float],
) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=VOCABULARY).astype(np.float32)
    prompt, tokens = (random.integers(0, VOCABULARY, 20).tolist() for _ in range(2))
    how = SamplingOptions(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition,
        frequency_penalty=frequency,
        presence_penalty=presence,
        logit_bias=bias,
        seed=1,
    )
    made = SequenceState(how, prompt, None, 0, VOCABULARY)
    made.replay(tokens)
    right = expected(logits, prompt, tokens, how)
    raw = np.exp(logits - logits.max(), dtype=np.float64)
    raw /= raw.sum()
    alternatives = explain(logits, made, 7, str)
    for each in alternatives:
        assert each.probability == pytest.approx(raw[each.id], rel=1e-5)
        # if the sum is within rounding of top_p, one more token may be kept
        assert each.adjusted == pytest.approx(right[each.id], rel=1e-3, abs=1e-4)
        assert (each.cut is None) == (each.adjusted > 0)
    shown = {each.id for each in alternatives}
    assert {int(raw.argmax()), int(right.argmax()), 7} <= shown


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), top_p=st.sampled_from([0.5, 0.9, 1.0]))
def test_the_sampled_token_is_never_cut(seed: int, top_p: float) -> None:
    how = SamplingOptions(temperature=1.5, top_p=top_p, seed=seed, presence_penalty=0.4)
    sampler = Sampler(1, VOCABULARY)
    sampler.join(0, how, [1, 2])
    tokens: list[int] = []
    for step in range(4):
        random = np.random.default_rng([seed, step])
        logits = random.normal(scale=3, size=(1, VOCABULARY)).astype(np.float32)
        before = SequenceState(how, [1, 2], None, 0, VOCABULARY)
        before.replay(tokens)
        token = int(sampler.sample(logits.copy(), [0]).ids[0])
        found = {each.id: each for each in explain(logits[0], before, token, str)}
        assert found[token].cut is None
        tokens.append(token)


def test_about_twelve_are_returned_the_likeliest_first() -> None:
    made = explain(LOGITS, state([], [], temperature=1.0), BEST[200], str)
    assert [each.id for each in made] == [*BEST[:MAX_ALTERNATIVES], BEST[200]]
    assert [each.text for each in made[:2]] == [str(token) for token in BEST[:2]]


def test_greedy_takes_the_best_token_alone() -> None:
    found = explained()
    assert (found[BEST[0]].adjusted, found[BEST[0]].cut) == (1.0, None)
    assert {found[token].cut for token in BEST[1:10]} == {"greedy"}


@pytest.mark.parametrize(
    ("options", "kept", "cut"),
    [
        ({"top_k": 3}, 3, "top_k"),
        ({"top_p": 1e-9}, 1, "top_p"),
        ({"min_p": 1.0}, 1, "min_p"),
        ({"top_k": 3, "min_p": 1.0}, 1, "min_p"),
    ],
)
def test_the_filter_that_cut_a_token_is_named(options: dict[str, Any], kept: int, cut: str) -> None:
    found = explained(temperature=1.0, **options)
    assert [found[token].cut for token in BEST[:kept]] == [None] * kept
    assert found[BEST[kept]].cut == cut


def test_the_first_of_several_filters_is_named() -> None:
    found = explained(temperature=1.0, top_k=3, min_p=1.0)
    assert [found[token].cut for token in BEST[1:5]] == ["min_p", "min_p", "top_k", "top_k"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_token_that_its_penalty_made_unlikely_names_it(temperature: float) -> None:
    found = explained(tokens=(BEST[0],), temperature=temperature, top_k=1, presence_penalty=50)
    assert found[BEST[0]].cut == "penalty"
    assert found[BEST[1]].cut is None
    assert found[BEST[2]].cut == ("top_k" if temperature else "greedy")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_token_that_its_bias_made_unlikely_names_it(temperature: float) -> None:
    found = explained(logit_bias={BEST[0]: -50.0}, temperature=temperature, top_k=1)
    assert found[BEST[0]].cut == "logit_bias"
    assert found[BEST[1]].cut is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_token_outside_the_constraint_names_it(temperature: float) -> None:
    allowed = (BEST[3], BEST[8])
    found = explained(constraint=Allowing(*allowed), temperature=temperature, presence_penalty=0.1)
    assert found[BEST[0]].cut == "constraint"
    assert found[BEST[3]].cut is None
    assert found[BEST[8]].cut == (None if temperature else "greedy")


def test_a_token_too_unlikely_for_a_float_is_not_cut() -> None:
    logits = np.zeros(VOCABULARY, np.float32)
    logits[4] = 1000
    made = {each.id: each for each in explain(logits, state([], [], temperature=1.0), 5, str)}
    assert (made[5].adjusted, made[5].cut) == (0.0, None)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error(wrong: float) -> None:
    logits = LOGITS.copy()
    logits[3] = wrong
    with pytest.raises(ModelRunError, match="alternatives expect finite logits"):
        explain(logits, state([], []), 0, str)


def test_replay_draws_the_random_number_of_each_step() -> None:
    followed, replayed = (state([], [], temperature=1.0) for _ in range(2))
    drawn = [followed.uniform() for _ in range(4)]
    replayed.replay([1, 2, 3])
    assert replayed.uniform() == drawn[3]
