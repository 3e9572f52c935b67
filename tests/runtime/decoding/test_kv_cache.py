"""KV caches: growth, copies and padding, without a graph."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.spec import Array
from conduit_lab.runtime.decoding import decoder as decoder_module
from conduit_lab.runtime.decoding.decoder import Decoder
from conduit_lab.runtime.decoding.kv_cache import GrowingCache, InPlaceCache, bucket
from conduit_lab.runtime.sessions.session import Options
from tests.models.generation.longrope import folder
from tests.runtime.decoding.test_decoder import decoder_of

IO: Any = SimpleNamespace(shapes=((2, 4),), cache_dtype=np.dtype(np.float32))


def part(tokens: int, number: float) -> list[Array]:
    """Return a saved cache of this many tokens."""
    return [np.full((2, tokens, 4), number, np.float32)]


def test_buckets_are_powers_of_two_within_the_limits() -> None:
    lengths = (1, 64, 65, 128, 129, 600)
    assert [bucket(tokens, 1000) for tokens in lengths] == [64, 64, 128, 128, 256, 1000]


def test_a_cache_in_place_keeps_every_token_when_it_grows() -> None:
    cache = InPlaceCache(IO, 2, 1000)
    cache.load(1, part(64, 3.0), 64)
    before = cache.version
    cache.fit(np.array([64, 64]), 1000)
    assert cache.version == before + 1
    np.testing.assert_array_equal(cache.save(1, 64), part(64, 3.0))


@pytest.mark.parametrize(("context", "limit"), [(1000, 100), (100, 1000)])
def test_a_mask_is_no_wider_than_the_side_of_the_switch_and_the_context(
    context: int, limit: int
) -> None:
    assert InPlaceCache(IO, 2, context).fit(np.array([64, 3]), limit) == 100


def test_clearing_a_cache_in_place_voids_its_bindings() -> None:
    cache = InPlaceCache(IO, 2, 1000)
    before = cache.version
    cache.clear()
    assert cache.version > before


def test_a_saved_prefix_is_a_copy() -> None:
    cache = InPlaceCache(IO, 2, 1000)
    cache.load(0, part(5, 3.0), 5)
    saved = cache.save(0, 5)
    cache.load(0, part(5, 7.0), 5)
    np.testing.assert_array_equal(saved, part(5, 3.0))


def test_padding_holds_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention multiplies a masked NaN by zero, which is NaN."""
    empty = np.empty

    def filled_with_nan(shape: Any, dtype: Any = float) -> Array:
        made = empty(shape, dtype)
        made.fill(np.nan)
        return made

    monkeypatch.setattr(np, "empty", filled_with_nan)
    cache = GrowingCache(IO, 2)
    cache.load(0, part(5, 3.0), 5)
    cache.load(1, part(2, 4.0), 2)
    assert cache.fit(np.array([5, 2]), 1000) == 6
    (tokens,) = cache._room(cache._side, 2, 5)
    assert np.isfinite(tokens).all()
    assert not tokens[1, :, :3].any()


def test_a_moved_row_is_empty() -> None:
    cache = GrowingCache(IO, 2)
    cache.load(1, part(3, 4.0), 3)
    cache.move(1, 0, 3)
    np.testing.assert_array_equal(cache.save(0, 3), part(3, 4.0))
    assert cache.save(1, 0)[0].size == 0
    assert cache._places[1] is None  # its memory is free


# Decoder: prompt lengths, counters and memory


def test_the_next_chunk_has_at_least_one_token() -> None:
    decoder = decoder_of("llama")
    with decoder.held():
        decoder.begin(0, 5)
        decoder.prefill(0, [5] * 10)
        assert decoder.min_prefill(0) == 1
        decoder.clear()


def test_a_moved_row_keeps_the_length_of_its_prompt(tmp_path: Path) -> None:
    path = folder(tmp_path, "highest position", whole=False) / "model.onnx"
    options = Options("cpu", threads=1)
    decoder = Decoder.open(path, options, rows=2, context=256)
    decoder.begin(1, 200)
    before = decoder.min_prefill(1)
    decoder.move(1, 0)
    assert before > 1
    assert [decoder.min_prefill(row) for row in (0, 1)] == [before, 1]


def test_the_cache_is_as_wide_as_the_mask_of_a_chunk(tmp_path: Path) -> None:
    path = folder(tmp_path, switch=150) / "model.onnx"
    decoder = Decoder.open(path, Options("cpu", threads=1), rows=1, context=256)
    ids = np.random.default_rng(0).integers(0, decoder.vocabulary, 200)
    with decoder.held():
        decoder.begin(0, 200)
        whole = decoder.prefill(0, ids)
        decoder.clear()
        decoder.begin(0, 200)
        for start in range(0, 200, 50):
            chunked = decoder.prefill(0, ids[start : start + 50])
        decoder.clear()
    np.testing.assert_allclose(chunked, whole, atol=1e-4)


def test_each_row_of_a_step_is_counted() -> None:
    decoder = decoder_of("llama")
    with decoder.held():
        for row in range(3):
            decoder.prefill(row, [5, 6])
        before = decoder.shared.rows
        decoder.step([7, 8, 9])
        assert decoder.shared.rows == before + 3
        decoder.clear()


def test_large_logits_are_freed_by_the_next_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = decoder_of("llama")
    monkeypatch.setattr(decoder_module, "_MAX_RETAINED_LOGITS", 0)
    with decoder.held():
        decoder.prefill(0, [5] * 10)
        decoder.prefill(1, [5])
        assert decoder._scratch.size == decoder.vocabulary
        decoder.clear()


def test_an_abandoned_session_is_never_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = decoder_of("llama")
    abandoned: list[Any] = []
    monkeypatch.setattr(decoder_module, "_abandoned", abandoned)
    with decoder.held():
        decoder.prefill(0, [5, 6])
        decoder.step([7])
        session, batches = decoder._session, decoder._batches
        decoder.abandon()
    assert [(kept[0] is session, kept[1] is batches) for kept in abandoned] == [(True, True)]
    assert not decoder.lengths.any()
