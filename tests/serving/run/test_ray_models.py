"""Models with `remote=True`: they answer from a deployment as they do in the process."""

from __future__ import annotations

import asyncio
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import (
    ModelInputError,
    ModelLoadError,
    ModelRunError,
    UnknownName,
    UnknownOption,
)
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.serving.app import App
from conduit_lab.serving.run import ray_models
from conduit_lab.serving.run.ray_models import DeploymentRuns, hosted, use_deployments
from tests.models import classifiers
from tests.models.text import embedders
from tests.runtime import graphs

WRITER = Path(__file__).parents[2] / "models" / "generation" / "decoders" / "llama"
WORDS = ["kettle", "pan lid", "lid"]


class RayTaskError(Exception):
    """As Ray raises the error of a task: its text is the traceback there."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("a traceback of another process")
        self.cause = cause


class RayActorError(Exception):
    """The process of a replica has ended."""


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = types.ModuleType("ray.exceptions")
    vars(exceptions).update(RayTaskError=RayTaskError, RayActorError=RayActorError)
    package = types.ModuleType("ray")
    vars(package).update(exceptions=exceptions)
    monkeypatch.setitem(sys.modules, "ray", package)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)
    monkeypatch.setattr(ray_models, "FIRST_PAUSE_SECONDS", 0.0)


class Handle:
    """A handle to a replica: values cross it pickled, and arrays arrive read-only.

    The first `dying` calls find that their replica has ended.
    """

    def __init__(self, session: Any, dying: int = 0) -> None:
        self.session = session
        self.dying = dying
        self.calls: list[str] = []

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> Any:
            sent = pickle.dumps(arguments)
            return types.SimpleNamespace(result=lambda: self._result(method, sent))

        return types.SimpleNamespace(remote=remote)

    def _result(self, method: str, sent: bytes) -> Any:
        with pytest.raises(RuntimeError):  # Ray Serve refuses to block a loop
            asyncio.get_running_loop()
        self.calls.append(method)
        if self.dying:
            self.dying -= 1
            raise RayActorError
        try:
            answer = getattr(self.session, method)(*pickle.loads(sent))
            if asyncio.iscoroutine(answer):
                answer = asyncio.run(answer)
        except Exception as error:
            raise RayTaskError(pickle.loads(pickle.dumps(error))) from error
        answer = pickle.loads(pickle.dumps(answer))
        for array in answer if isinstance(answer, list) else ():
            array.flags.writeable = False
        return answer


def apps(root: Path, load: Callable[[App], object]) -> Iterator[App]:
    """Yield two apps with the same models: one for the replicas of the app, one for the model's."""
    for _ in range(2):
        app = App("desk", root=root)
        load(app)
        yield app


def remote(root: Path, *names: str) -> tuple[Any, Handle]:
    """Return the model of a path as an app on Ray Serve has it, and the handle that it uses."""

    def load(app: App) -> None:
        app.load_model(*names, remote=True, name="model")

    mine, other = apps(root, load)
    handle = Handle(hosted(other, "model"))
    use_deployments(mine, {"desk-model": "model"}, {"desk-model": handle}.__getitem__)
    return mine.models["model"], handle


def linear(folder: Path, **metadata: str) -> Path:
    return graphs.linear(folder / "a.onnx", np.eye(4, dtype=np.float32)[:, :2], metadata)


def test_a_model_answers_from_its_deployment(tmp_path: Path) -> None:
    linear(tmp_path, labels='["left", "right"]')
    model, handle = remote(tmp_path, "a.onnx")
    here = Model(tmp_path / "a.onnx")
    samples = [np.array([1, 0, 2, 3], np.float32), np.array([0, 1, 5, 5], np.float32)]
    assert model.predict(samples[0]) == here.predict(samples[0])
    assert model.predict(samples[0].tolist()).label == "left"
    assert model.batch(samples) == here.batch(samples)
    assert asyncio.run(model.acall(samples[1])) == here.predict(samples[1])
    assert list(model.predict(samples)) == list(here.predict(samples))
    assert handle.calls[0] == "facts"
    assert handle.calls.count("run") == len(handle.calls) - 1 >= 4
    assert model.shared.is_remote
    assert model.size == 0 < here.size
    assert model.revision == here.open().revision
    assert model.labels == here.labels == ["left", "right"]
    assert "a.onnx" in repr(model)


def test_weights_of_numpy_answer_from_their_deployment(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "sign.npz",
        W0=np.array([[1, -1]], np.float32),
        activations=np.array(["softmax"]),
        labels=np.array(["up", "down"]),
    )
    model, _ = remote(tmp_path, "sign.npz")
    assert [each.label for each in model.batch([[1.0], [-1.0]])] == ["up", "down"]


def test_texts_are_encoded_here_and_run_there(tmp_path: Path) -> None:
    embedders.folder(tmp_path / "words")
    embedder, handle = remote(tmp_path, "words")
    here = load_model(tmp_path / "words")
    np.testing.assert_array_equal(embedder.encode(WORDS), here.encode(WORDS))
    np.testing.assert_array_equal(asyncio.run(embedder.acall("pan")), here.encode("pan"))
    assert embedder.fingerprint == here.fingerprint
    assert "run" in handle.calls


