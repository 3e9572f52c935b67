from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.models.text.pooling import POOLING_MODES, DenseLayer, Normalize, Pooling

RNG = np.random.default_rng(0)
TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"

# each mode on the tokens of one text, [tokens, d], without padding
ONE: dict[str, Any] = {
    "cls": lambda t: t[0],
    "max": lambda t: t.max(0),
    "mean": lambda t: t.mean(0),
    "mean_sqrt_len_tokens": lambda t: t.sum(0) / len(t) ** 0.5,
    "weightedmean": lambda t: np.average(t, axis=0, weights=np.arange(1, len(t) + 1)),
    "lasttoken": lambda t: t[-1],
}


def padded(texts: list[Any]) -> tuple[Any, Any]:
    """Put texts of different length into one array, with arbitrary padding."""
    width = max(len(text) for text in texts)
    tokens = RNG.uniform(-1e3, 1e3, (len(texts), width, texts[0].shape[1])).astype(np.float32)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    return tokens, (np.arange(width) < np.array([[len(text)] for text in texts])).astype(np.int64)


@pytest.mark.parametrize("mode", POOLING_MODES)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_each_text_is_pooled_independently(mode: str, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [rng.standard_normal((length, 3)).astype(np.float32) for length in lengths]
    got = Pooling((mode,))(*padded(texts))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [ONE[mode](text) for text in texts], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "lasttoken"])
def test_tokens_at_the_begin_can_be_left_out(mode: str) -> None:
    texts = [RNG.standard_normal((length, 2)).astype(np.float32) for length in (3, 5)]
    tokens, mask = padded(texts)
    mask[:, :2] = 0
    np.testing.assert_allclose(
        Pooling((mode,))(tokens, mask), [ONE[mode](text[2:]) for text in texts], rtol=1e-5
    )


@pytest.mark.parametrize("mode", POOLING_MODES)
def test_text_without_a_token_is_zeros(mode: str) -> None:
    tokens = np.ones((2, 3, 4), np.float32)
    got = Pooling((mode,))(tokens, np.array([[0, 0, 0], [1, 1, 0]]))
    assert got[0].tolist() == [0, 0, 0, 0]
    assert got[1].any()


def test_several_modes_stand_side_by_side_in_the_configs_order() -> None:
    pooling = Pooling.of({"pooling_mode": ["lasttoken", "cls"]}, "here")
    tokens = np.array([[[1, 2], [3, 4]]], np.float32)
    assert pooling(tokens, np.ones((1, 2), np.int64)).tolist() == [[3, 4, 1, 2]]
    assert str(pooling) == "lasttoken + cls"


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({}, ("mean",)),
        ({"pooling_mode": "max"}, ("max",)),
        ({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}, ("cls",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",)),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}, ("mean",)),
        # the old switches have a fixed order, independent of the file
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
    ],
)
def test_both_forms_of_the_config_are_read(config: dict[str, Any], modes: tuple[str, ...]) -> None:
    assert Pooling.of(config, "here") == Pooling(modes)


def test_prompt_can_be_left_out_by_the_config() -> None:
    assert not Pooling.of({"include_prompt": False}, "here").include_prompt


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode": "median"},
        {"pooling_mode": []},
        {"pooling_mode": ["mean", "median"]},
        {"pooling_mode": [["mean"]]},
        {"pooling_mode": 3},
        {"pooling_mode_median_tokens": True},
    ],
)
def test_unknown_mode_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(
        ModelLoadError, match=r"here has the unknown pooling .*expected cls, max, mean"
    ):
        Pooling.of(config, "here")


def dense(path: Path, config: dict[str, Any] | None = None, **tensors: Any) -> DenseLayer:
    save_file(
        {name.replace("_", "."): np.asarray(array) for name, array in tensors.items()},
        path / "model.safetensors",
    )
    return DenseLayer.read(path, config or {"activation_function": IDENTITY})


WEIGHT = RNG.standard_normal((2, 3)).astype(np.float32)  # [out, in], as in PyTorch
BIAS = RNG.standard_normal(2).astype(np.float32)
X = RNG.standard_normal((4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (TANH, np.tanh),
        (IDENTITY, lambda z: z),
        ("torch.nn.modules.activation.ReLU", lambda z: np.maximum(z, 0)),
        ("torch.nn.modules.activation.Sigmoid", lambda z: 1 / (1 + np.exp(-z))),
    ],
)
def test_dense_layer_is_an_activated_linear_one(
    tmp_path: Path, activation: str, function: Any
) -> None:
    layer = dense(
        tmp_path, {"activation_function": activation}, linear_weight=WEIGHT, linear_bias=BIAS
    )
    before = X.copy()
    np.testing.assert_allclose(layer(X), function(X @ WEIGHT.T + BIAS), rtol=1e-5)
    np.testing.assert_array_equal(X, before)


