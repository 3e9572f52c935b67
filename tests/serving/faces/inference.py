"""An app that speaks the Open Inference Protocol, and raw requests to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from conduit_lab import App
from tests.runtime import graphs

BINARY = "application/octet-stream"


def make_app(root: Path, **options: Any) -> App:
    """An app with `linear` (float32 [batch, 3] to [batch, 2], all weights 1) and two more.

    `named` has labels, `pair` two inputs and two outputs, and `text` gives its texts back.
    """
    app = App("desk", root=root, protocols=["inference"], **options)
    app.load_model(graphs.linear(root / "linear.onnx", np.ones((3, 2))))
    weights = np.array([[1, -1], [1, -1], [0, 0]])
    app.load_model(graphs.linear(root / "named.onnx", weights), labels=["up", "down"])
    app.load_model(pair(root / "pair.onnx"))
    app.load_model(graphs.identity(root / "text.onnx", "str", ("batch",)))
    return app


def pair(path: Path) -> Path:
    """Write `sum = a + b` and `less = a < b`, with int64 and bool outputs."""
    return graphs.save(
        path,
        [graphs.node("Add", ["a", "b"], ["sum"]), graphs.node("Less", ["a", "b"], ["less"])],
        [graphs.value(name, ["batch", 2], "int64") for name in ("a", "b")],
        [graphs.value("sum", ["batch", 2], "int64"), graphs.value("less", ["batch", 2], "bool")],
    )


def tensor(name: str, shape: Any, datatype: Any, data: Any = None, **more: Any) -> dict[str, Any]:
    """One tensor of a request."""
    given = {} if data is None else {"data": data}
    return {"name": name, "shape": shape, "datatype": datatype, **given, **more}


def linear_request(data: Any = (1.0, 2.0, 3.0), shape: Any = (1, 3)) -> dict[str, Any]:
    """A request to `linear`."""
    return {"inputs": [tensor("input", list(shape), "FP32", list(data))]}


def binary_body(request: Any, *data: bytes) -> tuple[bytes, dict[str, str]]:
    """A body with binary data, and its headers."""
    header = json.dumps(request).encode()  # orjson writes no integers above 64 bits
    length = str(len(header))
    headers = {"content-type": BINARY, "inference-header-content-length": length}
    return b"".join([header, *data]), headers


def error_of(answer: Any, status: int) -> str:
    """The text of an error answer, which has the protocol's form and nothing of the inside."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    text = body["error"]
    assert isinstance(text, str)
    assert len(text) <= 4000
    for inside in ("Traceback", "/conduit_lab/", "onnxruntime", "numpy", "0x"):
        assert inside not in text
    return text


def infer(client: TestClient, model: str, request: Any, **options: Any) -> Any:
    """The answer to one JSON request."""
    return client.post(f"/v2/models/{model}/infer", json=request, **options)


def still_right(client: TestClient) -> None:
    """Check that the next good request is answered right."""
    answer = infer(client, "linear", linear_request())
    assert answer.json()["outputs"][0]["data"] == [6.0, 6.0]
    assert client.get("/healthz").status_code == 200
