"""Typed parameters: repeated keys of a query, arrays with a shape, files, forms, patterns."""

from __future__ import annotations

import base64
import datetime
import enum
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import BaseModel, ConfigDict, Field

from conduit_lab import App, ArrayShape, File
from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.serving import codec
from conduit_lab.serving.json_validation import MAX_PATTERN_CHARACTERS
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.signature import Signature
from tests.serving.conftest import Ask

Rows = Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Order(BaseModel):
    item: str
    count: int = 1


class Words(TypedDict):
    text: str
    count: NotRequired[int]


def signature(function: Any, method: str = "POST", path: str = "/f") -> Signature:
    return Signature(function, path, method, name="f")


# Queries


def tags(tag: list[str]) -> Any:
    return tag


def numbers(n: list[int], exact: bool = False) -> Any:
    return [n, exact]


def levels(level: Level, kind: Literal[1, 2] = 1, n: int | None = None) -> Any:
    return [level, kind, n]


def mixed(kind: Literal["a", 1, True]) -> Any:
    return [kind]


def matrix(rows: Rows) -> Any:
    return rows


def order(order: Order, name: str = "") -> Any:
    return [order, name]


@pytest.mark.parametrize(
    ("function", "query", "answer"),
    [
        (tags, "tag=a&tag=b", ["a", "b"]),
        (tags, "tag=a", ["a"]),
        (tags, "tag=5", ["5"]),
        (numbers, "n=1&n=2&exact=true", [[1, 2], True]),
        (numbers, "n=[1,2]", [[1, 2], False]),
        (levels, "level=2&kind=2&n=7", [2, 2, 7]),
        (mixed, "kind=a", ["a"]),
        (mixed, "kind=1", [1]),
        (mixed, "kind=true", [True]),
        (matrix, "rows=[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        (order, 'order={"item":"pan"}&name=a%20b', [{"item": "pan", "count": 1}, "a b"]),
    ],
)
@pytest.mark.parametrize("shape", ["value", "stream"])
def test_a_query_gives_typed_values(
    app: App, asking: Ask, function: Any, query: str, answer: Any, shape: str
) -> None:
    if shape == "value":
        app.get("/f")(function)
    else:
        app.ml_stream("/f")(_streaming(function))
    got = asking(app).get(f"/f?{query}")
    assert got.status_code == 200, got.text
    value = got.json() if shape == "value" else codec.loads(_data(got.text))
    assert value == answer


def _streaming(function: Any) -> Any:
    @functools.wraps(function)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield function(*args, **kwargs)

    return stream


def _data(text: str) -> bytes:
    return next(line[6:].encode() for line in text.split("\n") if line.startswith("data: "))


@pytest.mark.parametrize(
    ("function", "query", "message"),
    [
        (numbers, "n=a", "n.0: expected a valid integer, got 'a'"),
        (numbers, "n=1.5", "n.0: expected a valid integer"),
        (numbers, "n=1&exact=1", "exact: expected a valid boolean"),
        (levels, "level=3", "level: expected 1 or 2, got 3"),
        (levels, "level=1&level=2", "level: expected"),
        (matrix, "rows=1", "rows: expected float32 [n, 2], got"),
        (tags, "", "tag: Field required"),
        (tags, "tag=a&other=1", "other: Extra inputs are not permitted"),
    ],
)
def test_a_query_that_does_not_fit_is_a_400(
    app: App, asking: Ask, function: Any, query: str, message: str
) -> None:
    app.get("/f")(function)
    got = asking(app).get(f"/f?{query}")
    assert got.status_code == 400
    assert message in got.json()["error"]["message"]


@pytest.mark.parametrize("shape", ["post", "ml_stream"])
def test_the_query_of_a_post_gives_no_arguments(app: App, asking: Ask, shape: str) -> None:
    getattr(app, shape)("/f")(tags)
    client = asking(app)
    assert client.post("/f?tag=a").status_code in (400, 415)
    assert client.post("/f?tag=a", json={}).status_code == 400


def test_a_get_call_is_recorded_with_a_query_that_gives_it_again() -> None:
    payload = {"n": [1, 2], "exact": True, "order": {"item": "a"}, "text": "ä b", "none": None}
    example = Example("GET", "/f/{kind}", "value", payload, None, path_params={"kind": True})
    assert example.target == (
        "/f/true?n=1&n=2&exact=true&order=%7B%22item%22%3A%22a%22%7D&text=%C3%A4+b&none=null"
    )


# Bodies


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551616", 2**64),
        ("-9223372036854775809", -(2**63) - 1),
        ("[1, 123456789012345678901234567890]", [1, 123456789012345678901234567890]),
        ('{"a": 0.1234567890123456789, "b": 18446744073709551615}', None),
        ("0.12345678901234567890", 0.12345678901234568),
        ("12345678901234567890.5", 12345678901234567890.5),
        ('"12345678901234567890"', "12345678901234567890"),
    ],
)
def test_integers_stay_integers(text: str, value: Any) -> None:
    loaded = codec.loads(text.encode())
    expected = json.loads(text) if value is None else value
    assert (loaded, type(loaded)) == (expected, type(expected))


