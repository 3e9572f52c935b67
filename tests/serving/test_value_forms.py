"""One encoder: a value has the same JSON as an answer, as a chunk of a stream and as an example.

Row 88: frames, generators, maps, bytes, timestamps as answers.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from conduit_lab import Lab
from conduit_lab.core.streams.media import png
from conduit_lab.serving import codec
from conduit_lab.serving.recorded import Example

STAMP = pd.Timestamp("2024-05-01 12:30")
PIXELS = np.arange(4, dtype=np.uint8).reshape(2, 2)


class Color(enum.Enum):
    RED = "red"
    WHEN = dt.date(2024, 5, 1)


class Hit(NamedTuple):
    name: str
    when: Any


class Card(BaseModel):
    title: str = Field(alias="Title")
    price: Decimal
    when: dt.datetime


@dataclasses.dataclass
class Item:
    name: str
    vector: Any


class Tensor:
    """An array of another library."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array([1.5, 2.5], dtype)


Pair = namedtuple("Pair", ["x", "y"])


def media_of(data: bytes, kind: str) -> dict[str, str]:
    return {"type": kind, "base64": base64.b64encode(data).decode()}


# a function that makes the value, since an iterator can be read once, and its form
FORMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "frame": (
        lambda: pd.DataFrame({"n": [1, 2], "t": [STAMP, pd.NaT], "x": [0.5, math.nan]}),
        [{"n": 1, "t": "2024-05-01T12:30:00", "x": 0.5}, {"n": 2, "t": None, "x": None}],
    ),
    "empty frame": (lambda: pd.DataFrame({"n": []}), []),
    "series": (lambda: pd.Series([1, 2], index=["a", 3]), {"a": 1, "3": 2}),
    "timestamps": (lambda: pd.Series([STAMP]), {"0": "2024-05-01T12:30:00"}),
    "index": (lambda: pd.Index([1, 2]), [1, 2]),
    "NA": (lambda: [pd.NA, pd.NaT, None], [None, None, None]),
    "datetime": (
        lambda: dt.datetime(2024, 5, 1, 1, 2, 3, 4, dt.UTC),
        "2024-05-01T01:02:03.000004+00:00",
    ),
    "date": (lambda: dt.date(2024, 5, 1), "2024-05-01"),
    "time": (lambda: dt.time(1, 2), "01:02:00"),
    "time with a zone": (lambda: dt.time(1, 2, tzinfo=dt.UTC), "01:02:00+00:00"),
    "timedelta": (lambda: dt.timedelta(days=1, seconds=2), "P1DT2S"),
    "pandas timedelta": (lambda: pd.Timedelta(days=1, seconds=2), "P1DT2S"),
    "decimal": (lambda: [Decimal("1.50"), Decimal("NaN")], ["1.50", None]),
    "uuid": (lambda: uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "enum": (lambda: [Color.RED, Color.WHEN], ["red", "2024-05-01"]),
    "path": (lambda: PurePosixPath("a/b"), "a/b"),
    "bytes": (lambda: b"OggS", media_of(b"OggS", "audio/ogg")),
    "bytearray": (lambda: bytearray(b"\0"), media_of(b"\0", "application/octet-stream")),
    "memoryview": (lambda: memoryview(b"\0"), media_of(b"\0", "application/octet-stream")),
    "image": (lambda: PIXELS, media_of(png(PIXELS), "image/png")),
    "numbers": (lambda: PIXELS.astype(int), [[0, 1], [2, 3]]),
    "float32": (lambda: np.array([0.1, math.nan], np.float32), [0.1, None]),
    "scalar": (lambda: [np.float32(0.1), np.int8(1), np.bool_(True)], [0.1, 1, True]),
    "0-d array": (lambda: np.array(1.5), 1.5),
    "strided": (lambda: np.arange(4)[::2], [0, 2]),
    "big-endian": (lambda: np.array([1.5], ">f4"), [1.5]),
    "longdouble": (lambda: np.array([1.5], np.longdouble), [1.5]),
    "datetime64": (
        lambda: np.array(["2024-05-01", "NaT"], "datetime64[ns]"),
        ["2024-05-01T00:00:00", None],
    ),
    "datetime64 scalar": (lambda: np.datetime64("2024-05-01"), "2024-05-01T00:00:00"),
    "timedelta64": (lambda: np.array([1, "NaT"], "timedelta64[s]"), ["PT1S", None]),
    "structured": (
        lambda: np.array([(1, "a")], [("n", "i4"), ("name", "U1")]),
        [{"n": 1, "name": "a"}],
    ),
    "texts": (lambda: np.array(["a", "b"]), ["a", "b"]),
    "objects": (lambda: np.array([STAMP, None], object), ["2024-05-01T12:30:00", None]),
    "set": (lambda: {2, 1}, [1, 2]),
    "mixed set": (lambda: frozenset({"a", 1}), [1, "a"]),
    "generator": (lambda: (n * n for n in range(3)), [0, 1, 4]),
    "map": (lambda: map(str, [1, 2]), ["1", "2"]),
    "deep generator": (
        lambda: {"rows": [{"n": iter([1, b"\0"])}]},
        {"rows": [{"n": [1, media_of(b"\0", "application/octet-stream")]}]},
    ),
    "range": (lambda: range(2), [0, 1]),
    "views": (lambda: {"a": {"n": 1}.keys()}, {"a": ["n"]}),
    "deque": (lambda: deque([1, (2,)]), [1, [2]]),
    "mapping": (lambda: UserDict({"a": OrderedDict(b=1)}), {"a": {"b": 1}}),
    "named tuple": (lambda: [Hit("a", STAMP)], [{"name": "a", "when": "2024-05-01T12:30:00"}]),
    "collections' own": (lambda: Pair(1, 2), {"x": 1, "y": 2}),
    "model": (
        lambda: Card(Title="a", price=Decimal("1.5"), when=dt.datetime(2024, 5, 1)),
        {"Title": "a", "price": "1.5", "when": "2024-05-01T00:00:00"},
    ),
    "dataclass": (
        lambda: Item("a", np.array([0.1], np.float32)),
        {"name": "a", "vector": [0.1]},
    ),
    "tensor": (lambda: {"t": Tensor()}, {"t": [1.5, 2.5]}),
    "keys": (
        lambda: {2: "a", None: "b", True: "c", np.int64(7): "d", dt.date(2024, 5, 1): "e"},
        {"2": "a", "null": "b", "true": "c", "7": "d", "2024-05-01": "e"},
    ),
    "lone surrogate": (lambda: {"a": "\ud800", "x": math.nan}, {"a": "\ud800", "x": None}),
    "big number": (
        lambda: [2**70, np.array([0.1], np.float32), STAMP],
        [2**70, [0.1], "2024-05-01T12:30:00"],
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_value_has_its_form(name: str) -> None:
    make, form = FORMS[name]
    assert json.loads(codec.dumps(make())) == form
    assert json.loads(codec.dumps({"in": [make()]})) == {"in": [form]}
    # on the slow way too, and no iterator is read before it is taken
    assert json.loads(codec.dumps([make(), 2**70])) == [form, 2**70]


def test_answer_stream_and_example_are_the_same(lab: Lab) -> None:
    """Every form at once, through each of its ways."""
    made: list[Callable[[], Any]] = [make for make, _ in FORMS.values()]
    forms = [form for _, form in FORMS.values()]

    @lab.get("/answer/{n}")
    def answer(n: int) -> Any:
        return made[n]()

    @lab.get("/async/{n}")
    async def awaited(n: int) -> Any:
        return made[n]()

    @lab.ml_stream("/stream")
    def stream() -> Iterator[Any]:
        yield from (make() for make in made)

    with TestClient(lab) as client:
        for path in ("/answer", "/async"):
            assert [client.get(f"{path}/{n}").json() for n in range(len(made))] == forms
        lines = client.get("/stream").text.splitlines()
    assert [json.loads(line[6:]) for line in lines if line.startswith("data: ")] == forms
    last = len(made) - 1
    answer(last)
    stream().result(30)
    recorded = {example.path: example.answer for example in lab.examples}
    assert recorded["/answer/{n}"] == forms[last]
    assert recorded["/stream"] == forms
    for example in lab.examples:
        assert Example.from_json(example.to_json().encode().decode()).answer == example.answer


_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.sampled_from([*Color, pd.NaT, pd.NA, STAMP, np.float32(0.1), PIXELS, Hit("a", None)])
    | st.lists(st.floats(width=32), max_size=3).map(lambda x: np.array(x, np.float32))
)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
        | inner.map(lambda value: Item("a", value))
        | inner.map(lambda value: Hit("a", value))
    ),
    max_leaves=8,
)


