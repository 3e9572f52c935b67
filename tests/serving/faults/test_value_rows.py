"""Rows 18 to 32 of the faults that the served app survives: values that an endpoint cannot take."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from annotated_types import Ge, Le
from pydantic import Field

from conduit_lab import App, ArrayShape
from conduit_lab.serving.run.thread import Server
from tests.serving.faults.raw import HOST, Answer, ask, is_well, request

Row = Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root: Path = tmp_path_factory.mktemp("values")
    np.savez(
        root / "sign.npz",
        W0=np.array([[1, -1], [1, -1]], np.float32),
        b0=np.zeros(2, np.float32),
        activations=np.array(["softmax"]),
    )
    app = App("desk", root=root, protocols=["stores"])
    app.post("/echo")(lambda value: value)

    @app.post("/rows")
    def rows(rows: Row) -> list[int]:
        return list(rows.shape)

    @app.post("/bytes")
    def numbers(numbers: Annotated[npt.NDArray[np.uint8], ArrayShape("n")]) -> list[int]:
        return [int(number) for number in numbers]

    @app.post("/search")
    def search(query: str, top_k: Annotated[int, Ge(1), Le(100)] = 5) -> int:
        return len(query) + top_k

    @app.post("/tag")
    def tag(tag: Annotated[str, Field(pattern="^(a+)+$")]) -> str:
        return tag[:3]

    @app.ml_stream("/stream")
    def stream(n: Annotated[int, Ge(0), Le(9)]) -> Iterator[int]:
        yield from range(n)

    @app.ml_endpoint("/predict", model=root / "sign.npz")
    def predict(value: dict[str, Any]) -> Any:
        return value["x"]

    @app.ml_endpoint("/predict_array", model=root / "sign.npz")
    def predict_array(value: Any) -> Any:
        return value

    notes = app.vector_store("notes", dimension=2)

    @app.post("/add")
    def add(rows: Row) -> int:
        notes.add_many([f"new-{n}" for n in range(len(rows))], rows)
        return len(notes)

    @app.post("/near")
    def near(query: Annotated[npt.NDArray[np.float32], ArrayShape(2)]) -> Any:
        return [[hit.id, hit.score] for hit in notes.search(query)]

    with Server(app, port=0) as server:
        notes.add_many(["up", "zero"], np.array([[1, 0], [0, 0]], np.float32), [{"n": 1}, {"n": 2}])
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The module's server, which is well before and after each test."""
    assert is_well(running)
    yield running
    assert is_well(running)


def post(server: Server, path: str, body: Any) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(server, request(path, text))


def refused(answer: Answer, *words: str) -> None:
    """Check a 400 with a short message that has these words, and nothing of the server's own."""
    text = answer.body.decode()
    assert answer.status == 400, text
    assert len(text) < 4500
    error = json.loads(text)["error"]
    assert error["type"] == "bad_input"
    for word in words:
        assert word in error["message"], text
    for leak in ("Traceback", "0x", "site-packages", ".py"):
        assert leak not in text


@pytest.mark.parametrize("path", ["/nothing", "/stream/nothing", "/Rows"])
def test_row_18_what_is_not_there_is_a_404(server: Server, path: str) -> None:
    assert post(server, path, {"n": 1}).status == 404


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        ([1, 2], "float32 [2]"),
        ([[1, 2, 3]], "float32 [1, 3]"),
        ([[[1, 2]]], "float32 [1, 1, 2]"),
        ([[1, 2], [3]], "unequal length"),
        (5, "float32 []"),
    ],
)
def test_row_19_a_wrong_rank_or_dimension_names_expected_and_got(
    server: Server, rows: Any, got: str
) -> None:
    refused(post(server, "/rows", {"rows": rows}), "rows: expected float32 [n, 2], got", got)


def test_row_19_a_wrong_dimension_of_a_model_is_a_400(server: Server) -> None:
    refused(post(server, "/predict", {"x": [1, 2, 3]}), "expects")


@pytest.mark.parametrize("numbers", [[300], [-1], [1.5], ["1"], [True, 1], [None], [1e30]])
def test_row_20_a_cast_that_is_not_exact_is_a_400(server: Server, numbers: Any) -> None:
    refused(post(server, "/bytes", {"numbers": numbers}), "numbers: expected uint8 [n], got")


def test_row_20_a_number_beyond_float32_is_a_400(server: Server) -> None:
    refused(post(server, "/rows", {"rows": [[1e300, 0]]}), "float32 cannot hold")


def test_row_22_no_rows_are_an_array_of_the_right_shape(server: Server) -> None:
    answer = post(server, "/rows", {"rows": []})
    assert (answer.status, json.loads(answer.body)) == (200, [0, 2])


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"nan"])
def test_row_23_no_constant_of_another_language_is_json(server: Server, text: bytes) -> None:
    refused(post(server, "/rows", b'{"rows": [[%b, 1]]}' % text), "not valid JSON")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rows": [[1, 2]], "more": 1},
        {"rows": [[1, 2]], **{f"k{n}": n for n in range(100_000)}},
        {"Rows": [[1, 2]]},
    ],
    ids=["missing", "extra", "many extra", "other case"],
)
def test_row_26_missing_and_extra_names_are_a_400(server: Server, body: Any) -> None:
    refused(post(server, "/rows", body))


@pytest.mark.parametrize("top_k", [0, -1, 101, 10**12, 2**63, 2**64, 10**30, 5.5, "5", True, None])
def test_row_27_a_number_outside_its_bounds_is_a_400(server: Server, top_k: Any) -> None:
    refused(post(server, "/search", {"query": "a", "top_k": top_k}), "top_k: ")


