"""Array text: arrays parsed from JSON text equal those made of its lists."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from conduit_lab import App
from conduit_lab.core.errors import InputError
from conduit_lab.serving import array_text, codec
from conduit_lab.serving.array_shape import ArrayShape, ArrayType
from conduit_lab.serving.array_text import MIN_ARRAY_TEXT_BYTES, array_arguments
from conduit_lab.serving.request import Request
from tests.serving.asgi import JSON, ask

DEPTH = 64
DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int64", "uint64"]
FINITE: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 255, 256, 2**53 + 1, -0.0, 65519.9, 65520, 1e39, 5e-324]),
)
ITEMS = NUMBERS | st.booleans() | st.none() | st.just("1") | st.just({"a": 1})
VALUES = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=4), max_leaves=12) | (
    st.recursive(ITEMS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
)


def converted(kind: ArrayType, value: Any) -> tuple[str, Any]:
    """Return the dtype, shape and numbers of a converted value, or its error."""
    try:
        array = kind.convert(value)
    except InputError as error:
        return "error", str(error)
    return f"{array.dtype} {array.shape}", array.tobytes()


@settings(max_examples=400, deadline=None)
@given(VALUES, st.sampled_from(DTYPES), st.sampled_from([None, ("n",), ("n", 2), (2, "m", 1)]))
def test_any_value_is_converted_as_that_of_its_lists(
    value: Any, dtype: str, axes: tuple[int | str, ...] | None
) -> None:
    kind = ArrayType(np.dtype(dtype), axes)
    body = codec.dumps({"x": value})
    fields = array_arguments(body, {"x": kind}, DEPTH)
    if fields is not None:
        assert converted(kind, fields["x"]) == converted(kind, codec.loads(body)["x"])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["float32", "float64", "int16", "uint32"]).flatmap(
        lambda dtype: arrays(
            dtype, array_shapes(max_dims=4, max_side=4), elements={} if "i" in dtype else FINITE
        )
    )
)
def test_arrays_of_any_rank_are_read(array: npt.NDArray[Any]) -> None:
    body = b'{"top": 3, "x": %b}' % json.dumps(array.tolist(), separators=(", ", ": ")).encode()
    fields = array_arguments(body + b" " * 2_000, {"x": ArrayType(array.dtype, None)}, DEPTH)
    assert fields is not None
    assert fields["top"] == 3
    np.testing.assert_array_equal(fields["x"], array)


ROW = "0.5, " * 20 + "1"


@pytest.mark.parametrize(
    "text",
    [
        f'{{"x": [[{ROW}], [{ROW}, 2]]}}',  # unequal rows
        '{"x": [[0, 1], [2], [3, 4, 5]]}',
        f'{{"x": [[0, 1], [{ROW}, [4]]]}}',
        '{"x": [[1, 2], [3, [4]]]}',  # four numbers
        f'{{"x": [{ROW}, true]}}',
        f'{{"x": [{ROW}, null]}}',
        f'{{"x": [{ROW}, 1e400]}}',
        f'{{"x": [{ROW}, {2**64}]}}',
        f'{{"x": [{ROW}, NaN]}}',
        f'{{"x": [{ROW}], "x": [{ROW}]}}',
        f'{{"x": [{ROW}], "y": [{ROW}]}}',  # an argument of another type
        f'{{"x": [{ROW}], "y": {{}}}}',
        f'{{"x": [{ROW}], "y": "["}}',
        f'{{"x": [{ROW}]}} 1',
        f'{{"x": [{ROW}]',
        f'\ufeff{{"x": [{ROW}]}}',
        f"[{ROW}]",
        f'{{"x": {"[" * DEPTH}{ROW}{"]" * DEPTH}}}',
        '{"x": []}',
        json.dumps({"x": [0.5] * 40, **{f"y{n}": n for n in range(100)}}),  # each takes a scan
    ],
)
def test_other_text_is_left_to_the_parser_that_names_its_problems(text: str) -> None:
    body = text.encode() + b" " * 2_000  # enough text per bracket
    assert array_arguments(body, {"x": ArrayType(np.dtype(float), None)}, DEPTH) is None


@pytest.fixture
def rows_app(app: App) -> App:
    """An app with an array parameter beside a typed one."""

    @app.post("/total")
    def total(
        rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 4)], times: int = 1
    ) -> dict[str, Any]:
        return {"dtype": str(rows.dtype), "shape": rows.shape, "total": times * float(rows.sum())}

    return app


def answered(app: App, body: Any) -> tuple[int, Any]:
    """Return the status and the value of an answer to a JSON body."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert len(text) > MIN_ARRAY_TEXT_BYTES
    start, content = asyncio.run(ask(app, "/total", text, headers=[JSON]))
    return start["status"], json.loads(content["body"])


@pytest.mark.parametrize("rows", [200, 9_000])  # on the event loop, and on a thread
def test_a_served_endpoint_reads_the_text_of_its_array(
    rows_app: App, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "loads", None)
    expected = {"dtype": "float32", "shape": [rows, 4], "total": 2.0 * rows}
    assert answered(rows_app, {"rows": [[0.25] * 4] * rows, "times": 2}) == (200, expected)


@pytest.mark.parametrize("is_installed", [True, False])
def test_errors_are_the_same_without_the_parser(
    rows_app: App, is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_installed:
        monkeypatch.setattr(array_text, "_simdjson", lambda: None)
    row = [[0.25] * 4] * 200
    assert answered(rows_app, {"rows": row})[1]["total"] == 200
    wrong = {
        "rows: expected float32 [n, 4], got float32 [200, 5]": {"rows": [[0.25] * 5] * 200},
        "rows: expected float32 [n, 4], got a number that float32 cannot hold": {
            "rows": [*row, [1e39] * 4]
        },
        "rows: expected float32 [n, 4], got lists of unequal length": {"rows": [*row, [1]]},
        "times: expected a valid integer": {"rows": row, "times": "2x"},
        "other: Extra inputs are not permitted": {"rows": row, "other": 1},
    }
    for message, body in wrong.items():
        status, problem = answered(rows_app, body)
        assert status == 400
        assert message in problem["error"]["message"]


def test_the_body_of_a_request_parameter_is_not_read_as_arguments(app: App) -> None:
    @app.post("/total")
    def total(request: Request, rows: npt.NDArray[np.float32] | None = None) -> int:
        return len(request.body)

    @app.post("/plain")
    def plain(request: Request, rows: npt.NDArray[np.float32]) -> float:
        return float(rows.sum())

    text = json.dumps({"rows": [0.25] * 1_000}).encode()
    assert answered(app, text) == (200, len(text))
    start, content = asyncio.run(ask(app, "/plain", text, headers=[JSON], query=b"rows=[1,2]"))
    assert (start["status"], content["body"]) == (200, b"3.0")
