"""An array as an answer: JSON, or its bytes for a client that asks for them."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conduit_lab import App
from conduit_lab.serving.faces.decoding import INLINE_ARRAY_BYTES
from conduit_lab.serving.faces.openapi import openapi
from tests.serving.asgi import JSON, ask

NPY, RAW, TEXT = "application/x-npy", "application/octet-stream", "application/json"
ARRAYS: dict[str, Any] = {
    "float32": np.array([[1.5, -2], [3, 4]], np.float32),
    "int64": np.arange(6).reshape(2, 3).T,  # not contiguous
    "bool": np.array([True, False]),
    "float64": np.array(2.5),
    "big": np.arange(3, dtype=">f4"),
    "empty": np.zeros((0, 4), np.float32),
    "large": np.arange(INLINE_ARRAY_BYTES // 4 + 1, dtype=np.float32),
    "text": np.array(["a", "b"]),
    "objects": np.array([{"a": 1}, None], object),
    "numbers": [1, 2, 3],
}


@pytest.fixture
def desk(app: App, tmp_path: Path) -> App:
    """An app with an endpoint for each array, and one with a model that gives an array."""
    np.savez(
        tmp_path / "double.npz",
        W0=2 * np.eye(2, dtype=np.float32),
        b0=np.zeros(2, np.float32),
        activations=np.array(["identity"]),
    )

    @app.post("/array")
    def array(name: str) -> Any:
        return ARRAYS[name]

    @app.post("/typed")
    def typed(name: str) -> npt.NDArray[np.int64]:
        return np.arange(3)

    app.ml_endpoint("/double", model=app.load_model("double.npz"))(lambda body: body)
    return app


def answered(app: App, path: str, body: bytes, accept: str | None) -> tuple[int, Any, bytes]:
    """Return the status, the headers and the body of an answer."""
    headers = [JSON] if accept is None else [JSON, (b"accept", accept.encode())]
    start, content = asyncio.run(ask(app, path, body, headers=headers))
    assert start["status"] != 200 or int(dict(start["headers"])[b"content-length"]) == len(
        content["body"]
    )
    return start["status"], dict(start["headers"]), content["body"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("application/*", TEXT),
        ("application/json", TEXT),
        ("text/html, image/png;q=0.9", TEXT),
        (NPY, NPY),
        (RAW, RAW),
        (NPY.upper(), NPY),
        (f"{NPY}, */*", NPY),
        (f"{NPY},application/json", NPY),
        (f"{NPY};q=0.5, */*", TEXT),
        (f"{NPY};q=0.5, */*;q=0.1", NPY),
        (f"{NPY};q=0.5, application/json;q=0.4, */*", NPY),
        (f"{NPY};q=0, */*;q=0", TEXT),
        (f"{NPY};q=0", TEXT),
        (f"{RAW}, {NPY}", NPY),
        (f"{RAW}, {NPY};q=0.9", RAW),
        (f"{NPY} ; v=1 ; q=0.2 , application/json;q=0.1", NPY),
        (f"{NPY};q=nan", TEXT),
        (f"{NPY};q=2", TEXT),
        (f"{NPY};q=high", TEXT),
        (",;,", TEXT),
    ],
)
def test_the_accept_header_decides(desk: App, accept: str | None, kind: str) -> None:
    status, headers, body = answered(desk, "/array", b'{"name": "float32"}', accept)
    assert (status, headers[b"content-type"].decode()) == (200, kind)
    want = ARRAYS["float32"]
    if kind == NPY:
        got = np.load(io.BytesIO(body))
    elif kind == RAW:
        got = np.frombuffer(body, "<f4").reshape(2, 2)
    else:
        got = np.array(json.loads(body), np.float32)
    assert got.dtype == want.dtype
    assert got.tolist() == want.tolist()
    assert headers.get(b"vary") == (None if kind == TEXT else b"accept")


@pytest.mark.parametrize("name", ["float32", "int64", "bool", "float64", "big", "empty", "large"])
def test_a_npy_answer_is_the_array(desk: App, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    status, headers, content = answered(desk, "/array", body, NPY)
    assert (status, headers[b"content-type"]) == (200, NPY.encode())
    got = np.load(io.BytesIO(content), allow_pickle=False)
    want = np.asarray(ARRAYS[name])
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", ["int64", "float64", "big", "text", "objects", "numbers"])
def test_only_float32_is_sent_raw(desk: App, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    status, headers, _ = answered(desk, "/array", body, RAW)
    assert (status, headers[b"content-type"]) == (200, TEXT.encode())


@pytest.mark.parametrize("name", ["text", "objects", "numbers"])
def test_an_answer_without_numbers_stays_json(desk: App, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    _, headers, content = answered(desk, "/array", body, f"{NPY}, {RAW}")
    assert headers[b"content-type"] == TEXT.encode()
    assert json.loads(content) == np.asarray(ARRAYS[name], object).tolist()


def test_errors_stay_json(desk: App) -> None:
    status, headers, body = answered(desk, "/array", b"{}", NPY)
    assert (status, headers[b"content-type"]) == (400, TEXT.encode())
    assert json.loads(body)["error"]["type"] == "bad_input"


def test_the_array_of_a_model_is_sent_as_bytes(desk: App) -> None:
    _, headers, body = answered(desk, "/double", b"[[1, 2], [3, 4]]", NPY)
    assert headers[b"content-type"] == NPY.encode()
    assert np.load(io.BytesIO(body)).tolist() == [[2, 4], [6, 8]]
    rows = np.array([[1, 2]], np.float32)
    start, content = asyncio.run(
        ask(
            desk,
            "/double",
            rows.tobytes(),
            headers=[(b"content-type", RAW.encode()), (b"accept", RAW.encode())],
        )
    )
    assert np.frombuffer(content["body"], "<f4").tolist() == [2, 4]
    assert start["status"] == 200


def test_the_document_lists_the_types_of_an_array(desk: App) -> None:
    desk.open_resources()
    paths = openapi(desk, desk.endpoints)["paths"]
    listed = {path: list(of["post"]["responses"]["200"]["content"]) for path, of in paths.items()}
    assert listed == {
        "/array": [TEXT],
        "/typed": [TEXT, NPY],
        "/double": [TEXT, NPY, RAW],
    }
