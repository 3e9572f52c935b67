"""JSON text becomes values: integers of any length stay exact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conduit_lab.serving import codec

LARGE = 2**64 + 1


@pytest.mark.parametrize("number", [LARGE, -(2**63) - 1, 10**19, 10**300, 2**63 - 1, 0])
@pytest.mark.parametrize(
    "place",
    [
        lambda n: n,
        lambda n: [n],
        lambda n: [1.5, True, n],
        lambda n: [[1.5], [0.25, n]],
        lambda n: [[1.5], n],
        lambda n: [[[n]]],
        lambda n: ["text", n],
        lambda n: [1.5, None, n],
        lambda n: {"a": [1.5, n]},
        lambda n: {"a": [1.5], "b": {"c": [[n], [1]]}},
        lambda n: {"a": n},
        lambda n: {str(key): [key, n] for key in range(20)},
        lambda n: [{"a": n}],
    ],
)
def test_an_integer_stays_exact_wherever_it_is(place: Any, number: int) -> None:
    value = place(number)
    got = codec.loads(json.dumps(value).encode())
    assert got == value
    assert repr(got) == repr(value)  # 2.0**64 equals 2**64


@pytest.mark.parametrize("text", ["1e30", "[1e30]", "[[1.5, -1e300]]", "[0.1234567890123456789]"])
def test_a_float_stays_one(text: str) -> None:
    assert repr(codec.loads(text.encode())) == repr(json.loads(text))