def test_row_27_a_stream_refuses_before_it_starts(server: Server) -> None:
    refused(post(server, "/stream", {"n": 10**9}), "n: ")
    refused(ask(server, request("/stream?n=1000000000", method="GET")), "n: ")


def test_row_28_an_empty_and_a_long_text_are_taken_as_they_are(server: Server) -> None:
    assert post(server, "/search", {"query": ""}).body == b"5"
    answer = post(server, "/search", {"query": "x" * 10 * MEBIBYTE})
    assert answer.body == b"%d" % (10 * MEBIBYTE + 5)


def test_row_29_a_pattern_is_bounded_in_time(server: Server) -> None:
    refused(post(server, "/tag", {"tag": "a" * 50_000 + "b"}), "tag: ")
    refused(post(server, "/tag", {"tag": "a" * 5 * MEBIBYTE}), "tag: ")
    assert post(server, "/tag", {"tag": "a" * 50_000}).body == b'"aaa"'


NPY = HOST + b"content-type: application/x-npy\r\n"
SEARCH = "/v1/stores/notes/search"


def post_array(server: Server, path: str, array: Any) -> Answer:
    file = io.BytesIO()
    np.save(file, array)
    return ask(server, request(path, file.getvalue(), NPY))


def near_up(server: Server) -> list[Any]:
    found: list[Any] = json.loads(post(server, "/near", {"query": [1, 0]}).body)
    return found


def test_row_21_a_big_endian_array_gives_the_same_numbers(server: Server) -> None:
    row = np.array([3, 1])
    answers = [
        post_array(server, "/predict_array", row.astype(dtype)).body
        for dtype in ("<f4", ">f4", ">f8", ">i2")
    ]
    assert answers == [post(server, "/predict", {"x": [3, 1]}).body] * 4


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_row_23_what_is_not_finite_enters_no_index_and_finds_nothing(
    server: Server, wrong: float
) -> None:
    before = near_up(server)
    refused(post_array(server, "/add", np.array([[1, 0], [wrong, 1]], np.float32)), "finite")
    refused(post_array(server, "/near", np.array([wrong, 1], np.float32)), "finite")
    assert near_up(server) == before == [["up", 1.0], ["zero", 0.0]]


def test_row_23_a_model_that_gives_nan_answers_null(server: Server) -> None:
    answer = post_array(server, "/predict_array", np.array([np.nan, 1], np.float32))
    assert (answer.status, json.loads(answer.body, parse_constant=pytest.fail)) == (
        200,
        [None, None],
    )


def test_row_24_a_zero_vector_has_a_cosine_of_0(server: Server) -> None:
    answer = post(server, SEARCH, {"query": [0, 0]})
    assert [hit["score"] for hit in json.loads(answer.body)["hits"]] == [0, 0]
    assert near_up(server)[1] == ["zero", 0.0]


def head(shape: str = "(2,)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HEADS = {
    "negative": head("(-1,)"),
    "beyond 64 bits": head("(9223372036854775808, 0)"),
    "an axis of 10**30": head(f"({10**30},)"),
    "empty and too large": head("(0, 4611686018427387904, 4611686018427387904)"),
    "70 axes": head("(" + "1, " * 70 + ")"),
    "a boolean": head("(True,)"),
    "4 TB": head("(1000000000000,)"),
    "power": head("(9**9**9,)"),
    "objects": head(descr="'|O'"),
    "a record": head(descr="[('a', '<f4')]"),
    "no such number": head(descr="'<f3'"),
    "an order of its own": head(order="'C'"),
    "twice": head().replace("fortran_order", "shape"),
    "nested": "(" * 3000,
    "closed": "[" * 2000 + "]" * 2000,
    "minus": "-" * 3000 + "1",
    "attributes": "a" + ".a" * 1900,
    "a call": "__import__('os').abort()",
    "a comment": "#" * 100,
    "blanks": " " * 4000,
    "long": head() + " " * 1_000_000,
    "nothing": "",
}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", HEADS)
def test_row_25_a_hostile_header_of_an_array_is_a_400(
    server: Server, name: str, version: int
) -> None:
    text = HEADS[name].encode()
    length = len(text).to_bytes(2 if version == 1 else 4, "little") if len(text) < 2**16 else b"~~"
    file = b"\x93NUMPY" + bytes([version, 0]) + length + text
    for size in (0, 4, 8):  # bytes of data, as some of the headers ask for
        refused(ask(server, request("/echo", file + bytes(size), NPY)))
    refused(ask(server, request("/rows", file + bytes(8), NPY)))


@pytest.mark.parametrize(
    "where",
    [
        {"n": {"$where": "1"}},
        {"$or": [{"n": n} for n in range(10**5)]},
        {f"k{n}": n for n in range(10**5)},
        {"n": {"$gt": [1]}},
        {"$and": {"n": 1}},
        {"$not": 1},
        ["n"],
        "n = 1",
        7,
    ],
    ids=["operator", "or", "keys", "list", "and", "not", "no object", "text", "number"],
)
def test_row_32_a_hostile_filter_is_a_400(server: Server, where: Any) -> None:
    refused(post(server, SEARCH, {"query": [1, 0], "where": where}))


@pytest.mark.parametrize("depth", [60, 190])
def test_row_32_a_deep_filter_is_a_400(server: Server, depth: int) -> None:
    where = b'{"$not":' * depth + b'{"n":1}' + b"}" * depth
    refused(post(server, SEARCH, b'{"query":[1,0],"where":' + where + b"}"))
