"""The faults that a server of the Open Inference Protocol must survive, by their numbers."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from conduit_lab import App, Limits, load_model
from conduit_lab.serving.faces.inference_tensors import DATATYPES
from tests.runtime import graphs
from tests.serving.conftest import Ask
from tests.serving.faces.inference import (
    BINARY,
    binary_body,
    error_of,
    infer,
    linear_request,
    make_app,
    still_right,
    tensor,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    app = make_app(root)
    for dtype in DATATYPES:
        app.load_model(graphs.identity(root / f"{dtype}.onnx", dtype, ("batch", 2)))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_row_10_a_compressed_bomb_is_a_413_after_the_inflated_limit(
    tmp_path: Path, asking: Ask, encoding: str, pack: Any
) -> None:
    limit = 2**18
    client = asking(make_app(tmp_path, limits=Limits(body_bytes=limit)))
    bomb = pack(bytes(2**26))
    assert len(bomb) < limit
    headers = {"content-type": BINARY, "content-encoding": encoding}
    tracemalloc.start()
    try:
        answer = client.post("/v2/models/linear/infer", content=bomb, headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"{limit} bytes" in error_of(answer, 413)
    assert peak < 2**23
    still_right(client)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"no gzip", 400),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-5], 400),
        ("gzip", gzip.compress(json.dumps(linear_request()).encode(), mtime=0) + b"more", 400),
        ("deflate", gzip.compress(b"{}", mtime=0), 400),
        ("br", b"{}", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), 415),
    ],
)
def test_row_10_a_broken_or_unknown_encoding_is_refused(
    client: TestClient, encoding: str, body: bytes, status: int
) -> None:
    headers = {"content-type": BINARY, "content-encoding": encoding}
    error_of(client.post("/v2/models/linear/infer", content=body, headers=headers), status)
    still_right(client)


@pytest.mark.parametrize(
    "path", ["nope/infer", "linear/versions/2/infer", "linear/versions/latest/infer", "a%2Fb/infer"]
)
def test_row_18_an_unknown_model_or_version_is_a_404(client: TestClient, path: str) -> None:
    error_of(client.post(f"/v2/models/{path}", json=linear_request()), 404)
    for read in (path.removesuffix("/infer"), path.replace("infer", "ready")):
        error_of(client.get(f"/v2/models/{read}"), 404)
    still_right(client)


def test_row_16_an_unknown_path_is_a_404_and_a_wrong_method_a_405(client: TestClient) -> None:
    error_of(client.get("/v2/models/linear/config"), 404)
    error_of(client.post("/v2/health/alive"), 404)
    for method, path, allowed in (
        ("GET", "/v2/models/linear/infer", "POST"),
        ("POST", "/v2/models/linear/ready", "GET, HEAD"),
        ("DELETE", "/v2/health/live", "GET, HEAD"),
        ("OPTIONS", "/v2/models/linear/infer", "POST"),
        ("TRACE", "/v2/models/linear", "GET, HEAD"),
    ):
        answer = client.request(method, path)
        error_of(answer, 405)
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("shape", [[3], [1, 1, 3], [1, 2], [1, 4], []])
@pytest.mark.parametrize("binary", [False, True])
def test_row_19_a_wrong_rank_or_dimension_is_a_400_that_names_input_expected_and_got(
    client: TestClient, shape: list[int], binary: bool
) -> None:
    array = np.zeros(shape, np.float32)
    if binary:
        data = array.tobytes()
        parameters = {"binary_data_size": len(data)}
        request = {"inputs": [tensor("input", shape, "FP32", parameters=parameters)]}
        body, headers = binary_body(request, data)
        answer = client.post("/v2/models/linear/infer", content=body, headers=headers)
    else:
        request = {"inputs": [tensor("input", shape, "FP32", array.ravel().tolist())]}
        answer = infer(client, "linear", request)
    assert f"input 'input' expects FP32 [-1, 3], got the shape {shape}" in error_of(answer, 400)
    still_right(client)


@pytest.mark.parametrize("datatype", ["FP64", "INT32", "BYTES", "BF16", "fp32", "", None, 7, []])
def test_row_20_another_datatype_is_a_400(client: TestClient, datatype: Any) -> None:
    request = {"inputs": [tensor("input", [1, 3], datatype, [1.0, 2.0, 3.0])]}
    assert "expects FP32 [-1, 3], got the datatype" in error_of(
        infer(client, "linear", request), 400
    )
    still_right(client)


@pytest.mark.parametrize(
    ("dtype", "datatype", "wrong"),
    [
        ("int8", "INT8", [1, 300]),
        ("uint8", "UINT8", [1, -1]),
        ("uint8", "UINT8", [1, 300]),
        ("int32", "INT32", [1, 1.5]),
        ("int64", "INT64", [1, 2**63]),
        ("uint64", "UINT64", [1, 2**64]),
        ("int64", "INT64", [1, True]),
        ("int64", "INT64", [1, "2"]),
        ("int64", "INT64", [1, None]),
        ("float16", "FP16", [1, 70000]),
        ("float32", "FP32", [1, 1e39]),
        ("float32", "FP32", [1, "2"]),
        ("float32", "FP32", [1, {"a": 1}]),
        ("float64", "FP64", [1, True]),
        ("bool", "BOOL", [True, 1]),
        ("bool", "BOOL", [True, "false"]),
        ("str", "BYTES", ["a", 1]),
        ("str", "BYTES", ["a", None]),
        ("str", "BYTES", ["a", ["b"]]),
    ],
)
def test_row_20_a_value_that_the_datatype_cannot_hold_is_a_400(
    client: TestClient, dtype: str, datatype: str, wrong: list[Any]
) -> None:
    request = {"inputs": [tensor("input", [1, 2], datatype, wrong)]}
    error_of(infer(client, dtype, request), 400)
    still_right(client)


def test_row_21_a_big_endian_array_is_converted_and_the_wire_is_little_endian(
    root: Path, client: TestClient
) -> None:
    model = load_model(root / "linear.onnx")
    given = np.array([[1.0, 2.0, 3.0]])
    assert model.predict(given.astype(">f4")).tolist() == [[6.0, 6.0]]
    data = given.astype("<f4").tobytes()
    request = {
        "inputs": [tensor("input", [1, 3], "FP32", parameters={"binary_data_size": 12})],
        "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
    }
    body, headers = binary_body(request, data)
    answer = client.post("/v2/models/linear/infer", content=body, headers=headers)
    start = int(answer.headers["inference-header-content-length"])
    assert np.frombuffer(answer.content[start:], "<f4").tolist() == [6.0, 6.0]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("model", "name", "shape", "datatype", "out"),
    [
        ("linear", "input", [0, 3], "FP32", {"output": [0, 2]}),
        ("named", "input", [0, 3], "FP32", {"label": [0], "output": [0, 2]}),
        ("text", "input", [0], "BYTES", {"output": [0]}),
    ],
)
def test_row_22_zero_rows_are_an_empty_result_of_the_right_shape(
    client: TestClient,
    model: str,
    name: str,
    shape: list[int],
    datatype: str,
    out: dict[str, Any],
    binary: bool,
) -> None:
    request: dict[str, Any] = {"inputs": [tensor(name, shape, datatype, [])]}
    if binary:
        size = {"binary_data_size": 0}
        request = {
            "inputs": [tensor(name, shape, datatype, parameters=size)],
            "parameters": {"binary_data_output": True},
        }
    body, headers = binary_body(request)
    answer = client.post(f"/v2/models/{model}/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    assert length == len(answer.content)
    assert {each["name"]: each["shape"] for each in answer.json()["outputs"]} == out


@pytest.mark.parametrize(
    "shape",
    [
        [2, 3],
        [0, 3],
        [-1, 3],
        [2**62, 3],
        [2**63, 3],
        [10**30, 3],
        [1.0, 3],
        [True, 3],
        ["1", 3],
        [None, 3],
        None,
        "13",
        {},
        [1] * 100_000,
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_row_25_a_shape_that_is_not_that_of_the_data_is_a_400_and_allocates_nothing(
    client: TestClient, shape: Any, binary: bool
) -> None:
    still_right(client)
    parameters = {"parameters": {"binary_data_size": 12}} if binary else {}
    data = None if binary else [1.0, 2.0, 3.0]
    request = {"inputs": [tensor("input", shape, "FP32", data, **parameters)]}
    body, headers = binary_body(request, bytes(12) if binary else b"")
    tracemalloc.start()
    try:
        answer = client.post("/v2/models/linear/infer", content=body, headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    error_of(answer, 400)
    assert peak < 2**23
    still_right(client)


@pytest.mark.parametrize("shape", [[2**40, 0], [0, 2**40], [2**62, 0]])
@pytest.mark.parametrize("binary", [False, True])
def test_row_25_an_empty_tensor_of_long_axes_is_a_400(
    tmp_path: Path, shape: list[int], binary: bool
) -> None:
    app = App("desk", root=tmp_path, protocols=["inference"])
    app.load_model(graphs.identity(tmp_path / "free.onnx", "float32", ("rows", "columns")))
    parameters: dict[str, Any] = {"data": []}
    if binary:
        parameters = {"parameters": {"binary_data_size": 0}}
    with TestClient(app) as client:
        for axes, status in ((shape, 400), ([0, 3], 200)):
            request = {"inputs": [tensor("input", axes, "FP32", **parameters)]}
            body, headers = binary_body(request)
            answer = client.post("/v2/models/free/infer", content=body, headers=headers)
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize("shape", [[2**62], [3], [1], [2**31]])
def test_row_25_the_lengths_of_texts_must_be_those_of_the_data(
    client: TestClient, shape: list[int]
) -> None:
    for data in (b"", b"\1\0\0\0a\1\0\0\0b", b"\xff\xff\xff\xff", b"\1\0\0\0\xff\0\0\0\0\0\0\0"):
        size = {"binary_data_size": len(data)}
        request = {"inputs": [tensor("input", shape, "BYTES", parameters=size)]}
        body, headers = binary_body(request, data)
        answer = client.post("/v2/models/text/infer", content=body, headers=headers)
        error_of(answer, 400)
    still_right(client)


@pytest.mark.parametrize("length", ["0", "-1", "1e1", "999999", "9" * 5000, "٣", ""])
def test_row_25_a_wrong_length_of_the_json_is_a_400(client: TestClient, length: str) -> None:
    body, headers = binary_body(linear_request())
    headers["inference-header-content-length"] = length
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    error_of(client.post("/v2/models/linear/infer", content=body, headers=raw), 400)


@pytest.mark.parametrize("size", [-1, 11, 13, 2**63, 1.5, True, "12", None])
def test_row_25_a_wrong_binary_size_is_a_400(client: TestClient, size: Any) -> None:
    parameters = {"binary_data_size": size}
    request = {"inputs": [tensor("input", [1, 3], "FP32", parameters=parameters)]}
    body, headers = binary_body(request, bytes(12))
    error_of(client.post("/v2/models/linear/infer", content=body, headers=headers), 400)
    still_right(client)


def test_row_25_bytes_after_the_last_input_are_a_400(client: TestClient) -> None:
    size = {"binary_data_size": 12}
    request = {"inputs": [tensor("input", [1, 3], "FP32", parameters=size)]}
    body, headers = binary_body(request, bytes(13))
    answer = client.post("/v2/models/linear/infer", content=body, headers=headers)
    assert "has 1 byte after" in error_of(answer, 400)


_A = tensor("a", [1, 2], "INT64", [1, 2])
_B = tensor("b", [1, 2], "INT64", [3, 4])


@pytest.mark.parametrize(
    "inputs",
    [
        [_A],
        [_A, _A],
        [_A, _B, _B],
        [_A, {**_B, "name": "c"}],
        [_A, {"name": "b"}],
        [_A, None],
        [_A, [_B]],
        [_A] * 10_000,
        [],
        {},
        None,
        "a",
        [_A, {**_B, "parameters": []}],
        [_A, {**_B, "parameters": {"shared_memory_region": "x"}}],
    ],
)
def test_row_26_a_missing_extra_or_doubled_input_is_a_400(client: TestClient, inputs: Any) -> None:
    error = error_of(infer(client, "pair", {"inputs": inputs}), 400)
    assert ("twice" in error) == (inputs == [_A, _A])
    still_right(client)


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "nope"}],
        [{"name": "sum"}, {"name": "sum"}],
        [{"name": "sum"}] * 3,
        [{"name": "sum"}] * 10**5,
        [{"name": 7}],
        ["sum"],
        [None],
        "sum",
        {"name": "sum"},
        [{"name": "sum", "parameters": {"binary_data": 1}}],
        [{"name": "sum", "parameters": {"classification": -1}}],
        [{"name": "sum", "parameters": {"classification": 10**9}}],
        [{"name": "sum", "parameters": {"classification": True}}],
    ],
)
def test_row_26_unknown_doubled_and_countless_outputs_are_a_400(
    client: TestClient, outputs: Any
) -> None:
    error_of(infer(client, "pair", {"inputs": [_A, _B], "outputs": outputs}), 400)
    still_right(client)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"7", b'{"inputs"', b"\xff", b"[" * 10**5])
def test_rows_1_to_5_a_body_that_is_no_object_is_a_400(client: TestClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    error_of(client.post("/v2/models/linear/infer", content=body, headers=headers), 400)


@pytest.mark.parametrize("identity", [7, None, ["a"], "x" * 1025])
def test_an_id_is_a_text_of_bounded_length(client: TestClient, identity: Any) -> None:
    error_of(infer(client, "linear", {**linear_request(), "id": identity}), 400)


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"origin": "https://elsewhere.example"}],
)
def test_row_68_a_body_that_needs_no_preflight_is_refused(
    client: TestClient, headers: dict[str, str]
) -> None:
    answer = client.post("/v2/models/linear/infer", content=b"{}", headers=headers)
    assert answer.status_code in (403, 415)
    still_right(client)
