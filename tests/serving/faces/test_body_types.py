"""Bodies that are not JSON: .npy, raw numbers, Arrow tables and forms become arguments."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import threading
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

from conduit_lab import App
from conduit_lab.core.npy import NPY_TYPE
from conduit_lab.serving.array_shape import ArrayShape
from conduit_lab.serving.faces.decoding import ARROW_TYPE, DECODERS, RAW_TYPE
from conduit_lab.serving.faces.form_fields import MAX_FORM_PARTS
from conduit_lab.serving.file import File
from conduit_lab.serving.limits import Limits
from tests.serving.asgi import ask
from tests.serving.conftest import Ask

ROWS = np.array([[1, 2], [-3, -4]], np.float32)
LARGE = np.zeros((50_000, 2), np.float32)


def npy(array: Any, **options: Any) -> bytes:
    """Return the bytes of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def arrow(table: pa.Table, **options: Any) -> bytes:
    """Return the bytes of an Arrow IPC stream."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema, **options) as writer:
        writer.write_table(table)
    return file.getvalue()


def asked(app: App, path: str, body: bytes, kind: str, **headers: str) -> tuple[int, bytes]:
    """Return the status and the body of the answer."""
    pairs = [(b"content-type", kind.encode())]
    pairs += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    messages = asyncio.run(ask(app, path, body, headers=pairs))
    return messages[0]["status"], messages[1]["body"]


@pytest.fixture
def served(app: App, weights: Path) -> App:
    """An app with a model of two numbers, and endpoints that say what they get."""
    app.ml_endpoint("/model", model=weights)(lambda body: body)

    @app.post("/kind")
    def kind(value: Any) -> str:
        return f"{type(value).__name__} {getattr(value, 'dtype', '')} {np.shape(value)}"

    @app.post("/typed")
    def typed(rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]) -> float:
        return float(rows.sum())

    @app.post("/free")
    def free(rows: npt.NDArray[np.float32]) -> Any:
        return rows

    @app.post("/files")
    def files(document: File, pages: int, others: list[File] | None = None) -> list[Any]:
        return [document.name, document.content_type, len(document), pages, len(others or ())]

    return app


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (npy(ROWS), NPY_TYPE),
        (npy(ROWS.astype(">f4")), NPY_TYPE),
        (npy(np.asfortranarray(ROWS)), f"{NPY_TYPE}; charset=binary"),
        (npy(ROWS.astype(np.float64)), "Application/X-NPY"),
        (ROWS.tobytes(), RAW_TYPE),
        (b"[[1, 2], [-3, -4]]", "application/json; charset=utf-8"),
    ],
)
def test_a_model_gets_the_same_numbers_in_every_form(served: App, body: bytes, kind: str) -> None:
    status, answer = asked(served, "/model", body, kind)
    expected = asked(served, "/model", b"[[1.0, 2.0], [-3.0, -4.0]]", "application/json")
    assert status == 200
    assert answer == expected[1]


def test_arrays_fit_the_parameters_that_take_them(served: App) -> None:
    assert asked(served, "/typed", npy(ROWS), NPY_TYPE) == (200, b"-4.0")
    assert asked(served, "/typed", ROWS.tobytes(), RAW_TYPE) == (200, b"-4.0")
    assert asked(served, "/kind", npy(np.int64(3)), NPY_TYPE) == (200, b'"ndarray int64 ()"')
    assert asked(served, "/kind", npy(np.zeros((0, 2))), NPY_TYPE)[1] == b'"ndarray float64 (0, 2)"'
    status, answer = asked(served, "/typed", npy(np.zeros((2, 3), "f4")), NPY_TYPE)
    assert (status, b"expected float32 [n, 2], got float32 [2, 3]" in answer) == (400, True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(npy(ROWS), NPY_TYPE), (npy(np.asfortranarray(ROWS)), NPY_TYPE), (ROWS.tobytes(), RAW_TYPE)],
)
def test_a_handler_may_write_to_its_array(served: App, body: bytes, kind: str) -> None:
    @served.post("/halved")
    def halved(rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]) -> Any:
        rows /= 2
        return rows

    assert json.loads(asked(served, "/halved", body, kind)[1]) == (ROWS / 2).tolist()


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", NPY_TYPE, "not a .npy file"),
        (npy(ROWS)[:-1], NPY_TYPE, "expects 16 bytes for float32 [2, 2]"),
        (npy(ROWS) + b"x", NPY_TYPE, "got 17"),
        (npy(np.array([None]), allow_pickle=True), NPY_TYPE, "numbers or booleans, got object"),
        (npy(np.array(["a"])), NPY_TYPE, "numbers or booleans, got <U1"),
        (npy(ROWS).replace(b"(2, 2)", b"(-2,2)"), NPY_TYPE, "not a .npy file"),
        (ROWS.tobytes()[:-1], RAW_TYPE, "8 bytes per row, got 15"),
        (b"x" * 100, ARROW_TYPE, "not a valid Arrow IPC stream"),
        (arrow(pa.table({"a": [1.0]}))[:100], ARROW_TYPE, "not a valid Arrow IPC stream"),
    ],
)
def test_a_wrong_body_is_a_400_without_the_words_of_a_library(
    served: App, body: bytes, kind: str, words: str
) -> None:
    status, answer = asked(served, "/model", body, kind)
    assert status == 400
    assert words in answer.decode()


@pytest.mark.parametrize(
    "metadata",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"index_columns": 5}',
        b'{"index_columns": ["q"], "columns": [{}]}',
        b'{"index_columns": [], "columns": [{"name": "a", "pandas_type": "unicode", '
        b'"numpy_type": "x", "field_name": "a", "metadata": null}], "column_indexes": '
        b'[{"name": null, "pandas_type": "datetimetz", "numpy_type": "M", "metadata": {}}]}',
        b"[" * 100_000,
    ],
    ids=["cut", "list", "no utf-8", "number", "unknown", "dtype", "deep"],
)
def test_hostile_metadata_of_a_table_is_no_fault_of_the_server(
    served: App, metadata: bytes
) -> None:
    table = pa.table({"a": [1.0, 2.0]}).replace_schema_metadata({b"pandas": metadata})
    status, answer = asked(served, "/kind", arrow(table), ARROW_TYPE)
    assert status in (200, 400)
    assert status == 200 or b"not a valid Arrow IPC stream" in answer


def head_of(shape: str) -> bytes:
    """Return a `.npy` file of float32 without data, of any shape."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "shape", ["(2000000000, 0)", "(0, 2000000000)", "(1500, 0, 1500)", "(9, 0, 900, 0, 900)"]
)
def test_the_other_axes_of_an_empty_array_are_bounded(served: App, shape: str) -> None:
    """A body of 80 bytes made the server write two thousand million empty lists."""
    for path in ("/kind", "/free", "/model"):
        status, answer = asked(served, path, head_of(shape), NPY_TYPE)
        assert (status, b"is empty: its other axes expect" in answer) == (400, True)


