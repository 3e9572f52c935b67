from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.sampling import Sampler
from conduit_lab.models.generation.sampling_options import SamplingKeywords, SamplingOptions

VOCABULARY = 40


def noise(rows: int, seed: int = 0, vocabulary: int = VOCABULARY) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 2, (rows, vocabulary)).astype(np.float32)


def unbatched(
    sampling: SamplingOptions, steps: list[FloatArray], prompt: list[int], choice: int = 0
) -> list[int]:
    """Return the tokens of a sequence in a sampler of one slot; `steps` are its logits."""
    sampler = Sampler(1, VOCABULARY)
    sampler.join(0, sampling, prompt, choice=choice)
    return [int(sampler.sample(logits.copy()[None], [0]).ids[0]) for logits in steps]


# Options


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_tokens", 0, "max_tokens expects 1 to 1000000, got 0"),
        ("max_tokens", 10**12, "max_tokens expects 1 to 1000000, got 1000000000000"),
        ("max_tokens", 10**4000, "max_tokens expects 1 to.*, got a number of .* hex digits"),
        ("max_tokens", 2.5, "max_tokens expects an integer from 1 to.*, got 2.5"),
        ("max_tokens", True, "max_tokens expects an integer.*, got True"),
        ("n", 10**9, "n expects 1 to 128, got 1000000000"),
        ("top_k", 10**12, "top_k expects 0 to 1000000, got 1000000000000"),
        ("top_k", -1, "top_k expects 0 to.*, got -1"),
        ("logprobs", 21, "logprobs expects 0 to 20, got 21"),
        ("seed", 2**64, "seed expects .*, got a number of .* hex digits"),
        ("seed", "1", "seed expects an integer.*, got '1'"),
        ("temperature", -0.1, "temperature expects a number from 0 to 100, got -0.1"),
        ("temperature", float("nan"), "temperature expects a number from 0 to 100, got nan"),
        ("temperature", float("inf"), "temperature expects a number from 0 to 100, got inf"),
        ("temperature", 1e-9, r"temperature expects 0 \(greedy\) or 0.0001 to 100, got 1e-09"),
        ("temperature", "hot", "temperature expects a number.*, got 'hot'"),
        ("top_p", 1.1, "top_p expects a number from 0 to 1, got 1.1"),
        ("top_p", 0, "top_p expects more than 0, up to 1, got 0"),
        ("min_p", float("nan"), "min_p expects a number from 0 to 1, got nan"),
        ("repetition_penalty", 0, "repetition_penalty expects a number from 0.01 to 100, got 0"),
        ("presence_penalty", -101, "presence_penalty expects a number from -100 to 100, got -101"),
        ("frequency_penalty", float("nan"), "frequency_penalty expects a number.*, got nan"),
        ("stop", ["", "a"], "stop expects strings of 1 to 1000 characters, got 0"),
        ("stop", ["a" * 1001], "stop expects strings of 1 to 1000 characters, got 1001"),
        ("stop", ["a"] * 17, "stop expects at most 16 strings, got 17"),
        ("stop", [1], "stop expects strings, got int"),
        ("stop", 5, "stop expects a string or a list of strings, got int"),
        ("stop", b"a", "stop expects a string or a list of strings, got bytes"),
        ("logit_bias", [1], "logit_bias expects a dict of token ids to numbers, got list"),
        ("logit_bias", {-1: 0.5}, "a token of logit_bias expects 0 to.*, got -1"),
        (
            "logit_bias",
            {2**31: 1.0},
            "a token of logit_bias expects 0 to 2147483647, got 2147483648",
        ),
        ("max_tokens", 10**18 - 1, "max_tokens expects 1 to.*, got 999999999999999999$"),
        ("max_tokens", 10**18, "max_tokens expects 1 to.*, got a number of .* hex digits"),
        ("logit_bias", {"1": 0.5}, "a token of logit_bias expects an integer.*, got '1'"),
        (
            "logit_bias",
            {1: 101},
            "logit_bias of token 1 expects a number from -100 to 100, got 101",
        ),
        (
            "logit_bias",
            {1: float("nan")},
            "logit_bias of token 1 expects a number from -100 to 100, got nan",
        ),
        (
            "logit_bias",
            dict.fromkeys(range(1025), 1),
            "logit_bias expects at most 1024 tokens, got 1025",
        ),
    ],
)
def test_field_out_of_range_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        SamplingOptions(**{field: value})


