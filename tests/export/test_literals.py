"""Literals, secrets and the statements of a session, each by itself."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.export.literals import is_literal, literal, same_literal
from conduit_lab.export.secret import MIN_SECRET_CHARACTERS, looks_secret

literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Color(IntEnum):
    RED = 1


@settings(max_examples=100, deadline=None)
@given(literals)
def test_the_source_of_a_literal_gives_the_literal(value: Any) -> None:
    assert is_literal(value)
    assert same_literal(ast.literal_eval(literal(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [math.nan],
        {"a": math.inf},
        {(1, 2): 3, (math.nan,): 1},
        Color.RED,
        [Color.RED],
        {2, Color.RED},
        object(),
        {1: object()},
    ],
)
def test_other_values_are_no_literals(value: Any) -> None:
    assert not is_literal(value)


def test_a_container_inside_itself_is_no_literal() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert not is_literal(value)


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_a_literal_has_at_most_twenty_levels(wrap: Callable[[Any], Any]) -> None:
    value: Any = 1
    for _ in range(20):
        value = wrap(value)
    assert is_literal(value)
    assert not is_literal(wrap(value))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("a", b"a"),
        ([1], (1,)),
        ([1], [1, 1]),
        ([1, [2]], [1, [True]]),
        ({"a": 1}, {"a": True}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1}, {True}),
        ({1}, frozenset({1})),
        (None, False),
    ],
)
def test_literals_of_other_type_value_or_order_differ(a: Any, b: Any) -> None:
    assert same_literal(a, b) is False
    assert same_literal(a, a)
    assert same_literal(b, b)


@pytest.mark.parametrize("order", [list("abcdefgh"), list("hgfedcba")])
def test_sets_have_no_order(order: list[str]) -> None:
    assert same_literal(set(order), set("abcdefgh"))


# Secrets


@pytest.mark.parametrize("length", [MIN_SECRET_CHARACTERS - 1, MIN_SECRET_CHARACTERS])
def test_a_secret_has_at_least_eight_characters(length: int) -> None:
    assert looks_secret("password", "x" * length, {}) is (length == 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("api_key", True),
        ("apikey", True),
        ("OPENAI_API_KEY", True),
        ("client_secret", True),
        ("passwords", True),
        ("db_passwd", True),
        ("token", True),
        ("credentials", True),
        ("key", False),
        ("secretary", False),
        ("token_count", False),
        ("text", False),
    ],
)
def test_a_secret_is_known_by_its_name(name: str, expected: bool) -> None:
    assert looks_secret(name, "0123456789", {}) is expected


def test_a_secret_is_known_by_the_environment() -> None:
    environ = {"SHOP_TOKEN": "kettle-pan", "HOME": "home-of-shop"}
    assert looks_secret("x", "kettle-pan", environ)
    assert looks_secret("x", ["a", ("kettle-pan",)], environ)
    assert not looks_secret("x", "home-of-shop", environ)
    assert not looks_secret("x", "kettle-pans", environ)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": "0123456789", "user": "0123456789"}, True),
        ({"db": {"auth": [{"token": "0123456789"}]}}, True),
        ({"password": 123456789}, False),
        ({"user": "0123456789"}, False),
        ([{"secret": "short"}], False),
        (b"0123456789", False),
    ],
)
def test_a_secret_is_found_inside_containers(value: Any, expected: bool) -> None:
    assert looks_secret("config", value, {}) is expected