def test_activation_is_tanh_where_none_is_named(tmp_path: Path) -> None:
    layer = dense(tmp_path, {"in_features": 3}, linear_weight=WEIGHT)
    np.testing.assert_allclose(layer(X), np.tanh(X @ WEIGHT.T), rtol=1e-5)
    assert str(layer) == "dense 3 → 2 (tanh)"


def test_half_precision_weights_are_computed_in_single(tmp_path: Path) -> None:
    got = dense(tmp_path, linear_weight=WEIGHT.astype(np.float16))(X)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, X @ WEIGHT.astype(np.float16).astype(np.float32).T, rtol=1e-5)


def test_residual_is_added_as_it_is_where_widths_are_equal(tmp_path: Path) -> None:
    square = RNG.standard_normal((3, 3)).astype(np.float32)
    layer = dense(
        tmp_path, {"activation_function": TANH, "use_residual": True}, linear_weight=square
    )
    np.testing.assert_allclose(layer(X), np.tanh(X @ square.T) + X, rtol=1e-5)


def test_residual_is_projected_where_widths_differ(tmp_path: Path) -> None:
    other = RNG.standard_normal((2, 3)).astype(np.float32)
    config = {"activation_function": IDENTITY, "use_residual": True}
    layer = dense(tmp_path, config, linear_weight=WEIGHT, residual_weight=other)
    np.testing.assert_allclose(layer(X), X @ WEIGHT.T + X @ other.T, rtol=1e-5)


def test_a_residual_is_used_only_where_the_config_asks_for_it(tmp_path: Path) -> None:
    other = RNG.standard_normal((2, 3)).astype(np.float32)
    config = {"activation_function": IDENTITY}
    layer = dense(tmp_path, config, linear_weight=WEIGHT, residual_weight=other)
    np.testing.assert_allclose(layer(X), X @ WEIGHT.T, rtol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "config", "reason"),
    [
        ({"linear_bias": BIAS}, {}, r"has linear.bias \[2\]; expected linear.weight"),
        ({"linear_weight": BIAS}, {}, r"has linear.weight \[2\]; expected linear.weight"),
        (
            {"linear_weight": WEIGHT, "linear_bias": X[0]},
            {},
            r"linear.bias \[3\], linear.weight \[2, 3\]; expected",
        ),
        (
            {"linear_weight": WEIGHT},
            {"use_residual": True},
            r"expected residual.weight \[2, 3\] too",
        ),
        (
            {"linear_weight": WEIGHT},
            {"activation_function": "torch.nn.GELU"},
            r"activation 'torch.nn.GELU': expected",
        ),
        (
            {"linear_weight": WEIGHT},
            {"activation_function": "evil.Tanh"},
            "has the unknown activation 'evil.Tanh'",
        ),
        ({"linear_weight": WEIGHT}, {"activation_function": 3}, "has the unknown activation 3"),
        (
            {"linear_weight": WEIGHT},
            {"module_input_name": "token_embeddings"},
            "has a dense layer on 'token_embeddings'",
        ),
    ],
)
def test_dense_layer_that_cannot_be_is_refused(
    tmp_path: Path, tensors: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        dense(tmp_path, config, **tensors)


def test_pickled_weights_are_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    with pytest.raises(
        ModelLoadError, match=r"pytorch_model\.bin is a pickle.*save the model again"
    ):
        DenseLayer.read(tmp_path, {})


def test_missing_and_broken_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no weights at .*model\.safetensors"):
        DenseLayer.read(tmp_path, {})
    (tmp_path / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ModelLoadError, match=r"model\.safetensors is not a readable"):
        DenseLayer.read(tmp_path, {})


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_weights_of_two_bytes_are_read(tmp_path: Path, dtype: str) -> None:
    values = np.array([[1, -2]], np.float32)
    data = (
        values.astype(np.float16).tobytes()
        if dtype == "F16"
        else (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    )
    layer = DenseLayer.read(tensor_file(tmp_path, dtype, data), {"activation_function": IDENTITY})
    assert layer(np.array([[3, 1]], np.float32)).tolist() == [[1]]
    assert layer.weight.dtype == np.float32


def test_dtype_that_numpy_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ModelLoadError, match=r"model\.safetensors is not a readable .*float8_e4m3fn"
    ):
        DenseLayer.read(tensor_file(tmp_path, "F8_E4M3", bytes(2)), {})


def tensor_file(path: Path, dtype: str, data: bytes) -> Path:
    """Write the weight of a layer from 2 to 1."""
    header = json.dumps(
        {"linear.weight": {"dtype": dtype, "shape": [1, 2], "data_offsets": [0, len(data)]}}
    ).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def test_normalised_vectors_have_length_one_and_zeros_stay() -> None:
    got: Any = Normalize()(np.array([[3, 4], [0, 0], [1e-20, 0]], np.float32))
    np.testing.assert_allclose(got, [[0.6, 0.8], [0.0, 0.0], [1e-8, 0.0]], rtol=1e-5)