def test_one_stop_sequence_needs_no_list() -> None:
    assert SamplingOptions(stop="\n").stop == ("\n",)
    assert SamplingOptions(stop=["a", "b"]).stop == ("a", "b")


def test_biases_are_copied() -> None:
    bias = {3: 1.0}
    sampling = SamplingOptions(logit_bias=bias)
    bias[3] = 1000.0
    assert sampling.logit_bias == {3: 1.0}


def test_random_seed_fits_a_json_number() -> None:
    fresh = [SamplingOptions().seeded().seed for _ in range(9)]
    assert len(set(fresh)) == 9
    assert all(seed is not None and 0 <= seed < 2**53 for seed in fresh)
    assert SamplingOptions(seed=-5).seeded().seed == -5


# Greedy


def test_greedy_takes_the_first_of_the_best() -> None:
    sampler = Sampler(2, 4)
    for slot in (0, 1):
        sampler.join(slot, SamplingOptions(), [1])
    sampled = sampler.sample(np.array([[0, 3, 3, 1], [5, 1, 5, 5]], np.float32), [0, 1])
    assert sampled.ids.tolist() == [1, 0]
    assert sampled.tops == [[], []]


@given(st.integers(0, 2**32), st.floats(-1e4, 1e4, width=32))
def test_logprob_is_the_log_softmax_of_the_models_logits(seed: int, shift: float) -> None:
    logits = noise(3, seed) + np.float32(shift)
    sampler = Sampler(3, VOCABULARY)
    sampler.join(0, SamplingOptions(), [])
    sampler.join(1, SamplingOptions(temperature=2, seed=1, logit_bias={5: 9}), [])
    sampler.join(2, SamplingOptions(repetition_penalty=3), [1, 2])
    sampled = sampler.sample(logits.copy(), [0, 1, 2])
    wide = logits.astype(np.float64)
    expected = wide - wide.max(1, keepdims=True)
    expected -= np.log(np.exp(expected).sum(1, keepdims=True))
    assert sampled.ids.dtype == np.int64
    assert sampled.logprobs.dtype == np.float32
    assert np.allclose(sampled.logprobs, expected[range(3), sampled.ids], rtol=1e-5, atol=1e-5)


def test_tops_are_the_most_likely_tokens_if_requested() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.2, 0.5]] * 3, np.float32))
    sampler = Sampler(3, 4)
    sampler.join(0, SamplingOptions(logprobs=2), [])
    sampler.join(1, SamplingOptions(), [])
    sampler.join(2, SamplingOptions(logprobs=20, logit_bias={0: 50}), [])
    sampled = sampler.sample(logits, [0, 1, 2])
    assert sampled.ids.tolist() == [3, 3, 0]
    assert [[token for token, _ in row] for row in sampled.tops] == [[3, 1], [], [3, 1, 2, 0]]
    assert np.allclose([chance for _, chance in sampled.tops[2]], np.log([0.5, 0.2, 0.2, 0.1]))


@pytest.mark.parametrize(
    "sampling",
    [SamplingOptions(), SamplingOptions(temperature=1, top_p=0.5), SamplingOptions(logprobs=3)],
)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_logits_affect_only_their_row(sampling: SamplingOptions, wrong: float) -> None:
    logits = noise(2)
    logits[0, 7] = wrong
    sampler = Sampler(2, VOCABULARY)
    for slot in (0, 1):
        sampler.join(slot, sampling, [])
    sampled = sampler.sample(logits, [0, 1])
    assert np.isnan(sampled.logprobs).tolist() == [True, False]


# Penalties


