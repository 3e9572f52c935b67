"""Prefixes: which prompts are kept, and what of a new one is known."""

from __future__ import annotations

import numpy as np

from conduit_lab.core.spec import Array
from conduit_lab.models.generation.prefix_cache import MAX_PREFIXES, MIN_PREFIX_TOKENS, PrefixCache

LONG = list(range(40))


def saved(tokens: int) -> list[Array]:
    return [np.zeros((2, tokens, 4), np.float32)]  # 32 bytes a token


def test_what_two_prompts_begin_with_alike_is_known() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG, saved)
    known, cache = prefixes.find([*range(30), 7, 8])
    assert (known, cache[0].shape) == (30, (2, 40, 4))


def test_of_the_same_prompt_all_but_the_last_token_is_known() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG, saved)
    assert prefixes.find(LONG)[0] == 39


def test_the_prompt_that_has_most_in_common_is_found() -> None:
    prefixes = PrefixCache()
    prefixes.insert([*range(20), *[99] * 20], saved)
    prefixes.insert([*range(35), *[98] * 5], saved)
    prefixes.insert([*range(25), *[97] * 15], saved)
    assert prefixes.find(LONG)[0] == 35


def test_a_few_tokens_are_not_worth_it() -> None:
    prefixes = PrefixCache()
    prefixes.insert(LONG[: MIN_PREFIX_TOKENS - 1], saved)
    prefixes.insert(LONG, saved)
    assert prefixes.find([*range(MIN_PREFIX_TOKENS - 1), 99, 99])[0] == 0
    assert prefixes.find([5, *LONG])[0] == 0


def test_a_longer_prompt_takes_the_place_of_its_begin() -> None:
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


def test_beyond_the_limits_the_one_that_was_not_used_for_longest_goes() -> None:
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
