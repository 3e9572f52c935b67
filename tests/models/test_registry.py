"""An app's models by name, with their cost; a model that is loaded again replaces the older."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from conduit_lab import App, Lab
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.model import Model
from conduit_lab.models.registry import Models
from conduit_lab.runtime.sessions.cache import sessions
from tests.runtime import graphs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "sum.onnx", np.ones((3, 1)))


def test_by_name_by_number_and_in_order(path: Path) -> None:
    models = Models()
    models.add(Model(path))
    models.add(CallableModel(len, name="length"))
    assert [model.name for model in models] == ["sum", "length"]
    assert models["length"] is models[1]
    assert models._ipython_key_completions_() == ["sum", "length"]
    with pytest.raises(KeyError, match="no model 'mood'; there are sum, length"):
        models["mood"]


def test_a_cell_that_is_run_again_leaves_one_model(path: Path) -> None:
    lab = Lab("lab", root=path.parent)
    for _ in range(3):
        model = lab.load_model("sum.onnx")
    assert list(lab.models) == [model]
    lab.load_model("sum.onnx", name="other")
    assert len(lab.models) == 2
    assert model.shared is lab.models["other"].shared


def test_a_replaced_model_is_in_use_while_code_holds_it(path: Path) -> None:
    models = Models()
    first, second = Model(path), Model(path)
    for model in (first, second, second):
        models.add(model)
    assert list(models) == [second]
    assert models.in_use == [first, second]
    models.add(Model(path, name="other"))
    assert [model.name for model in models.in_use] == ["sum", "sum", "other"]
    del first, model
    gc.collect()
    assert len(models.in_use) == 2


def test_a_server_opens_both_models_of_one_path(path: Path) -> None:
    app = App("app", root=path.parent)
    first, second = app.load_model("sum.onnx"), app.load_model("sum.onnx")
    app.open_resources()
    assert first.loaded
    assert second.loaded
    assert first.shared is second.shared


def test_the_table_shows_size_device_calls_and_hits(path: Path) -> None:
    graphs.linear(path, np.full((3, 1), 0.375))  # other tests may have opened the same file
    lab = Lab("lab", root=path.parent)
    model = lab.load_model("sum.onnx")
    lab.load_model("sum.onnx", name="<twin>")
    lab.load_model(len)
    model.predict([1, 2, 3])
    head, columns, first, twin, function = repr(lab.models).splitlines()
    assert head.startswith("Models · 3 · ")
    assert " in use" in head
    assert columns.split("  ")[0] == "model"
    assert first.split()[:3] == ["sum", "Model", "cpu"]
    assert first.split()[-2:] == ["1", "loaded"]  # the twin found it already open
    assert twin.startswith("<twin>")
    assert function.split() == ["len", "CallableModel", "python"]
    assert "&lt;twin&gt;" in lab.models._repr_mimebundle_()["text/html"]


def test_the_table_opens_nothing(path: Path) -> None:
    app = App("app", root=path.parent)
    model = app.load_model("sum.onnx")
    assert "not opened" in repr(app.models)
    model.open()
    model.shared.close()
    assert "evicted" in repr(app.models)
    assert not model.loaded


def test_evictions_and_preloads_are_shown_once_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "evictions", 0)
    monkeypatch.setattr(sessions.preloader, "preloads", 0)
    assert repr(Models()).splitlines()[0].endswith(" in use")
    monkeypatch.setattr(sessions, "evictions", 2)
    monkeypatch.setattr(sessions.preloader, "preloads", 3)
    assert repr(Models()).splitlines()[0].endswith(" in use · 2 evictions · 3 preloads")


def test_the_budget_is_that_of_the_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_budget", None)
    models = Models()
    models.budget = 3 * 2**30
    assert sessions.budget == models.budget == 3 * 2**30