@given(value=_values)
@settings(max_examples=150, deadline=None)
def test_the_fast_and_the_slow_encoder_agree(value: Any) -> None:
    fast = codec.dumps(value)
    json.loads(fast, parse_constant=_refuse)
    slow = codec.dumps([iter([value])])  # an iterator takes the slow way
    assert json.loads(slow, parse_constant=_refuse) == [[json.loads(fast)]]


def _refuse(name: str) -> None:
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "no JSON form for object at value: return dicts"),
        ({"a": [1, {"b": 1j}]}, r"no JSON form for complex at value\['a'\]\[1\]\['b'\]"),
        ([Item("a", object())], r"no JSON form for object at value\[0\]\['vector'\]"),
        ([Hit("a", {1, 2j})], r"no JSON form for complex at value\[0\]\['when'\]\[\d\]"),
        (pd.DataFrame({"a": [object()]}), r"no JSON form for object at value\[0\]\['a'\]"),
        (np.array([1j]), r"no JSON form for ndarray at value"),
        ({(1, 2): 3}, r"no JSON form for the key \(1, 2\) in value: object keys must be"),
        (int, "no JSON form for type at value"),
    ],
)
def test_a_value_without_a_form_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        codec.dumps(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="contains itself"):
        codec.dumps(value)


def test_an_error_of_a_users_class_is_not_taken_for_a_missing_form() -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise TypeError("the user's own")

    with pytest.raises(TypeError, match="the user's own"):
        codec.dumps({"a": Broken()})