def penalized(logits: list[float], prompt: list[int], steps: int, **penalties: float) -> list[int]:
    sampler = Sampler(1, len(logits))
    sampler.join(0, SamplingOptions(**penalties), prompt)  # type: ignore[arg-type]
    return [int(sampler.sample(np.array([logits], np.float32), [0]).ids[0]) for _ in range(steps)]


def test_repetition_penalty_counts_prompt_and_generation() -> None:
    # 4 / 2 = 2 < 3 at first for the prompt's token, then 3 / 2 = 1.5, and 2 again
    assert penalized([4, 3, 1], [0, 0], 3, repetition_penalty=2) == [1, 0, 0]
    # of negative ones, -1 · 2 = -2 < -1.5
    assert penalized([-1, -1.5, -9], [0], 2, repetition_penalty=2) == [1, 0]


def test_presence_and_frequency_count_only_the_generation() -> None:
    assert penalized([4, 3.5, 0], [0, 0, 0], 4, presence_penalty=1) == [0, 1, 0, 0]
    assert penalized([4, 3.5, 0], [0, 0, 0], 4, frequency_penalty=1) == [0, 1, 0, 1]


def test_presence_penalty_beside_a_repetition_penalty_leaves_the_prompt_out() -> None:
    penalties = {"repetition_penalty": 1.001, "presence_penalty": 1}
    assert penalized([4, 3.5], [0], 2, **penalties) == [0, 1]


def test_prompt_tokens_without_logits_are_ignored() -> None:
    assert penalized([4, 3], [0, 99, -1], 1, repetition_penalty=2) == [1]


def test_bias_moves_the_choice() -> None:
    sampler = Sampler(1, 3)
    sampler.join(0, SamplingOptions(logit_bias={2: 5, 0: -100}), [])
    assert sampler.sample(np.array([[4, 3, 0]], np.float32), [0]).ids.tolist() == [2]


def test_bias_on_an_unknown_token_is_rejected() -> None:
    with pytest.raises(InputError, match="logit_bias expects tokens from 0 to 39, got 40"):
        Sampler(1, VOCABULARY).join(0, SamplingOptions(logit_bias={40: 1}), [])


# Constraints