def test_an_integer_without_end_and_a_constant_are_refused() -> None:
    for text in ("1" * 5000, "[NaN, 12345678901234567890123]", "[1" * 2000):
        with pytest.raises(InputError, match="not valid JSON"):
            codec.loads(text.encode())


def test_a_large_integer_reaches_the_handler(app: App, asking: Ask) -> None:
    @app.post("/f")
    def f(n: int) -> str:
        return str(n)

    assert asking(app).post("/f", json={"n": 2**70}).json() == str(2**70)


def test_a_dataclass_and_a_typed_dict_take_the_whole_body(app: App, asking: Ask) -> None:
    @app.post("/words")
    def words(words: Words) -> Any:
        return words["text"] * words.get("count", 1)

    assert asking(app).post("/words", json={"text": "a", "count": 2}).json() == "aa"
    assert asking(app).post("/words", json={"count": 2}).status_code == 400


def test_times_are_times(app: App, asking: Ask) -> None:
    @app.post("/year")
    def year(at: datetime.datetime, days: list[datetime.date]) -> list[int]:
        return [at.year, *(day.day for day in days)]

    body = {"at": "2026-11-30T10:00:00Z", "days": ["2026-01-02"]}
    assert asking(app).post("/year", json=body).json() == [2026, 2]
    at, day = datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 2)
    assert year(at, [day]) == [2026, 2]
    assert asking(app).post("/year", json={**body, "at": 5}).status_code == 400


# Arrays


