"""A page in headless Chromium: the recorded calls get the answers of the session, offline."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.cli import main
from conduit_lab.core.errors import ExportError
from conduit_lab.export.manifest import file_digests
from conduit_lab.export.web.browser import NAMES
from conduit_lab.export.web.site import Site
from conduit_lab.export.web.web_export import WebExport
from conduit_lab.export.web.web_writer import export_web
from tests.export.session import Session
from tests.runtime.graphs import constant, node, save, value
from tests.serving.clients.node import PACKAGES, require

RUNTIME = PACKAGES / "node_modules" / "onnxruntime-web"

CELLS = """
    import numpy as np
    from conduit_lab import Parallel, Sequential, average, majority_vote
    topic = lab.load_model("models/topic.onnx")
    sign = lab.load_model("models/sign.npz")
    chosen = lab.load_model("models/chosen.onnx", labels=["no", "yes"])
    parts = lab.load_model("models/parts.onnx")

    @lab.ml_pipeline("/analyze")
    def analyze(data):
        embedding = np.array(data["x"], dtype=np.float32)
        mood = sign.predict(embedding)
        score = round(float(mood.score), 3)
        return {"topic": topic.predict(embedding), "mood": mood.label, "score": score}

    @lab.ml_endpoint("/predict", model="models/topic.onnx", fallback="models/sign.npz")
    def prepare(data):
        return data["x"]

    @lab.ml_ensemble("/vote", models=["models/topic.onnx", "models/other.npz", sign])
    def vote(predictions):
        return majority_vote(predictions)

    @lab.ml_ensemble("/mean", models=["models/topic.onnx", "models/other.npz"])
    def mean(predictions):
        return average(predictions)

    @lab.get("/parts/{kind}")
    def show(kind: str, x: list[float], n: int = 2):
        return {"kind": kind, "n": n, "parts": parts.predict({"a": x, "b": [n]})}

    @lab.post("/chosen")
    def choose(x: list[float]):
        return Sequential(Parallel({"one": chosen, "two": sign}), lambda both: both["one"])(x)
"""


SOFTMAX = [
    node("MatMul", ["input", "W"], ["z"]),
    node("Softmax", ["z"], ["probabilities"], axis=1),
]
ROWS, SCORES = value("input", ["batch", 2]), value("probabilities", ["batch", 2])


def topic(path: Path, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(2, 2)).astype(np.float32)
    labels = {"labels": json.dumps(["up", "down"])}
    save(path, SOFTMAX, [ROWS], [SCORES], [constant("W", weight)], labels)


def models(folder: Path) -> None:
    seeded = np.random.default_rng(3)
    topic(folder / "topic.onnx", 3)
    # the graph's own label is the less likely one
    save(
        folder / "chosen.onnx",
        [*SOFTMAX, node("ArgMin", ["probabilities"], ["label"], axis=1, keepdims=0)],
        [ROWS],
        [value("label", ["batch"], "int64"), SCORES],
        [constant("W", seeded.normal(size=(2, 2)).astype(np.float32))],
    )
    save(
        folder / "parts.onnx",
        [
            node("ReduceSum", ["a", "axes"], ["total"], keepdims=1),
            node("Mul", ["b", "b"], ["square"]),
        ],
        [value("a", ["batch", 2]), value("b", ["batch", 1], "int64")],
        [value("total", ["batch", 1]), value("square", ["batch", 1], "int64")],
        [constant("axes", np.array([1]))],
    )
    np.savez(
        folder / "other.npz",
        W0=seeded.normal(size=(2, 5)),
        b0=seeded.normal(size=5),
        W1=seeded.normal(size=(5, 2)),
        activations=np.array(["gelu", "softmax"]),
        labels=np.array(["down", "level"]),
    )


@pytest.fixture
def desk(session: Session) -> Session:
    """A session of six endpoints, each called."""
    models(session.root / "models")
    session.run(CELLS)
    names = session.names
    names["analyze"]({"x": [1.0, 2.0]})
    names["analyze"]({"x": [-0.5, 2]})
    names["prepare"]({"x": [0.5, 1]})
    names["prepare"]({"x": [[0.5, 1], [-3, 0.1]]})
    names["vote"]([1, 2])
    names["vote"]([[1, 2], [-1, 0.5], [0, 0]])
    names["mean"]([3, -1])
    names["show"]("left & right/ü", [1, 2.5], n=3)
    names["choose"]([2, -1.0])
    return session


def export(desk: Session, **options: Any) -> WebExport:
    given = {"examples": desk.lab.examples, "runtime": RUNTIME, **options}
    return export_web(desk.lab, "site", **given)


@pytest.fixture
def ort_web() -> None:
    require("onnxruntime-web")


@pytest.fixture
def chromium() -> None:
    if not any(map(shutil.which, NAMES)):
        reason = "no Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.browser
@pytest.mark.usefixtures("ort_web", "chromium")
def test_the_page_gives_every_recorded_answer_offline(desk: Session) -> None:
    made = export(desk)
    assert [outcome.problem for outcome in made.outcomes] == [None] * 9
    assert made.proof == "Headless Chromium gives the same answer to 9 of 9 calls."
    folder = made.folder
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    digests = file_digests(folder)
    del digests["manifest.json"]
    assert manifest["sha256"] == digests
    assert manifest["replayed"] == 9


@pytest.mark.browser
@pytest.mark.usefixtures("ort_web", "chromium")
def test_a_page_that_answers_otherwise_is_not_written(
    desk: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a model is not the one that the session holds."""
    write: Callable[..., None] = Site.write
    export(desk, proof=None)
    before = file_digests(desk.root / "site")

    def write_other(site: Site, folder: Path, runtime: Any) -> None:
        write(site, folder, runtime)
        topic(folder / "models" / "topic.onnx", 4)

    monkeypatch.setattr(Site, "write", write_other)
    with pytest.raises(ExportError, match="the page answers POST /analyze differently"):
        export(desk, endpoints=["/analyze"])
    assert file_digests(desk.root / "site") == before


@pytest.mark.browser
@pytest.mark.usefixtures("ort_web", "chromium")
def test_the_check_of_a_page_repeats_its_calls_and_says_why_it_does_not_start(
    desk: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export(desk, proof=None).folder
    (folder / "app.json").write_text("{}")
    assert main(["check", str(folder)]) == 1
    assert "the page does not start in Chromium" in capsys.readouterr().err
