"""The Open Inference Protocol with its own client, on every dtype, and in batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from starlette.testclient import TestClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from conduit_lab import App, load_model
from conduit_lab.core.spec import TensorSpec
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.serving.faces import inference
from conduit_lab.serving.faces.inference_request import read_request
from conduit_lab.serving.faces.inference_tensors import (
    DATATYPES,
    datatype_of,
    from_binary,
    from_json,
    to_binary,
)
from conduit_lab.serving.run.thread import Server
from tests.models.test_classifiers import sklearn_like
from tests.runtime import graphs
from tests.serving.asgi import ask
from tests.serving.conftest import Ask
from tests.serving.faces.inference import infer, linear_request, make_app, tensor

NUMBERS = [dtype for dtype in DATATYPES if dtype != "str"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("inference")
    app = make_app(root)
    app.load_model(sklearn_like(root / "converted.onnx", True, ["down", "up"]))
    for dtype in DATATYPES:
        app.load_model(graphs.identity(root / f"{dtype}.onnx", dtype))
    server = Server(app, port=0)
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()
    server.stop()


def given_input(name: str, array: Any, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array, binary_data=binary)


def test_the_server_and_its_models_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("linear")
    assert client.is_model_ready("linear", "1")
    assert not client.is_model_ready("linear", "2")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    metadata = client.get_model_metadata("pair", "1")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": name, "datatype": "INT64", "shape": [-1, 2]} for name in ("a", "b")
    ]
    assert [(each["name"], each["datatype"]) for each in metadata["outputs"]] == [
        ("sum", "INT64"),
        ("less", "BOOL"),
    ]


@pytest.mark.parametrize("asked_binary", [False, True])
@pytest.mark.parametrize("given_binary", [False, True])
@pytest.mark.parametrize("dtype", DATATYPES)
def test_every_datatype_goes_both_ways(
    client: Any, dtype: str, given_binary: bool, asked_binary: bool
) -> None:
    array = np.array([[1, 0, 1], [1, 1, 0]]).astype(object if dtype == "str" else dtype)
    if dtype == "str":
        array = np.array([["kettle", "Größe", ""], ["x", "日本", "z" * 300]], object)
    answer = client.infer(
        dtype,
        [given_input("input", array, binary=given_binary)],
        outputs=[triton.InferRequestedOutput("output", binary_data=asked_binary)],
        request_id="q-1",
    )
    got = answer.as_numpy("output")
    expected = array
    if dtype == "str" and asked_binary:
        expected = np.array([[text.encode() for text in row] for row in array], object)
    assert got.dtype == array.dtype
    assert (got == expected).all()
    assert answer.get_response()["id"] == "q-1"


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_compressed_requests_are_taken(client: Any, compression: str | None) -> None:
    array = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    answer = client.infer(
        "linear",
        [given_input("input", array)],
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert (answer.as_numpy("output") == array @ np.ones((3, 2), np.float32)).all()


def test_several_inputs_and_the_requested_outputs(client: Any) -> None:
    a, b = np.array([[1, 5]]), np.array([[2, 4]])
    inputs = [given_input("b", b), given_input("a", a, binary=False)]
    answer = client.infer("pair", inputs)
    assert answer.as_numpy("sum").tolist() == [[3, 9]]
    assert answer.as_numpy("less").tolist() == [[True, False]]
    only = client.infer("pair", inputs, outputs=[triton.InferRequestedOutput("less")])
    assert only.as_numpy("sum") is None
    assert only.as_numpy("less").tolist() == [[True, False]]


@pytest.mark.parametrize(("model", "name"), [("named", "input"), ("converted", "x")])
def test_a_classifier_gives_its_labels_beside_the_probabilities(
    client: Any, model: str, name: str
) -> None:
    width = 3 if model == "named" else 2
    array = np.zeros((2, width), np.float32)
    array[:, :2] = [[0, 1], [-3, 0]] if model == "named" else [[0, 1], [3, 0]]
    label, scores = client.get_model_metadata(model)["outputs"]
    assert (label["name"], label["datatype"], scores["datatype"]) == ("label", "BYTES", "FP32")
    answer = client.infer(model, [given_input(name, array)])
    assert answer.as_numpy("label").tolist() == [b"up", b"down"]
    probabilities = answer.as_numpy(scores["name"])
    assert probabilities.shape == (2, 2)
    best = triton.InferRequestedOutput(scores["name"], class_count=1)
    classes = client.infer(model, [given_input(name, array)], outputs=[best])
    shown = [text.decode().split(":") for text in classes.as_numpy(scores["name"]).ravel()]
    assert [each[2] for each in shown] == ["up", "down"]
    assert [float(each[0]) for each in shown] == pytest.approx(probabilities.max(axis=1), abs=1e-6)


def test_an_embedder_takes_texts(minilm: Embedder, asking: Ask, tmp_path: Path) -> None:
    app = App("desk", root=tmp_path, protocols=["inference"])
    app.models.add(minilm)
    client = asking(app)
    url = f"/v2/models/{minilm.name}"
    (spec,) = client.get(url).json()["outputs"]
    assert spec["shape"] == [-1, 384]
    texts = ["my kettle broke", "the return policy"]
    request = {"inputs": [tensor("text", [2], "BYTES", texts)]}
    output = client.post(f"{url}/infer", json=request).json()["outputs"][0]
    got = np.array(output["data"], np.float32).reshape(output["shape"])
    assert np.allclose(got, minilm.encode(texts), atol=1e-6)


def test_the_clients_errors_are_texts(client: Any) -> None:
    array = np.zeros((1, 4), np.float32)
    for model, version, status in (
        ("nope", "", "404"),
        ("linear", "3", "404"),
        ("linear", "", "400"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, [given_input("input", array)], model_version=version)
        assert caught.value.status() == status
        assert "{" not in caught.value.message()


def test_a_function_is_no_model_of_this_protocol(tmp_path: Path, asking: Ask) -> None:
    app = App("desk", root=tmp_path, protocols=["inference"])
    app.load_model(_double)
    answer = asking(app).get("/v2/models/_double")
    assert answer.status_code == 404
    assert "CallableModel" in answer.json()["error"]


def _double(value: Any) -> Any:
    return value


def test_the_protocol_is_served_only_where_the_app_names_it(tmp_path: Path, asking: Ask) -> None:
    assert asking(App("desk", root=tmp_path)).get("/v2/health/live").status_code == 404


def test_a_draining_server_is_live_and_not_ready(tmp_path: Path, asking: Ask) -> None:
    app = make_app(tmp_path)
    client = asking(app)
    for state in app._lives.states:
        state.ready = False
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/linear/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)


def test_requests_at_the_same_time_share_their_runs(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    app.open_resources()
    model = app.models["linear"]
    answers: list[Any] = []

    async def one(number: int) -> None:
        request = orjson.dumps(linear_request([number, 0.0, 0.0]))
        messages = await ask(app, "/v2/models/linear/infer", request)
        answers.append((number, orjson.loads(messages[1]["body"])["outputs"][0]["data"]))

    async def burst() -> None:
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, number)

    for _ in range(20):  # the first batched runs are compared with runs of single rows
        before = model.shared.calls
        anyio.run(burst)
    assert len(answers) == 160
    assert all(data == [number, number] for number, data in answers)
    assert 1 <= model.shared.calls - before < 8


def test_a_large_body_and_a_large_answer_leave_the_event_loop_free(
    tmp_path: Path, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[tuple[str, threading.Thread]] = []

    def reading(*args: Any) -> Any:
        threads.append(("read", threading.current_thread()))
        return read_request(*args)

    def writing(array: Any) -> str:
        threads.append(("write", threading.current_thread()))
        return datatype_of(array)

    client = asking(make_app(tmp_path))
    monkeypatch.setattr(inference, "read_request", reading)
    monkeypatch.setattr(inference, "datatype_of", writing)
    infer(client, "linear", linear_request())
    rows = 30_000
    infer(client, "linear", linear_request([1.0] * 3 * rows, (rows, 3)))
    (_, loop), (_, loop_too), (_, reader), (_, writer) = threads
    assert loop is loop_too
    assert reader is not loop
    assert writer is not loop


def test_calls_are_counted_as_those_of_the_model(tmp_path: Path, asking: Ask) -> None:
    app = make_app(tmp_path)
    infer(asking(app), "linear", linear_request())
    statistics = app.statistics.get("linear")
    assert statistics is not None
    assert statistics.calls == 1


@pytest.mark.parametrize("dtype", NUMBERS)
def test_binary_data_is_viewed_and_not_copied(dtype: str) -> None:
    spec = TensorSpec("x", dtype, ("batch", 4))
    body = bytearray(np.ones((8, 4), dtype).tobytes())
    array = from_binary(spec, (8, 4), memoryview(body))
    assert np.shares_memory(array, np.frombuffer(body, np.uint8))
    assert np.shares_memory(np.frombuffer(to_binary(array), np.uint8), array)
    shifted = memoryview(bytearray(b"x") + body)[1:]
    assert from_binary(spec, (8, 4), shifted).flags.aligned


@pytest.mark.parametrize("dtype", NUMBERS)
@given(data=st.data())
def test_numbers_survive_both_forms(dtype: str, data: st.DataObject) -> None:
    finite: dict[str, Any] = {}
    if dtype.startswith("float"):
        finite = {"allow_nan": False, "allow_infinity": False}
    shapes = hnp.array_shapes(max_dims=3, min_side=0, max_side=4)
    elements = hnp.from_dtype(np.dtype(dtype), **finite)
    array = data.draw(hnp.arrays(dtype, shapes, elements=elements))
    spec = TensorSpec("x", dtype, tuple("abc"[: array.ndim]))
    binary = from_binary(spec, array.shape, memoryview(to_binary(array)))
    flat = from_json(spec, array.shape, orjson.loads(orjson.dumps(array.ravel().tolist())))
    for got in (binary, flat):
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert np.array_equal(got, array)
    if array.size:
        nested = from_json(spec, array.shape, orjson.loads(orjson.dumps(array.tolist())))
        assert np.array_equal(nested, array)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_survive_both_forms(texts: list[str]) -> None:
    spec, array = TensorSpec("x", "str", ("batch",)), np.array(texts, object)
    binary = from_binary(spec, array.shape, memoryview(to_binary(array)))
    assert binary.tolist() == from_json(spec, array.shape, texts).tolist() == texts


def test_a_model_of_this_protocol_answers_as_in_the_notebook(tmp_path: Path, asking: Ask) -> None:
    client: TestClient = asking(make_app(tmp_path))
    outputs = infer(client, "named", linear_request([0.25, 0.5, 0.0])).json()["outputs"]
    local = load_model(tmp_path / "named.onnx", labels=["up", "down"]).predict([0.25, 0.5, 0.0])
    assert outputs[0]["data"] == [local.label]
    assert outputs[1]["data"] == pytest.approx(list(local.probabilities.values()))
