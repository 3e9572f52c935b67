"""Prefill: which pending requests start in one run, and with which cached prefix."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.spec import Array
from conduit_lab.models.generation import prefill
from conduit_lab.models.generation.prefill import (
    MAX_PREFILL_PADDING_TOKENS,
    PREFILL_CHUNK_TOKENS,
    PrefillGroup,
    max_run_tokens,
    plan_prefill,
)
from conduit_lab.models.generation.prefix_cache import MIN_PREFIX_TOKENS, PrefixCache
from conduit_lab.runtime.decoding.switches import Switches


def decoder(
    *, merged: bool = False, independent: bool = True, together: bool = True, switch: int = 0
) -> Any:
    return SimpleNamespace(
        io=SimpleNamespace(merged=merged, independent=independent),
        switches=Switches((switch,)) if switch else Switches(),
        batches_prefill=together,
        vocabulary=100,
    )


def request(ids: Sequence[int]) -> Any:
    own = list(ids)
    return SimpleNamespace(prompt=own, pending=own, parent=None, first_scored=len(own) - 1)


def saved(tokens: int) -> list[Array]:
    return [np.zeros(tokens, np.float32)]


def cached(ids: Sequence[int], side: int = 0) -> PrefixCache:
    prefixes = PrefixCache()
    prefixes.insert(list(ids), saved, side)
    return prefixes


def plan(lengths: Sequence[int], limit: int = 10_000, **options: Any) -> list[int]:
    """Return the prompt lengths that start together, for prompts without a common prefix."""
    pending = [request([place] * length) for place, length in enumerate(lengths)]
    group = plan_prefill(pending, decoder(**options), PrefixCache(), limit)
    return [len(each.prompt) for each in group.requests]


def plan_cached(prompt: Sequence[int], prefixes: PrefixCache, **options: Any) -> PrefillGroup:
    return plan_prefill([request(prompt)], decoder(**options), prefixes, 10_000)


def test_cached_prefix_is_used() -> None:
    group = plan_cached([*range(100), 500], cached(range(120)))
    assert (group.cached, group.saved[0].shape) == (100, (120,))


def test_cached_prefix_is_cut_at_a_chunk_if_tokens_are_quantized_together() -> None:
    assert plan_cached([*range(100), 500], cached(range(120)), independent=False).cached == 64
    assert plan_cached([*range(63), 500], cached(range(120)), independent=False).cached == 0


def test_cached_prefix_of_quantized_tokens_reaches_the_side_of_the_prompt() -> None:
    options: dict[str, Any] = {"independent": False, "switch": 80}
    long = [*range(70), *[500] * 40]
    assert plan_cached(long, cached(range(120), side=1), **options).cached == 0
    assert plan_cached([*range(90), 500, 501], cached(range(120), side=1), **options).cached == 64


def test_merged_decoder_has_no_cached_prefix() -> None:
    assert plan_cached(range(100), cached(range(120)), merged=True).cached == 0


def test_request_with_a_cached_prefix_starts_separately() -> None:
    pending = [request([*range(30), 500]), request([7] * 31)]
    group = plan_prefill(pending, decoder(), cached(range(30)), 10_000)
    assert (group.requests, group.cached) == (pending[:1], 30)


def test_shortest_prompt_comes_first() -> None:
    assert plan([22, 20, 21]) == [20, 21, 22]


def test_decoder_without_shared_runs_starts_one() -> None:
    assert plan([20, 20], together=False) == [20]


def test_padding_is_limited() -> None:
    most = 20 + MAX_PREFILL_PADDING_TOKENS
    assert plan([20, most + 1, most]) == [20, most]
    assert plan([20, 20 - MAX_PREFILL_PADDING_TOKENS - 1]) == [20]


def test_tokens_of_a_run_are_limited_with_their_padding() -> None:
    assert plan([20, 24, 20], limit=48) == [20, 24]
    assert plan([20, 24, 20], limit=47) == [20, 20]
    assert plan([20, 24, 20], limit=60) == [20, 24]  # 72 with the padding of both


def test_long_prompts_differ_only_in_later_chunks() -> None:
    assert plan([64, 500, 65]) == [64, 65, 500]


def test_common_prefix_waits_until_it_is_cached() -> None:
    start = list(range(MIN_PREFIX_TOKENS))
    pending = [request([*start, 1]), request([*start, 2]), request([99] * 17)]
    group = plan_prefill(pending, decoder(), PrefixCache(), 10_000)
    assert group.requests == [pending[0], pending[2]]
    known = [request([99] * 31), request([*range(30), 500])]
    assert plan_prefill(known, decoder(), cached(range(30)), 10_000).requests == known[:1]


def test_group_is_on_one_side_of_a_switch() -> None:
    assert plan([20, 22, 21], switch=21) == [20, 21]
    assert plan([22, 20, 23], switch=21) == [22, 23]
    assert plan([120, 121], switch=100) == [120]  # other first chunks


def test_run_is_shorter_for_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max_run_tokens(decoder()) == 256
    monkeypatch.setattr(prefill, "MAX_PREFILL_RUN_LOGITS", 100 * 100)
    assert max_run_tokens(decoder()) == 100
    monkeypatch.setattr(prefill, "MAX_PREFILL_RUN_LOGITS", 1)
    assert max_run_tokens(decoder()) == PREFILL_CHUNK_TOKENS