def test_a_text_classifier_answers_from_its_deployment(tmp_path: Path) -> None:
    tokenizer = classifiers.bert()
    logits = classifiers.table(tokenizer, 2, {"good": [0, 2], "bad": [2, 0]})
    labels = {"0": "no", "1": "yes"}
    head = "BertForSequenceClassification"
    classifiers.folder(tmp_path / "topics", tokenizer, logits, head=head, id2label=labels)
    model, _ = remote(tmp_path, "topics")
    here = load_model(tmp_path / "topics")
    assert model.predict("good") == here.predict("good")
    assert model.predict("good").label == "yes"


def test_calls_at_once_are_sent_side_by_side(tmp_path: Path) -> None:
    linear(tmp_path)
    model, handle = remote(tmp_path, "a.onnx")
    here = Model(tmp_path / "a.onnx")
    samples = np.random.default_rng(0).standard_normal((8, 4), np.float32)

    async def ask() -> list[Any]:
        return list(await asyncio.gather(*map(model.acall, samples)))

    for mine, sample in zip(asyncio.run(ask()), samples, strict=True):
        np.testing.assert_allclose(mine, here.predict(sample))
    assert handle.calls.count("run") == 8  # the replicas batch them


def test_a_handler_that_blocks_its_loop_is_answered_by_a_thread(tmp_path: Path) -> None:
    linear(tmp_path)
    model, _ = remote(tmp_path, "a.onnx")

    async def ask() -> Any:
        return model.predict([1.0, 2.0, 3.0, 4.0])

    np.testing.assert_allclose(asyncio.run(ask()), [1.0, 2.0])


def test_the_error_of_a_model_is_its_own(tmp_path: Path) -> None:
    linear(tmp_path)
    model, handle = remote(tmp_path, "a.onnx")
    model.open()
    calls = len(handle.calls)
    with pytest.raises(ModelInputError, match=r"expected|expects"):  # found here, without a call
        model.predict([1.0])
    assert len(handle.calls) == calls
    with pytest.raises(ModelInputError, match="input"):  # found there
        model.shared.run({"input": np.zeros((1, 9), np.float32)})
    assert len(handle.calls) == calls + 1


def test_a_run_whose_replica_ends_is_made_again(tmp_path: Path) -> None:
    linear(tmp_path)
    model, handle = remote(tmp_path, "a.onnx")
    handle.dying = 2
    np.testing.assert_allclose(model.predict([1.0, 2.0, 3.0, 4.0]), [1.0, 2.0])
    handle.dying = ray_models.RUN_TRIES
    with pytest.raises(ModelRunError, match="'desk-model' lost 5 replicas during one run"):
        model.predict([1.0, 2.0, 3.0, 4.0])
    assert handle.dying == 0


def test_another_content_in_the_deployment_is_refused(tmp_path: Path) -> None:
    linear(tmp_path)
    model, handle = remote(tmp_path, "a.onnx")
    other = tmp_path / "other"
    other.mkdir()
    graphs.linear(other / "a.onnx", np.ones((4, 2), np.float32))
    _, handle.session = None, remote(other, "a.onnx")[1].session
    with pytest.raises(ModelLoadError, match="has become another model"):
        model.open()


def test_elsewhere_it_runs_in_the_process(tmp_path: Path) -> None:
    linear(tmp_path)
    model = load_model("a.onnx", root=tmp_path, remote=True)
    assert model.remote
    assert not model.shared.is_remote
    np.testing.assert_allclose(model.predict([1.0, 2.0, 3.0, 4.0]), [1.0, 2.0])


def test_a_function_and_a_generator_have_no_deployment() -> None:
    with pytest.raises(UnknownOption, match=r"no file .* leave remote=True out"):
        load_model(len, remote=True)
    with pytest.raises(UnknownOption, match=r"llama is a Generator, .* KV cache .* Leave remote"):
        load_model(WRITER, remote=True)


def test_the_runs_of_a_deployment_have_its_name() -> None:
    assert DeploymentRuns("desk-model", None).name == "desk-model"


def test_a_model_of_a_module_runs_in_its_deployment(tmp_path: Path) -> None:
    linear(tmp_path)
    in_module = load_model("a.onnx", root=tmp_path, remote=True, name="model")
    local = load_model("a.onnx", root=tmp_path, name="model")
    app = App("desk", root=tmp_path)
    handle = Handle(hosted(app, "model"))
    use_deployments(app, {"desk-model": "model"}, {"desk-model": handle}.__getitem__)
    np.testing.assert_allclose(in_module.predict([1.0, 2.0, 3.0, 4.0]), [1.0, 2.0])
    assert in_module.shared.is_remote
    assert handle.calls == ["facts", "run"]
    assert not local.shared.is_remote


def test_both_models_of_one_path_run_in_their_deployment(tmp_path: Path) -> None:
    linear(tmp_path)
    app, other = App("desk", root=tmp_path), App("desk", root=tmp_path)
    first, second = (app.load_model("a.onnx", remote=True) for _ in range(2))
    other.load_model("a.onnx", remote=True)
    handle = Handle(hosted(other, "a"))
    use_deployments(app, {"desk-a": "a"}, {"desk-a": handle}.__getitem__)
    assert first.shared.is_remote
    assert second.shared.is_remote
    assert not other.models["a"].shared.is_remote


def test_a_name_of_no_model_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no model 'topic'"):
        hosted(App("desk", root=tmp_path), "topic")