class Evens:
    """Allows the even tokens below a bound."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def allowed(self) -> npt.NDArray[np.bool_]:
        even: npt.NDArray[np.bool_] = np.arange(VOCABULARY) % 2 == 0
        return even

    def accept(self, token: int) -> None:
        self.taken.append(token)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingOptions(),
        SamplingOptions(temperature=2, seed=1),
        SamplingOptions(logit_bias={1: 100}),
    ],
)
def test_constraint_masks_tokens_and_accepts_the_chosen_one(sampling: SamplingOptions) -> None:
    evens = Evens()
    sampler = Sampler(2, VOCABULARY)
    sampler.join(0, SamplingOptions(), [])
    sampler.join(1, sampling, [], evens)
    ids = [int(sampler.sample(noise(2, step), [0, 1]).ids[1]) for step in range(9)]
    assert ids == evens.taken
    assert all(token % 2 == 0 for token in ids)


# Random numbers


def test_seed_repeats_and_choices_differ() -> None:
    steps = list(noise(30))
    warm = SamplingOptions(temperature=1.5, seed=11)
    assert unbatched(warm, steps, []) == unbatched(warm, steps, [])
    assert unbatched(warm, steps, []) != unbatched(warm, steps, [], choice=1)
    assert unbatched(warm, steps, []) != unbatched(
        SamplingOptions(temperature=1.5, seed=12), steps, []
    )


def test_random_seed_is_returned_and_repeats() -> None:
    steps = list(noise(30))
    sampler = Sampler(1, VOCABULARY)
    seed = sampler.join(0, SamplingOptions(temperature=1.5), [])
    ids = [int(sampler.sample(logits.copy()[None], [0]).ids[0]) for logits in steps]
    assert ids == unbatched(SamplingOptions(temperature=1.5, seed=seed), steps, [])


def test_random_numbers_are_above_0(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zero:
        def random(self) -> float:
            return 0.0

    monkeypatch.setattr(np.random, "Generator", lambda bits: Zero())
    sampler = Sampler(1, 3)
    sampler.join(0, SamplingOptions(temperature=1, seed=1, logit_bias={0: -100}), [])
    logits = np.array([[-np.inf, 1, 2]], np.float32)
    assert sampler.sample(logits, [0]).ids.tolist() == [2]


SAMPLINGS = st.builds(
    SamplingOptions,
    temperature=st.sampled_from([0, 0.5, 1.3]),
    top_k=st.sampled_from([0, 1, 7]),
    top_p=st.sampled_from([1, 0.6, 0.95]),
    min_p=st.sampled_from([0, 0.1]),
    repetition_penalty=st.sampled_from([1, 1.3]),
    presence_penalty=st.sampled_from([0, 0.5]),
    frequency_penalty=st.sampled_from([0, 0.5]),
    logit_bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-5, 5), max_size=3),
    seed=st.integers(-(2**63), 2**64 - 1),
    logprobs=st.sampled_from([0, 3]),
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(SAMPLINGS, st.integers(0, 5), st.integers(1, 8)), min_size=2, max_size=5),
    st.randoms(),
)
def test_tokens_do_not_depend_on_slot_or_batch(
    texts: list[tuple[SamplingOptions, int, int]], random: Any
) -> None:
    slots = random.sample(range(8), len(texts))
    sampler = Sampler(8, VOCABULARY)
    steps = [list(noise(length, seed)) for seed, (_, _, length) in enumerate(texts)]
    got: list[list[int]] = [[] for _ in texts]
    for clock in range(14):  # each sequence joins at its own time and leaves when its logits end
        here = []
        for i, (sampling, begin, length) in enumerate(texts):
            if clock == begin:
                sampler.join(slots[i], sampling, [i, 2 * i])
            if clock == begin + length:
                sampler.leave(slots[i])
            if begin <= clock < begin + length:
                here.append(i)
        random.shuffle(here)
        if here:
            logits = np.stack([steps[i][clock - texts[i][1]] for i in here])
            sampled = sampler.sample(logits, [slots[i] for i in here])
            for i, token in zip(here, sampled.ids.tolist(), strict=True):
                got[i].append(token)
    for i, (sampling, _, _) in enumerate(texts):
        assert got[i] == unbatched(sampling, steps[i], [i, 2 * i])


def test_freed_slot_keeps_no_state() -> None:
    sampler = Sampler(1, 3)
    sampler.join(0, SamplingOptions(logit_bias={2: 50}), [])
    sampler.leave(0)
    sampler.leave(0)
    sampler.join(0, SamplingOptions(), [])
    assert sampler.sample(np.array([[4, 3, 0]], np.float32), [0]).ids.tolist() == [0]


# Keywords


def test_keywords_are_the_fields_with_their_types() -> None:
    fields = {name: field.type for name, field in SamplingOptions.__dataclass_fields__.items()}
    keywords = {
        name: getattr(hint, "__forward_arg__", hint)
        for name, hint in SamplingKeywords.__annotations__.items()
    }
    assert keywords == fields


def test_keywords_override_the_fields_of_options() -> None:
    base = SamplingOptions(temperature=0.5, max_tokens=7)
    made = SamplingOptions.of(base, max_tokens=9)
    assert (made.temperature, made.max_tokens) == (0.5, 9)
    assert SamplingOptions.of(base) == base
    assert SamplingOptions.of(None) == SamplingOptions()


def test_invalid_options_and_keywords_are_rejected() -> None:
    wrong: Any = {"max_tokens": 9}
    with pytest.raises(InputError, match="sampling expects SamplingOptions, got dict"):
        SamplingOptions.of(wrong)
    with pytest.raises(InputError, match="unknown sampling option temprature: expected max_tokens"):
        SamplingOptions.of(None, temprature=1)
    with pytest.raises(InputError, match="max_tokens expects"):
        SamplingOptions.of(SamplingOptions(), max_tokens=0)