def test_lists_become_float32_arrays(app: App, asking: Ask) -> None:
    seen = []

    @app.post("/f")
    def f(rows: Rows) -> Any:
        seen.append(rows)
        return rows.sum()

    assert asking(app).post("/f", json={"rows": [[1, 2], [3, 4.5]]}).json() == 10.5
    assert f(np.array([[1.0, 2.0]])) == 3
    assert f([[1, 2]]) == 3  # type: ignore[arg-type]
    assert [a.shape for a in seen] == [(2, 2), (1, 2), (1, 2)]
    assert {str(a.dtype) for a in seen} == {"float32"}


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        ([1, 2], "float32 [2]"),
        ([[1, 2, 3]], "[1, 3]"),
        ([[1, 2], [3]], "lists of unequal length or depth"),
        ([["1", "2"]], "values that are not numbers"),
        ([[None, 2]], "values that are not numbers"),
        ([[True, 2]], "numbers and booleans"),
        ([[1e300, 2]], "a number that float32 cannot hold"),
        ("text", "a string"),
        ({"a": 1}, "an object"),
        (None, "null"),
        (np.zeros((1, 3)), "float32 [1, 3]"),
        (np.array([["a", "b"]]), "<U1 [1, 2]"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_a_wrong_array_names_expected_and_got(rows: Any, got: str, beside: bool) -> None:
    def alone(rows: Rows) -> None: ...
    def among(rows: Rows, name: str = "") -> None: ...

    made = signature(among if beside else alone)
    with pytest.raises(InputError) as caught:
        if isinstance(rows, np.ndarray):
            made.from_call((rows,), {})
        else:
            made.from_http({"headers": []}, codec.dumps({"rows": rows}))
    assert "rows: expected float32 [n, 2], got " in str(caught.value)
    assert got in str(caught.value)


def test_integers_of_an_array_are_exact() -> None:
    def f(x: Annotated[npt.NDArray[np.uint8], ArrayShape("n")]) -> None: ...

    made = signature(f)
    assert made.from_http({"headers": []}, b'{"x": [1, 2.0, 255]}').kwargs["x"].dtype == np.uint8
    for wrong in (b"[256]", b"[-1]", b"[0.5]", b"[1e30]"):
        with pytest.raises(InputError, match="expected uint8"):
            made.from_http({"headers": []}, b'{"x": %b}' % wrong)


def test_a_foreign_byte_order_is_converted() -> None:
    def f(x: npt.NDArray[np.float32]) -> None: ...

    bound = signature(f).from_call((np.array([1, 2], ">f4"),), {}).kwargs["x"]
    assert bound.dtype.isnative
    assert bound.tolist() == [1, 2]


def test_an_array_without_a_shape_takes_any_and_one_of_text_is_refused() -> None:
    def f(
        x: npt.NDArray[np.int64], y: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    ) -> Any: ...

    bound = signature(f).from_http({"headers": []}, b'{"x": [[1]], "y": [[1], [2]]}').kwargs
    assert bound["x"].dtype == np.int64
    with pytest.raises(InputError, match=r"y: expected float64 \[axis_0, axis_1\]"):
        signature(f).from_http({"headers": []}, b'{"x": 1, "y": [1]}')

    def g(x: npt.NDArray[np.str_]) -> None: ...

    with pytest.raises(EndpointError, match="expects numbers or booleans"):
        signature(g)
    with pytest.raises(EndpointError, match="ArrayShape expects"):
        ArrayShape(-1)


# Files and forms


def upload(photo: File, n: int = 1, tags: list[str] = [], rows: Rows | None = None) -> Any:  # noqa: B006
    return [photo.name, photo.content_type, photo.data.decode(), n, tags, rows]


def test_the_fields_of_a_form_are_typed() -> None:
    photo = File("a.txt", "text/plain", b"hi")
    fields = {"photo": photo, "n": "3", "tags": ["x", "5"], "rows": "[[1,2]]"}
    bound = signature(upload).from_form(fields, {}).kwargs
    assert bound["photo"] == photo
    assert (bound["n"], bound["tags"], bound["rows"].tolist()) == (3, ["x", "5"], [[1, 2]])
    for wrong in ({"photo": "text"}, {"photo": photo, "n": "x"}, {"photo": photo, "z": "1"}):
        with pytest.raises(InputError):
            signature(upload).from_form(wrong, {})


def test_a_form_is_the_fields_of_a_model() -> None:
    def f(order: Order) -> None: ...

    bound = signature(f).from_form({"item": "5", "count": "2"}, {}).kwargs["order"]
    assert (bound.item, bound.count) == ("5", 2)


def test_a_file_comes_in_json_too_and_from_python(app: App, asking: Ask, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("hi")
    photo = File.read(path)
    endpoint = app.post("/f")(upload)
    expected = ["a.txt", "text/plain", "hi", 1, [], None]
    assert endpoint(photo) == expected
    body = {"photo": {"name": "a.txt", "content_type": "text/plain", "data": "aGk="}}
    assert asking(app).post("/f", json=body).json() == expected
    assert codec.loads(codec.dumps(photo)) == body["photo"]
    assert base64.b64decode("aGk=") == photo.data
    for wrong in ({"data": "a"}, {"name": "x"}, {"data": "", "path": "/etc"}, {"data": 5}):
        assert asking(app).post("/f", json={"photo": wrong}).status_code == 400


def test_one_array_that_is_no_object_is_the_only_parameter() -> None:
    def f(rows: Rows) -> None: ...

    assert signature(f).from_value(np.ones((2, 2))).kwargs["rows"].shape == (2, 2)
    with pytest.raises(InputError, match="expects an object with rows"):
        signature(f).from_value([[1, 2]])


# Costs


def test_a_pattern_runs_in_linear_time_on_a_bounded_text() -> None:
    def f(text: Annotated[str, Field(pattern="^(a+)+$")]) -> None: ...

    made = signature(f)
    with pytest.raises(InputError, match="a match of the pattern"):
        made.from_http({"headers": []}, codec.dumps({"text": "a" * 90_000 + "b"}))
    with pytest.raises(InputError, match=f"at most {MAX_PATTERN_CHARACTERS}"):
        made.from_http({"headers": []}, codec.dumps({"text": "a" * (MAX_PATTERN_CHARACTERS + 1)}))
    assert made.schema()["properties"]["text"]["maxLength"] == MAX_PATTERN_CHARACTERS


class Backtracking(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    text: str = Field(pattern="^(a+)+$")


COSTLY: list[Any] = [
    Annotated[str, Field(pattern=re.compile("^(a+)+$"))],
    list[Backtracking],
    Annotated[str, Field(pattern="(?=a)b")],
]


@pytest.mark.parametrize("kind", COSTLY, ids=["compiled", "python-re", "look-ahead"])
def test_a_costly_pattern_is_refused_when_the_endpoint_is_registered(kind: Any) -> None:
    def f(text: Any) -> None: ...

    f.__annotations__["text"] = kind
    with pytest.raises(EndpointError):
        signature(f)


def test_a_type_without_a_validator_takes_its_instances_in_python_alone() -> None:
    class Own: ...

    def f(own: Any, n: int = 1) -> None: ...

    f.__annotations__["own"] = Own
    made, own = signature(f), Own()
    assert made.from_call((own,), {}).kwargs["own"] is own
    assert made.schema()["properties"]["own"] == {}
    with pytest.raises(InputError):
        made.from_http({"headers": []}, b'{"own": 1}')


# Schemas


def test_parameters_name_their_place() -> None:
    def f(shelf: int, tag: list[str], rows: Rows, n: int = 1) -> None: ...

    def place(method: str) -> list[tuple[str, str, bool, str]]:
        made = signature(f, method, "/f/{shelf:int}")
        return [(p.name, p.place, p.required, p.texts) for p in made.parameters]

    assert place("GET") == [
        ("shelf", "path", True, "text"),
        ("tag", "query", True, "list"),
        ("rows", "query", True, "json"),
        ("n", "query", False, "text"),
    ]
    assert [each[1] for each in place("POST")] == ["path", "body", "body", "body"]


def test_the_answer_has_a_schema_where_its_type_says_one(app: App) -> None:
    @app.post("/a")
    def a() -> Words: ...  # type: ignore[empty-body]
    @app.ml_stream("/b")
    def b() -> Iterator[Order]:
        yield Order(item="a")

    @app.post("/c")
    def c() -> Any: ...
    @app.post("/d")
    def d() -> int | Any: ...
    @app.ml_ensemble("/e", models=[len, len, len])
    def e(predictions: Any) -> list[int]: ...  # type: ignore[empty-body]
    @app.ml_endpoint("/g", model=len)
    def g(text: str) -> str:
        return text

    schemas = {x.name: x.signature.answer_schema() for x in app.endpoints}
    assert schemas["a"] is not None and schemas["a"]["required"] == ["text"]
    assert schemas["b"] is not None and schemas["b"]["required"] == ["item"]
    assert schemas["e"] == {"type": "array", "items": {"type": "integer"}}
    assert [schemas[name] for name in "cdg"] == [None, None, None]
