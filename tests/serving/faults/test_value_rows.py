"""Rows 18 to 29 of the faults that the served app survives: values that an endpoint cannot take."""

from __future__ import annotations

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
from tests.serving.faults.raw import Answer, ask, is_well, request

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
    app = App("desk", root=root)
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

    with Server(app, port=0) as server:
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
def test_18_what_is_not_there_is_a_404(server: Server, path: str) -> None:
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
def test_19_a_wrong_rank_or_dimension_names_expected_and_got(
    server: Server, rows: Any, got: str
) -> None:
    refused(post(server, "/rows", {"rows": rows}), "rows: expected float32 [n, 2], got", got)


def test_19_a_wrong_dimension_of_a_model_is_a_400(server: Server) -> None:
    refused(post(server, "/predict", {"x": [1, 2, 3]}), "expects")


@pytest.mark.parametrize("numbers", [[300], [-1], [1.5], ["1"], [True, 1], [None], [1e30]])
def test_20_a_cast_that_is_not_exact_is_a_400(server: Server, numbers: Any) -> None:
    refused(post(server, "/bytes", {"numbers": numbers}), "numbers: expected uint8 [n], got")


def test_20_a_number_beyond_float32_is_a_400(server: Server) -> None:
    refused(post(server, "/rows", {"rows": [[1e300, 0]]}), "float32 cannot hold")


def test_22_no_rows_are_an_array_of_the_right_shape(server: Server) -> None:
    answer = post(server, "/rows", {"rows": []})
    assert (answer.status, json.loads(answer.body)) == (200, [0, 2])


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"nan"])
def test_23_no_constant_of_another_language_is_json(server: Server, text: bytes) -> None:
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
def test_26_missing_and_extra_names_are_a_400(server: Server, body: Any) -> None:
    refused(post(server, "/rows", body))


@pytest.mark.parametrize("top_k", [0, -1, 101, 10**12, 2**63, 2**64, 10**30, 5.5, "5", True, None])
def test_27_a_number_outside_its_bounds_is_a_400(server: Server, top_k: Any) -> None:
    refused(post(server, "/search", {"query": "a", "top_k": top_k}), "top_k: ")


def test_27_a_stream_refuses_before_it_starts(server: Server) -> None:
    refused(post(server, "/stream", {"n": 10**9}), "n: ")
    refused(ask(server, request("/stream?n=1000000000", method="GET")), "n: ")


def test_28_an_empty_and_a_long_text_are_taken_as_they_are(server: Server) -> None:
    assert post(server, "/search", {"query": ""}).body == b"5"
    answer = post(server, "/search", {"query": "x" * 10 * MEBIBYTE})
    assert answer.body == b"%d" % (10 * MEBIBYTE + 5)


def test_29_a_pattern_is_bounded_in_time(server: Server) -> None:
    refused(post(server, "/tag", {"tag": "a" * 50_000 + "b"}), "tag: ")
    refused(post(server, "/tag", {"tag": "a" * 5 * MEBIBYTE}), "tag: ")
    assert post(server, "/tag", {"tag": "a" * 50_000}).body == b'"aaa"'