@pytest.mark.parametrize("shape", ["(0, 2)", "(0,)", "(0, 3, 512, 512)", "(1024, 0, 1024)"])
def test_an_empty_array_of_usual_axes_is_taken(served: App, shape: str) -> None:
    status, answer = asked(served, "/kind", head_of(shape), NPY_TYPE)
    assert (status, answer.decode()) == (200, f'"ndarray float32 {shape}"')


def test_raw_numbers_take_their_shape_from_the_parameter_and_not_from_the_answer(
    served: App,
) -> None:
    @served.post("/doubled")
    def doubled(rows: Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]) -> np.ndarray:
        return rows * 2

    assert asked(served, "/doubled", ROWS.tobytes(), RAW_TYPE) == (200, b"[[2.0,4.0],[-6.0,-8.0]]")


def nulls(rows: int) -> bytes:
    """Return an Arrow stream with a null column, whose rows take no bytes."""
    table = arrow(pa.table({"a": pa.nulls(1237)}))
    return table.replace((1237).to_bytes(8, "little"), rows.to_bytes(8, "little"))


def repeated(text: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "i1")), pa.array([text]))


def list_views(rows: int) -> pa.ListViewArray:
    starts, sizes = pa.array([0] * rows, pa.int32()), pa.array([rows] * rows, pa.int32())
    return pa.ListViewArray.from_arrays(starts, sizes, pa.array(np.zeros(rows)))


GROWING = {
    "nulls": lambda: nulls(10**12),
    "texts of a dictionary": lambda: arrow(pa.table({"a": repeated("x" * 10**5, 10**4)})),
    "lists of nulls": lambda: arrow(
        pa.table({"a": pa.ListArray.from_arrays(pa.array([0, 10**8], pa.int32()), pa.nulls(10**8))})
    ),
    "objects of nulls": lambda: arrow(
        pa.table({"a": pa.StructArray.from_arrays([pa.nulls(10**8)], ["n"])})
    ),
}
DENSE = {
    "runs": lambda: pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), [1.0]),
    "list views": lambda: list_views(1000),
    "a dictionary of lists": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 0]), [[1, 2]]),
}


@pytest.mark.parametrize("name", GROWING)
def test_a_table_that_repeats_a_value_is_bounded_by_its_rows(served: App, name: str) -> None:
    """A null column of 224 bytes has any number of rows."""
    status, answer = asked(served, "/kind", GROWING[name](), ARROW_TYPE)
    assert (status, b"the Arrow table is too large" in answer) == (413, True)


@pytest.mark.parametrize("name", DENSE)
def test_a_column_that_no_frame_is_written_with_is_a_400(served: App, name: str) -> None:
    status, answer = asked(served, "/kind", arrow(pa.table({"a": DENSE[name]()})), ARROW_TYPE)
    assert (status, b"decode it first" in answer) == (400, True)


