"""Endpoints made of models: pipelines, fallbacks, ensembles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import App, Lab, Prediction, load_model, majority_vote
from conduit_lab.core.errors import ModelInputError
from conduit_lab.serving import codec
from tests.models import classifiers
from tests.runtime import fake_device, graphs
from tests.serving.conftest import Ask


@pytest.fixture
def sign(app: App, weights: Path) -> App:
    @app.ml_endpoint("/sign", model="sign.npz")
    def sign(input_data: dict[str, Any]) -> Any:
        return input_data["features"]

    return app


@pytest.mark.parametrize(
    ("features", "got"),
    [
        ([1, 2, 3], r"float32 \[batch, 2\], got float32 \[3\]"),
        ([[[1, 2]]], r"float32 \[batch, 2\], got float32 \[1, 1, 2\]"),
        (["a", "b"], r"float32 \[batch, 2\], got 2 texts"),
        ([1, [2]], r"float32 \[batch, 2\], got lists of unequal length"),
        (None, r"float32 \[batch, 2\], got object \[\]"),
        ({"x": [1, 2]}, r"expects the inputs input, got x"),
    ],
)
def test_a_wrong_shape_or_dtype_is_a_400_that_names_input_wanted_and_got(
    sign: App, asking: Ask, features: Any, got: str
) -> None:
    answer = asking(sign).post("/sign", json={"features": features})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "bad_input"
    with pytest.raises(ModelInputError, match=got):
        sign.endpoints[0]({"features": features})
    assert "'sign' expects" in error["message"]


def test_one_sample_and_a_batch_are_both_answered(sign: App, asking: Ask) -> None:
    client = asking(sign)
    assert client.post("/sign", json={"features": [1, 1]}).json()["label"] == "up"
    labels = [
        p["label"] for p in client.post("/sign", json={"features": [[1, 1], [-1, -1]]}).json()
    ]
    assert labels == ["up", "down"]
    assert client.post("/sign", json={"features": np.zeros((0, 2)).tolist()}).status_code in (
        200,
        400,
    )


def test_the_fallback_answers_when_the_model_file_is_missing_and_says_so(
    app: App, asking: Ask, weights: Path
) -> None:
    @app.ml_endpoint("/sign", model="v2.npz", fallback="sign.npz")
    def sign(input_data: dict[str, Any]) -> Any:
        return input_data["features"]

    answer = asking(app).post("/sign", json={"features": [1, 1]})
    assert answer.json()["label"] == "up"
    assert answer.headers["x-conduit-fallback"] == "sign"
    assert answer.json() == codec.loads(codec.dumps(sign({"features": [1, 1]})))


@pytest.mark.parametrize("host", [App, Lab])
@pytest.mark.parametrize("config", [None, {"architectures": ["BertForQuestionAnswering"]}, {}])
def test_the_fallback_answers_for_a_folder_that_cannot_be_loaded(
    host: type[App], config: Any, asking: Ask, weights: Path, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "config.json").write_bytes(codec.dumps(config))
    app = host("desk", root=tmp_path)
    app.ml_endpoint("/sign", model="folder", fallback="sign.npz")(_features)
    answer = asking(app).post("/sign", json={"features": [1, 1]})
    assert (answer.json()["label"], answer.headers["x-conduit-fallback"]) == ("up", "sign")


def test_no_fallback_header_when_the_model_itself_answered(
    app: App, asking: Ask, weights: Path
) -> None:
    app.ml_endpoint("/sign", model="sign.npz", fallback=_broken)(_features)
    answer = asking(app).post("/sign", json={"features": [1, 1]})
    assert answer.status_code == 200
    assert "x-conduit-fallback" not in answer.headers


def test_bad_input_is_the_callers_and_is_not_tried_on_the_fallback(
    app: App, asking: Ask, weights: Path
) -> None:
    app.ml_endpoint("/sign", model="sign.npz", fallback=lambda value: "fallback")(_features)
    assert asking(app).post("/sign", json={"features": [1]}).status_code == 400


def test_a_fallback_answers_for_a_model_that_raises(app: App, asking: Ask, weights: Path) -> None:
    app.ml_endpoint("/sign", model=_broken, fallback="sign.npz")(_features)
    answer = asking(app).post("/sign", json={"features": [1, 1]})
    assert (answer.status_code, answer.headers["x-conduit-fallback"]) == (200, "sign")


def test_a_model_and_a_fallback_that_both_fail_are_a_500(
    app: App, asking: Ask, weights: Path
) -> None:
    app.ml_endpoint("/sign", model="none.npz", fallback=_broken)(_features)
    assert asking(app).post("/sign", json={"features": [1, 1]}).status_code == 500


def test_an_ensemble_takes_its_members_input_and_votes(
    lab: Lab, asking: Ask, weights: Path
) -> None:
    @lab.ml_ensemble(
        "/vote",
        models=["sign.npz", "sign.npz", lambda value: Prediction("down", 1.0, {"down": 1.0})],
    )
    def vote(predictions: list[Prediction]) -> Any:
        assert len(predictions) == 3
        return majority_vote(predictions)

    here = vote([1.0, 1.0])
    there = asking(lab).post("/vote", json=[1.0, 1.0]).json()
    assert here.label == "up"
    assert there == codec.loads(codec.dumps(here))


def test_an_ensemble_tells_which_member_cannot_take_the_input(
    lab: Lab, asking: Ask, weights: Path
) -> None:
    lab.ml_ensemble("/vote", models=["sign.npz", "sign.npz"])(majority_vote)
    answer = asking(lab).post("/vote", json=[1.0])
    assert answer.status_code == 400
    assert (
        "'sign' expects input float32 [batch, 2], got float32 [1]"
        in answer.json()["error"]["message"]
    )


def test_a_pipeline_in_python_leaves_a_trace_of_its_stages(lab: Lab, weights: Path) -> None:
    model = lab.load_model("sign.npz")

    @lab.ml_pipeline("/sign")
    def analyze(input_data: dict[str, Any]) -> Any:
        return model.predict(input_data["features"])

    analyze({"features": [1, 1]})
    assert analyze.trace is not None
    assert [span.name for span in analyze.trace] == ["analyze", "sign"]
    assert analyze.trace["sign"].output.label == "up"


def test_a_relative_path_in_a_handler_starts_at_the_apps_root(
    app: App, asking: Ask, weights: Path
) -> None:
    @app.post("/sign")
    def sign(features: list[float]) -> Any:
        return load_model("sign.npz")(features)

    assert asking(app).post("/sign", json={"features": [1, 1]}).json()["label"] == "up"


def _broken(value: Any) -> Any:
    raise RuntimeError("driver lost")


def _features(input_data: dict[str, Any]) -> Any:
    return input_data["features"]


def test_a_run_on_the_cpu_instead_of_the_device_is_in_the_answer(
    app: App, asking: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = fake_device.plug_in(monkeypatch)
    graphs.linear(app.root / "sum.onnx", np.ones((2, 1)))
    model = app.load_model("sum.onnx")

    @app.post("/sum")
    def total(value: Any) -> Any:
        return model.predict(value)

    client = asking(app)
    assert "x-conduit-device" not in client.post("/sum", json=[1, 2]).headers
    gpu.lost = True
    answer = client.post("/sum", json=[1, 2])
    assert (answer.json(), answer.headers["x-conduit-device"]) == ([3.0], "sum: cpu")
    gpu.lost = False
    assert "x-conduit-device" not in client.post("/sum", json=[1, 2]).headers
    assert caplog.text.count("cuda failed") == 1


def test_classifiers_of_text_and_of_tokens_are_served(
    app: App, asking: Ask, tmp_path: Path
) -> None:
    tokenizer = classifiers.bert()
    logits = classifiers.table(tokenizer, 2, {"good": [0, 2], "bad": [2, 0], "anna": [0, 3]})
    sentence, token = (f"BertFor{part}Classification" for part in ("Sequence", "Token"))
    labels: dict[str, Any] = {"id2label": {"0": "O", "1": "YES"}}
    classifiers.folder(tmp_path / "mood", tokenizer, logits, head=sentence, **labels)
    classifiers.folder(tmp_path / "ner", tokenizer, logits, head=token, by_token=True, **labels)
    mood, ner = app.load_model("mood"), app.load_model("ner")

    @app.post("/mood")
    async def answer_mood(input_data: Any) -> Any:
        return await mood.acall(input_data)

    @app.post("/ner")
    def answer_ner(input_data: Any) -> Any:
        return ner.predict(input_data)

    client = asking(app)
    assert client.post("/mood", json="good").json()["label"] == "YES"
    pair = {"text": "bad", "text_pair": "good"}
    assert [p["label"] for p in client.post("/mood", json=["bad", pair]).json()] == ["O", "YES"]
    (entity,) = client.post("/ner", json="so  Anna, in").json()
    score = entity.pop("score")
    assert entity == {"label": "YES", "start": 4, "end": 8, "text": "Anna"}
    assert score == pytest.approx(1 / (1 + np.exp(-3)))
    assert client.post("/ner", json=["so", "good"]).json()[0] == []
    assert client.post("/ner", json=3).status_code == 400
