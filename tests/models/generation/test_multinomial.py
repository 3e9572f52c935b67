from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.spec import FloatArray
from conduit_lab.models.generation.multinomial import (
    MAXIMA_COLUMNS,
    Multinomial,
    RowOptions,
    TokenIds,
    _block_sums,
    _first_reaching,
    _top_values,
)

VOCABULARIES = (3, 300, 4 * MAXIMA_COLUMNS + 77)  # the last row is searched by columns first
CLOSE = 1e-4  # tolerance around a step of the cumulative sum, where rounding may decide


def draw(logits: FloatArray, how: RowOptions) -> TokenIds:
    return Multinomial(logits.shape[1]).sample(logits, how)


def draws(
    count: int, temperature: float = 1, top_k: int = 0, top_p: float = 1, min_p: float = 0
) -> RowOptions:
    """Return the same options for rows with random numbers spread over (0, 1]."""
    return RowOptions(
        np.full(count, temperature, np.float32),
        np.full(count, top_k),
        np.full(count, top_p),
        np.full(count, min_p),
        np.arange(1, count + 1) / count,
    )


def probabilities(logits: FloatArray, how: RowOptions) -> npt.NDArray[np.float64]:
    """Return the probabilities of a row: temperature, top_k, top_p and min_p in this order."""
    scaled = logits.astype(np.float64) / how.temperature[0]
    kept = np.exp(scaled - scaled.max())
    if how.top_k[0]:
        kept[kept < np.sort(kept)[::-1][min(how.top_k[0], kept.size) - 1]] = 0
    if how.top_p[0] < 1:
        falling = np.sort(kept)[::-1]
        before = np.cumsum(falling) - falling
        kept[kept < falling[before < how.top_p[0] * falling.sum()][-1]] = 0
    kept[kept < how.min_p[0] * kept.max()] = 0
    normal: npt.NDArray[np.float64] = kept / kept.sum()
    return normal


def rows(logits: FloatArray, count: int) -> FloatArray:
    return np.ascontiguousarray(np.broadcast_to(logits, (count, logits.size)))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(VOCABULARIES),
    st.integers(0, 2**32),
    st.sampled_from([0.05, 1, 4]),
    st.sampled_from([0.01, 0.7, 1.0, 3.0]),
    st.sampled_from([0, 1, 2, 50, 400, 10**6]),
    st.sampled_from([0.05, 0.5, 0.95, 0.9999, 1.0]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_tokens_are_sampled_as_the_formulas_say(
    vocabulary: int,
    seed: int,
    spread: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> None:
    logits = np.random.default_rng(seed).normal(0, spread, vocabulary).astype(np.float32)
    how = draws(50, temperature, top_k, top_p, min_p)
    ids = draw(rows(logits, 50), how)
    chances = probabilities(logits, how)
    running = np.cumsum(chances)
    margin = CLOSE * max(1, 0.1 / temperature)
    for token, uniform in zip(ids.tolist(), how.uniform.tolist(), strict=True):
        low, high = np.searchsorted(running, [uniform - margin, uniform + margin])
        assert low <= token <= min(high, vocabulary - 1)
        assert chances[token] > 0 or _at_the_edge(logits, token, how, chances)


def _at_the_edge(
    logits: FloatArray, token: int, how: RowOptions, chances: npt.NDArray[np.float64]
) -> bool:
    """Return whether a token is next to the last one kept, so that rounding may decide."""
    edge = logits[chances > 0].min()
    between = np.exp((logits[logits <= edge] - logits.max()) / how.temperature[0])
    mass = np.exp((logits.astype(np.float64) - logits.max()) / how.temperature[0]).sum()
    return bool(between[logits[logits <= edge] >= logits[token]].sum() / mass < CLOSE)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"), [(0, 1.0, 0.0), (2, 1.0, 0.0), (0, 0.9, 0.0), (0, 1.0, 0.1)]
)
def test_token_of_a_row_does_not_depend_on_the_batch(
    vocabulary: int, top_k: int, top_p: float, min_p: float
) -> None:
    random = np.random.default_rng(7)
    logits = random.normal(0, random.uniform(0.1, 5, (40, 1)), (40, vocabulary)).astype(np.float32)
    how = draws(40, 0.8, top_k, top_p, min_p)
    batched = draw(logits, how)
    unbatched = [draw(logits[[row]], how.of(np.array([row])))[0] for row in range(40)]
    assert batched.tolist() == unbatched
    some = random.permutation(40)[:17]
    assert draw(logits[some], how.of(some)).tolist() == batched[some].tolist()


def test_rows_may_have_different_options() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (4, VOCABULARIES[-1])).astype(np.float32)
    ways = [
        draws(1, 0.5, 40, 0.9),
        draws(1, 1.0, 0, 0.9),
        draws(1, 2.0),
        draws(1, 1.0, 900, 1.0, 0.01),
    ]
    mixed = RowOptions(
        *(
            np.concatenate([getattr(way, name) for way in ways])
            for name in ("temperature", "top_k", "top_p", "min_p", "uniform")
        )
    )
    assert draw(logits, mixed).tolist() == [draw(logits[[i]], way)[0] for i, way in enumerate(ways)]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_masked_tokens_are_never_sampled(vocabulary: int) -> None:
    logits = np.full((30, vocabulary), -np.inf, np.float32)
    logits[:, [0, vocabulary - 1]] = 1.5, 1.5
    for how in (draws(30), draws(30, 1, 50), draws(30, 1, 0, 0.9), draws(30, 1, 0, 1.0, 0.5)):
        assert sorted(set(draw(logits, how).tolist())) == [0, vocabulary - 1]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_ties_of_the_last_token_kept_are_kept(vocabulary: int) -> None:
    logits = np.zeros((90, vocabulary), np.float32)
    logits[:, 1] = 0.5
    how = draws(90, 1, 2)
    how.uniform[0] = 1e-9
    ids: TokenIds = draw(logits, how)
    assert (ids[0], ids[-1]) == (0, vocabulary - 1)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("fill", [np.nan, -np.inf])