def test_usual_columns_of_a_table_are_taken(served: App) -> None:
    columns = {
        "null": pa.nulls(2),
        "text": pa.array(["a", None]),
        "view": pa.array(["a", "b" * 50], pa.string_view()),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "list": pa.array([[1], []]),
        "object": pa.array([{"a": 1}, None]),
        "pairs": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "three": pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.int64(), 3)),
    }
    served.post("/rows")(lambda value: value)
    status, answer = asked(served, "/rows", arrow(pa.table(columns)), ARROW_TYPE)
    assert status == 200
    assert [row["view"] for row in json.loads(answer)] == ["a", "b" * 50]


def test_types_that_an_endpoint_does_not_take_are_a_415(served: App) -> None:
    served.post("/request")(lambda request: len(request.body))
    for path, kind in (
        ("/kind", RAW_TYPE),
        ("/files", RAW_TYPE),
        ("/request", NPY_TYPE),
        ("/model", "text/plain"),
        ("/model", "application/x-www-form-urlencoded"),
    ):
        assert asked(served, path, b"12345678", kind)[0] == 415, (path, kind)


def test_a_form_has_files_and_texts(served: App, asking: Ask) -> None:
    files: Any = [
        ("document", ("a b.txt", b"text", "text/plain")),
        ("others", ("1", b"1")),
        ("others", ("2", b"22")),
    ]
    answer = asking(served).post("/files", data={"pages": "3"}, files=files)
    assert answer.json() == ["a b.txt", "text/plain", 4, 3, 2]
    large: Any = [("document", ("large", b"\r\n--x\r\n" * 100_000))]
    answer = asking(served).post("/files", data={"pages": "3"}, files=large)
    assert answer.json() == ["large", "application/octet-stream", 700_000, 3, 0]
    answer = asking(served).post("/files", data={"pages": "x"}, files=files)
    assert answer.status_code == 400
    assert "pages" in answer.json()["error"]["message"]


def part(name: str, text: bytes = b"1", extra: str = "") -> bytes:
    """Return one part of a form with the boundary `b`."""
    head = f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n{extra}\r\n'
    return head.encode() + text + b"\r\n"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (part("a") + b"--b--\r\n", "multipart/form-data", "a boundary of 1 to 70"),
        (part("a"), "multipart/form-data; boundary=b", "truncated"),
        (b"nothing", "multipart/form-data; boundary=b", "not a valid multipart form"),
        (part("a", b"\xff") + b"--b--\r\n", "multipart/form-data; boundary=b", "UTF-8"),
        (
            part("a") * (MAX_FORM_PARTS + 1) + b"--b--\r\n",
            "multipart/form-data; boundary=b",
            "too many parts",
        ),
        (
            b"--b\r\ncontent-type: text/plain\r\n\r\n1\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
            "no name",
        ),
        (
            part("a", extra=f"x: {'y' * 3000}\r\n") + b"--b--\r\n",
            "multipart/form-data; boundary=b",
            "header is larger",
        ),
    ],
)
def test_a_broken_form_is_a_400(served: App, body: bytes, kind: str, words: str) -> None:
    status, answer = asked(served, "/files", body, kind)
    assert (status, words in answer.decode()) == (400, True), answer


def test_limits_hold_before_and_after_decompression(served: App) -> None:
    served.limits = Limits(body_bytes=2000)
    packed = gzip.compress(npy(ROWS))
    assert asked(served, "/typed", packed, NPY_TYPE, content_encoding="gzip") == (200, b"-4.0")
    for body in (npy(LARGE), gzip.compress(npy(LARGE))):
        assert asked(served, "/typed", body, NPY_TYPE, content_encoding="gzip")[0] in (400, 413)
    assert asked(served, "/typed", npy(LARGE), NPY_TYPE)[0] == 413
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    body = arrow(pa.table({"a": np.zeros(100_000)}), options=options)
    assert len(body) < 2000
    assert asked(served, "/kind", body, ARROW_TYPE)[0] == 413


def test_a_table_is_decoded_off_the_loop(served: App, monkeypatch: Any) -> None:
    threads: list[int] = []
    decode, inline_bytes = DECODERS[ARROW_TYPE]

    def noting(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return decode(*args)

    monkeypatch.setitem(DECODERS, ARROW_TYPE, type(DECODERS[ARROW_TYPE])(noting, inline_bytes))
    small, large = (arrow(pa.table({"a": np.zeros(n)})) for n in (10, 100_000))
    assert asked(served, "/kind", small, ARROW_TYPE)[0] == 200
    assert asked(served, "/kind", large, ARROW_TYPE) == (200, b'"DataFrame  (100000, 1)"')
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_a_model_answers_the_rows_of_a_table(served: App) -> None:
    table = pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1]})
    status, answer = asked(served, "/model", arrow(table), ARROW_TYPE)
    assert status == 200
    assert [row["label"] for row in json.loads(answer)] == ["up", "down"]


def test_a_table_keeps_its_columns(served: App) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "n": [1, 2]})

    @served.post("/columns")
    def columns(table: Any) -> list[Any]:
        return [*table.columns, *map(str, table.dtypes), *table["text"]]

    status, answer = asked(served, "/columns", arrow(pa.Table.from_pandas(frame)), ARROW_TYPE)
    assert status == 200
    assert answer.startswith(b'["text","n",')
