"""Dense: answers of every form of a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_lab.core.spec import TensorSpec
from conduit_lab.runtime.sessions.npz import ACTIVATIONS, Dense

few = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def plain(name: str, x: float, row: list[float]) -> float:
    """Return the activation of one number by its definition, in double precision."""
    match name:
        case "identity":
            return x
        case "relu":
            return x if x > 0 else 0.0
        case "tanh":
            return math.tanh(x)
        case "sigmoid":
            return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
        case "gelu":
            return x * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        case _:
            top = max(row)
            return math.exp(x - top) / sum(math.exp(other - top) for other in row)


@few
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    rows=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_dense_equals_a_plain_computation(
    tmp_path: Path, sizes: list[int], rows: int, seed: int, data: st.DataObject
) -> None:
    layers = len(sizes) - 1
    names = data.draw(
        st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=layers, max_size=layers)
    )
    biased = data.draw(st.lists(st.booleans(), min_size=layers, max_size=layers))
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {"activations": np.array(names)}
    for i in range(layers):
        arrays[f"W{i}"] = rng.normal(size=(sizes[i], sizes[i + 1])).astype(np.float32)
        if biased[i]:
            arrays[f"b{i}"] = rng.normal(size=sizes[i + 1]).astype(np.float32)
    np.savez(tmp_path / "net.npz", **arrays)
    x = rng.normal(size=(rows, sizes[0])).astype(np.float32)

    (output,) = Dense(tmp_path / "net.npz").run({"input": x})

    expected = x.astype(float).tolist()
    for i, name in enumerate(names):
        weight = arrays[f"W{i}"].astype(float).tolist()
        bias = arrays[f"b{i}"].astype(float).tolist() if biased[i] else [0.0] * sizes[i + 1]
        sums = [
            [
                sum(row[k] * weight[k][j] for k in range(sizes[i])) + bias[j]
                for j in range(sizes[i + 1])
            ]
            for row in expected
        ]
        expected = [[plain(name, value, row) for value in row] for row in sums]
    assert output.dtype == np.float32
    assert output.shape == (rows, sizes[-1])
    np.testing.assert_allclose(
        output, np.array(expected).reshape(output.shape), rtol=1e-3, atol=1e-4
    )


def test_a_run_does_not_modify_its_input_or_the_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [*sorted(ACTIVATIONS), "relu"]
    weights: dict[str, Any] = {f"W{i}": rng.normal(size=(4, 4)) for i in range(len(names))}
    dense = Dense(save(tmp_path / "net.npz", activations=np.array(names), **weights))
    x = rng.normal(size=(3, 4)).astype(np.float32)
    before = x.copy()
    first = dense.run({"input": x})[0].copy()
    assert np.array_equal(dense.run({"input": x})[0], first)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_of_large_values_are_finite(name: str, rows: int) -> None:
    x = np.array([[-1e4, -50.0, 0.0, 50.0, 1e4]] * rows, np.float32)
    assert np.isfinite(ACTIVATIONS[name](x)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (1, 3000), (4,), (1, 2, 4), (2, 1, 4)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_of_any_shape_is_along_its_last_axis(shape: tuple[int, ...], dtype: Any) -> None:
    x = (np.random.default_rng(0).standard_normal(shape) * 5).astype(dtype)
    powers = np.exp(x.astype(np.float64))
    expected = powers / powers.sum(axis=-1, keepdims=True)
    got = ACTIVATIONS["softmax"](x)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=max(2e-6, np.finfo(dtype).eps))


@pytest.mark.parametrize("rows", [1, 2])
def test_softmax_of_nan_is_nan(rows: int) -> None:
    got = ACTIVATIONS["softmax"](np.array([[0, np.nan, 1]] * rows, np.float32))
    assert np.isnan(got).all()


def test_specs_device_and_labels(tmp_path: Path) -> None:
    save(tmp_path / "net.npz", W0=np.ones((3, 2)), labels=np.array(["no", "yes"]))
    dense = Dense(tmp_path / "net.npz")
    assert dense.inputs == (TensorSpec("input", "float32", ("batch", 3)),)
    assert dense.outputs == (TensorSpec("output", "float32", ("batch", 2)),)
    assert dense.labels == ["no", "yes"]
    assert dense.device == "numpy"
    assert dense.size == 3 * 2 * 4 + 2 * 4


# One layer, under its usual names

W = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # [in, out]
b = np.array([0.5, -0.5])


@pytest.mark.parametrize(
    "arrays",
    [
        {"W": W, "b": b},
        {"weights": W, "bias": b},
        {"weight": W.T, "bias": b},
        {"coef_": W.T, "intercept_": b},
    ],
    ids=lambda arrays: "+".join(arrays),
)
def test_a_single_layer_has_its_usual_names(tmp_path: Path, arrays: dict[str, Any]) -> None:
    dense = Dense(save(tmp_path / "one.npz", **arrays))
    assert dense.inputs == (TensorSpec("input", "float32", ("batch", 3)),)
    assert dense.run({"input": np.array([[1, 1, 1], [1, 0, 0]], np.float32)})[0].tolist() == [
        [9.5, 11.5],
        [1.5, 1.5],
    ]


def test_a_weight_of_one_number_has_no_order(tmp_path: Path) -> None:
    dense = Dense(save(tmp_path / "one.npz", weight=np.array([[2.0]])))
    assert dense.run({"input": np.array([[3]], np.float32)})[0].tolist() == [[6.0]]


@pytest.mark.parametrize("name", ["W", "weights", "weight", "coef_"])
def test_a_flat_weight_is_one_output(tmp_path: Path, name: str) -> None:
    bias = {"W": "b", "coef_": "intercept_"}.get(name, "bias")
    dense = Dense(save(tmp_path / "flat.npz", **{name: np.array([1.0, 2.0]), bias: np.float64(3)}))
    assert dense.run({"input": np.array([[1, 1]], np.float32)})[0].tolist() == [[6.0]]


def test_a_single_layer_has_its_activation(tmp_path: Path) -> None:
    dense = Dense(save(tmp_path / "one.npz", W=-np.ones((2, 2)), activation=np.array("relu")))
    assert dense.run({"input": np.ones((1, 2), np.float32)})[0].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("names", ["labels", "classes_"])
def test_coefficients_with_class_names_give_probabilities(tmp_path: Path, names: str) -> None:
    dense = Dense(
        save(tmp_path / "one.npz", coef_=np.eye(3), intercept_=np.zeros(3), **{names: np.arange(3)})
    )
    assert dense.labels == ["0", "1", "2"]
    (output,) = dense.run({"input": np.array([[0, 0, np.log(2)]], np.float32)})
    np.testing.assert_allclose(output, [[0.25, 0.25, 0.5]], rtol=1e-6)


def test_coefficients_alone_give_numbers(tmp_path: Path) -> None:
    dense = Dense(save(tmp_path / "one.npz", coef_=np.eye(3)))
    assert dense.run({"input": np.array([[1, 2, 3]], np.float32)})[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    "arrays",
    [
        {"coef_": np.array([[1.0]]), "intercept_": np.array([0.5])},
        {
            "coef_": np.array([[1.0]]),
            "intercept_": np.array([0.5]),
            "activation": np.array("sigmoid"),
        },
        {"W": np.array([1.0]), "b": np.float32(0.5), "activation": np.array("sigmoid")},
        {"W0": np.array([[1.0]]), "b0": np.array([0.5]), "activations": np.array(["sigmoid"])},
    ],
)
@pytest.mark.parametrize("x", [-100.0, -20.0, 0.0, 3.0, 100.0])
def test_a_sigmoid_of_two_classes_gives_both_probabilities(
    tmp_path: Path, arrays: dict[str, Any], x: float
) -> None:
    dense = Dense(save(tmp_path / "two.npz", classes_=np.array([False, True]), **arrays))
    assert dense.labels == ["False", "True"]
    assert dense.outputs == (TensorSpec("output", "float32", ("batch", 2)),)
    (output,) = dense.run({"input": np.array([[x]], np.float32)})
    second = 1 / (1 + math.exp(-x - 0.5))
    np.testing.assert_allclose(output, [[1 - second, second]], rtol=1e-5, atol=1e-7)


def test_a_sigmoid_of_three_classes_stays_one_output(tmp_path: Path) -> None:
    path = save(
        tmp_path / "three.npz", W=np.zeros((1, 1)), activation=np.array("sigmoid"), labels=[1, 2, 3]
    )
    assert Dense(path).outputs == (TensorSpec("output", "float32", ("batch", 1)),)


def test_a_sigmoid_without_class_names_is_one_output(tmp_path: Path) -> None:
    dense = Dense(save(tmp_path / "one.npz", W=np.zeros((1, 1)), activation=np.array("sigmoid")))
    assert dense.run({"input": np.ones((1, 1), np.float32)})[0].tolist() == [[0.5]]


def test_layers_are_ordered_by_number(tmp_path: Path) -> None:
    weights = {f"W{i}": np.full((1, 1), i + 1.0) for i in reversed(range(12))}
    save(tmp_path / "deep.npz", **weights)
    assert Dense(tmp_path / "deep.npz").run({"input": np.ones((1, 1), np.float32)})[
        0
    ] == math.factorial(12)


def test_big_endian_weights_are_read_right(tmp_path: Path) -> None:
    save(tmp_path / "net.npz", W0=np.arange(6.0).reshape(3, 2).astype(">f4"))
    output = Dense(tmp_path / "net.npz").run({"input": np.ones((1, 3), np.float32)})[0]
    assert output.tolist() == [[6.0, 9.0]]


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path
