"""PrefixCache: which prompts are cached, and the cached prefix of a new one."""

from __future__ import annotations

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.models.generation.prefix_cache import MAX_PREFIXES, MIN_PREFIX_TOKENS, PrefixCache

LONG = list(range(40))


def saved(tokens: int) -> list[Array]:
    return [np.zeros((2, tokens, 4), np.float32)]  # 32 bytes a token


def test_common_prefix_is_cached() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG, saved)
    known, cache = prefixes.find([*range(30), 7, 8])
    assert (known, cache[0].shape) == (30, (2, 40, 4))


def test_last_token_is_never_cached() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG, saved)
    assert prefixes.find(LONG)[0] == 39


def test_longest_common_prefix_is_found() -> None:
    prefixes = PrefixCache()
    prefixes.insert([*range(20), *[99] * 20], saved)
    prefixes.insert([*range(35), *[98] * 5], saved)
    prefixes.insert([*range(25), *[97] * 15], saved)
    assert prefixes.find(LONG)[0] == 35


def test_short_prefix_is_not_cached() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG[: MIN_PREFIX_TOKENS - 1], saved)
    prefixes.insert(LONG, saved)
    assert prefixes.find([*range(MIN_PREFIX_TOKENS - 1), 99, 99])[0] == 0
    assert prefixes.find([5, *LONG])[0] == 0


def test_longer_prompt_replaces_its_prefix() -> None:
    copies: list[int] = []

    def save(tokens: int) -> list[Array]:
        copies.append(tokens)
        return saved(tokens)

    prefixes = PrefixCache(limit=32 * 70)  # not for both
    prefixes.insert(LONG[:30], save)
    prefixes.insert(LONG, save)
    prefixes.insert(LONG[:35], save)  # known already
    assert copies == [30, 40]
    assert prefixes.find([*LONG, 1])[0] == 40


def test_least_recently_used_prefix_is_evicted() -> None:
    prefixes = PrefixCache(limit=32 * 100)
    first, second, third = ([number, *LONG[1:]] for number in (1, 2, 3))
    prefixes.insert(first, saved)
    prefixes.insert(second, saved)
    prefixes.find(first)
    prefixes.insert(third, saved)
    assert [prefixes.find(prompt)[0] for prompt in (first, second, third)] == [39, 0, 39]
    many = PrefixCache()
    for number in range(MAX_PREFIXES + 1):
        many.insert([number, *LONG[1:]], saved)
    assert [many.find([number, *LONG[1:]])[0] for number in (0, 1, MAX_PREFIXES)] == [0, 39, 39]


def test_prefix_of_the_minimum_length_is_cached() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG[:MIN_PREFIX_TOKENS], saved)
    assert prefixes.find(LONG)[0] == MIN_PREFIX_TOKENS


def test_prefix_belongs_to_one_side_of_the_switch_lengths() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG, saved, side=1)
    assert prefixes.find(LONG)[0] == 0
    assert prefixes.find(LONG, side=1)[0] == 39


def test_cleared_cache_is_empty() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG, saved)
    prefixes.clear()
    assert prefixes.find(LONG)[0] == 0