def test_row_without_finite_logits_gives_some_token(vocabulary: int, fill: float) -> None:
    logits = np.zeros((2, vocabulary), np.float32)
    logits[0] = fill
    logits[1, 2] = 50
    with np.errstate(invalid="ignore"):
        for how in (draws(2), draws(2, 1, 2), draws(2, 1, 0, 0.5)):
            ids = draw(logits, how)
            assert 0 <= ids[0] < vocabulary
            assert ids[1] == 2


def test_frequencies_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    ids = draw(rows(logits, 1000), draws(1000))
    assert np.abs(np.bincount(ids) / 1000 - [0.5, 0.3, 0.2]).max() < 0.002


def test_rounding_of_a_block_does_not_leave_it() -> None:
    random = np.random.default_rng(0)
    weights = random.random((200, 128), np.float32)
    sums = _block_sums(weights)
    rounded_up = sums[:, -1] > weights.astype(np.float64).sum(axis=1)
    assert rounded_up.any()
    assert _first_reaching(weights, sums, sums[:, -1]).max() <= 127


def test_sums_over_blocks_are_of_double_precision() -> None:
    weights = np.full((1, 2**17), 0.1, np.float32)
    block = float(weights[0, :128].sum())
    assert _block_sums(weights)[0, -1] == pytest.approx(block * 2**10, rel=1e-12)


def test_masked_tokens_are_no_candidates() -> None:
    logits = np.full((1, VOCABULARIES[-1]), -np.inf, np.float32)
    logits[0, [5, 9]] = 1, 2
    values, tokens = _top_values(logits, np.array([50]))
    assert values.shape == (1, 128)
    assert tokens[0, np.isfinite(values[0])].tolist() == [5, 9]


@pytest.mark.parametrize("top_k", [128, 10**6])
def test_top_k_of_the_vocabulary_filters_nothing(top_k: int) -> None:
    logits = np.linspace(1, 0, 128, dtype=np.float32)  # as wide as a block: no padding
    assert draw(logits[None], draws(1, 1, top_k)).tolist() == [127]


def test_top_p_refers_to_the_whole_vocabulary() -> None:
    logits = np.zeros((1, VOCABULARIES[-1]), np.float32)
    logits[0] = np.linspace(0, -1e-3, VOCABULARIES[-1])
    assert draw(logits, draws(1, 1, 0, 0.5))[0] == pytest.approx(VOCABULARIES[-1] / 2, rel=0.01)
