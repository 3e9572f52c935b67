"""JSON in pieces: the value and the refusals of one call, in calls that are short each."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec, json_pieces
from conduit_lab.serving.json_pieces import LARGE_BYTES, PIECE_BYTES, parse_in_pieces

TEXTS = st.sampled_from(["", "a,b", 'q"\\', "[{", "]},\\\\", ":", "\u00e9\U0001f375", "x" * 30])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**53) | st.floats(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS | st.text(max_size=3), inner),
    max_leaves=60,
)
DAMAGE = ["", ",", "[", "]", "{", "}", '"', ":", "\\", "1", " ", "[1,", '"a":']


def outcome(parse: Any, text: bytes) -> str:
    try:
        return repr(parse(text))
    except ValueError:
        return "refused"


@settings(max_examples=60, deadline=None)
@given(
    value=VALUES,
    indent=st.sampled_from([None, 1]),
    piece=st.sampled_from([4, 8, 16, 40]),
    damages=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(DAMAGE), st.integers(0, 1)), max_size=2
    ),
)
def test_a_text_has_one_value_or_is_refused(
    value: Any, indent: Any, piece: int, damages: list[tuple[float, str, int]]
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    for place, put, taken in damages:
        at = int(place * len(text))
        text = text[:at] + put + text[at + taken :]
    body = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "PIECE_BYTES", piece)
        found = outcome(lambda body: parse_in_pieces(body, orjson.loads), body)
    assert found == outcome(orjson.loads, body)


RANDOM = random.Random(0)
LARGE: dict[str, Any] = {
    "pairs": [[1, 2]] * 150_000,
    "numbers": [RANDOM.random() for _ in range(60_000)],
    "members": {f"k{n}": n for n in range(90_000)},
    "below a key": {"a": 1, "rows": {"x": [{"a": [n]} for n in range(100_000)]}, "b": "]"},
    "a long text": ["a", "b,[" * 500_000, {"c": "d," * 500_000}],
    "deep": [[[[[[[[1] * 1_000_000]]]]]]],
}


@pytest.mark.parametrize("name", LARGE)
def test_no_call_gets_more_than_a_piece(name: str) -> None:
    body = json.dumps(LARGE[name]).encode()
    sizes: list[int] = []

    def parse(text: bytes) -> Any:
        sizes.append(len(text))
        return orjson.loads(text)

    assert len(body) > LARGE_BYTES
    assert parse_in_pieces(body, parse) == LARGE[name]
    longest = 1_600_000 if name == "a long text" else PIECE_BYTES + 2  # a text is one value
    assert max(sizes) <= longest
    assert len(sizes) < 3 * len(body) / PIECE_BYTES + 10


def test_hostile_nesting_is_parsed_in_bounded_time() -> None:
    body = b'[["' + b"a" * PIECE_BYTES + b'"],' + b"[" * 150 + b"1," * 300_000 + b"1"
    body += b"]" * 151
    assert parse_in_pieces(body, orjson.loads) == orjson.loads(body)


@pytest.mark.parametrize("end", [b"]x", b"", b"]]", b"}", b",]", b"] 1", b'"]'])
def test_a_large_text_that_is_no_json_is_refused(end: bytes) -> None:
    body = b"[" + b"1," * 600_000 + b"1" + end
    with pytest.raises(InputError, match="the body is not valid JSON"):
        codec.loads(body)


def test_long_integers_stay_exact_in_large_bodies() -> None:
    numbers = [2**70 + n for n in range(60_000)]
    assert codec.loads(json.dumps(numbers).encode()) == numbers
