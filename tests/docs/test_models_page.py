"""The code of docs/models.md runs, and its saved models give scikit-learn's outputs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab.core import paths
from conduit_lab.models.load import load_model
from conduit_lab.models.model import Model
from conduit_lab.models.text.embedder import Embedder

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

Names = dict[str, Any]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Iterator[Names]:
    """The names that the page's code defines, run in a folder with only the embedding model."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(minilm.path, folder / "data" / "models" / "minilm")
    names: Names = {}
    with pytest.MonkeyPatch.context() as patch, paths.use_root(folder):
        patch.chdir(folder)
        for block in re.findall(
            r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
        ):
            exec(compile(block, str(PAGE), "exec"), names)
        yield names


def model(name: str) -> Model:
    loaded = load_model(name)
    assert isinstance(loaded, Model)
    return loaded


def rows(page: Names) -> Any:
    return page["X"].astype(np.float32)


@pytest.mark.parametrize("name", ["logistic", "classifier"])
def test_a_saved_classifier_gives_the_probabilities_of_scikit_learn(page: Names, name: str) -> None:
    predictions = model(f"{name}.npz").predict(rows(page))
    np.testing.assert_allclose(
        predictions.probabilities, page[name].predict_proba(page["X"]), atol=1e-5
    )
    assert [p.label for p in predictions] == page[name].predict(page["X"]).astype(str).tolist()


def test_a_saved_regressor_gives_the_numbers_of_scikit_learn(page: Names) -> None:
    output = model("regressor.npz").predict(rows(page))
    np.testing.assert_allclose(output[:, 0], page["regressor"].predict(page["X"]), atol=1e-5)


def test_a_saved_pipeline_scales_its_input(page: Names) -> None:
    values = 5 * page["X"] + 3
    predictions = model("pipeline.npz").predict(values.astype(np.float32))
    np.testing.assert_allclose(
        predictions.probabilities, page["pipeline"].predict_proba(values), atol=1e-5
    )


def two_classes(page: Names) -> Any:
    return np.where(page["y"] == 0, "no", "yes")


def test_two_classes_of_a_linear_model_have_both_probabilities(page: Names, tmp_path: Path) -> None:
    fitted = type(page["logistic"])().fit(page["X"], two_classes(page))
    path = tmp_path / "two.npz"
    np.savez(path, coef_=fitted.coef_, intercept_=fitted.intercept_, classes_=fitted.classes_)
    predictions = model(str(path)).predict(rows(page))
    assert predictions.labels == ["no", "yes"]
    np.testing.assert_allclose(
        predictions.probabilities, fitted.predict_proba(page["X"]), atol=1e-5
    )


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_two_classes_of_a_network_have_both_probabilities(
    page: Names, tmp_path: Path, activation: str
) -> None:
    fitted = type(page["classifier"])(
        hidden_layer_sizes=(8,), activation=activation, tol=0.01, random_state=0
    )
    fitted.fit(page["X"], two_classes(page))
    path = tmp_path / "two.npz"
    np.savez(path, **page["layers"](fitted))
    predictions = model(str(path)).predict(rows(page))
    np.testing.assert_allclose(
        predictions.probabilities, fitted.predict_proba(page["X"]), atol=1e-5
    )


@pytest.mark.parametrize("parts", [{}, {"with_mean": False}, {"with_std": False}])
def test_a_scaler_before_a_linear_model_is_folded_in(
    page: Names, tmp_path: Path, parts: Names
) -> None:
    scaler = type(page["pipeline"][0])(**parts)
    values = 5 * page["X"] + 3
    fitted = page["make_pipeline"](scaler, type(page["logistic"])(max_iter=1000)).fit(
        values, page["y"]
    )
    path, last = tmp_path / "scaled.npz", fitted[-1]
    arrays = {"coef_": last.coef_, "intercept_": last.intercept_, "classes_": last.classes_}
    np.savez(path, **page["scaled"](fitted[0], arrays))
    predictions = model(str(path)).predict(values.astype(np.float32))
    np.testing.assert_allclose(predictions.probabilities, fitted.predict_proba(values), atol=1e-5)


@pytest.mark.parametrize("targets", [1, 3])
def test_a_linear_regression_is_saved_without_classes(
    page: Names, tmp_path: Path, targets: int
) -> None:
    from sklearn.linear_model import LinearRegression

    wanted = page["X"] @ np.random.default_rng(0).normal(size=(12, targets)) + 2
    fitted = LinearRegression().fit(page["X"], wanted[:, 0] if targets == 1 else wanted)
    path = tmp_path / "line.npz"
    np.savez(path, coef_=fitted.coef_, intercept_=fitted.intercept_)
    np.testing.assert_allclose(model(str(path)).predict(rows(page)), wanted, atol=1e-4)


def test_every_form_of_the_table_loads(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    weight = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for names, transposed in {
        ("W", "b"): False,
        ("weights", "bias"): False,
        ("weight", "bias"): True,
        ("coef_", "intercept_"): True,
    }.items():
        assert f"`{names[0]}` and `{names[1]}`" in text
        arrays: Names = {names[0]: weight.T if transposed else weight, names[1]: np.ones(3)}
        np.savez(tmp_path / "one.npz", **arrays)
        assert model(str(tmp_path / "one.npz")).predict([1, 1]).tolist() == [6, 8, 10]


def test_the_embedding_model_becomes_a_quarter_of_its_size(page: Names) -> None:
    report = page["report"]
    before, after = report.size
    assert after < 0.3 * before
    assert report.path.name == "model_int8.onnx"
    assert report.difference.cosine[1] > 0.98
    assert "cosine" in repr(report)
