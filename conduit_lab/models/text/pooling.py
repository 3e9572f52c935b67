"""Pooling: reduce token vectors to one vector per text, with dense layers and unit length.

The modes and their order match sentence-transformers' `Pooling`, `Dense` and `Normalize`
modules (release 6.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import MissingExtra, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.core.text import first_line
from conduit_lab.runtime.sessions.npz import ACTIVATIONS

# the older form of the config, in the order in which several modes are concatenated
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# PyTorch modules with the same result in NumPy; `.npz` files have only the tanh form of GELU
_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "Sigmoid": "sigmoid"}
_MIN_WEIGHT = 1e-9  # divisor for a text without tokens, as in sentence-transformers


@dataclass(frozen=True)
class Pooling:
    """Pools a text's token vectors to one vector; several modes are concatenated.

    Without `include_prompt` the tokens of the prompt are left out.
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> Pooling:
        """Read `1_Pooling/config.json`, in its old or new form; raises `ModelLoadError`."""
        given = config.get("pooling_mode")
        if given is None:
            on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
            unknown = [key for key in on if key not in _SWITCHES]
            given = unknown or [mode for key, mode in _SWITCHES.items() if key in on] or "mean"
        modes = tuple(given) if isinstance(given, list) else (given,)
        if not modes or any(
            not isinstance(mode, str) or mode not in POOLING_MODES for mode in modes
        ):
            raise ModelLoadError(
                f"{where} has the unknown pooling {given!r}: expected {', '.join(POOLING_MODES)}"
            )
        return cls(modes, bool(config.get("include_prompt", True)))

    def __call__(self, tokens: FloatArray, mask: Array) -> FloatArray:
        """Pool float32 `[n, tokens, d]`, with a mask `[n, tokens]`, to `[n, len(modes) * d]`.

        A text without tokens becomes zeros.
        """
        weights = mask.astype(np.float32)
        pooled = np.concatenate(
            [POOLING_MODES[mode](tokens, weights) for mode in self.modes], axis=1
        )
        pooled[~mask.any(axis=1)] = 0
        return pooled

    def __str__(self) -> str:
        return " + ".join(self.modes)


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """`activation(x @ weight + bias) + x @ residual`; weights are float32 `[in, out]`."""

    weight: FloatArray
    bias: FloatArray | None
    activation: str
    residual: FloatArray | None

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> DenseLayer:
        """Read the weights of a Dense module; raises `ModelLoadError`."""
        activation = _activation(config, display(folder / "config.json"))
        file = folder / "model.safetensors"
        tensors = _tensors(file)
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(tensors.items()))
        found = f"{display(file)} has {shapes or 'no tensors'}"
        weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
        residual = tensors.get("residual.weight") if config.get("use_residual") else None
        if (
            weight is None
            or weight.ndim != 2
            or (bias is not None and bias.shape != weight.shape[:1])
        ):
            raise ModelLoadError(f"{found}; expected linear.weight [out, in] and linear.bias [out]")
        if config.get("use_residual"):
            if residual is None and weight.shape[0] == weight.shape[1]:
                residual = np.eye(len(weight), dtype=np.float32)
            if residual is None or residual.shape != weight.shape:
                raise ModelLoadError(f"{found}; expected residual.weight {list(weight.shape)} too")
        return cls(
            np.ascontiguousarray(weight.T),
            bias,
            activation,
            None if residual is None else np.ascontiguousarray(residual.T),
        )

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return float32 `[n, out]` for float32 `[n, in]`."""
        product = vectors @ self.weight
        if self.bias is not None:
            product += self.bias
        out = ACTIVATIONS[self.activation](product)
        return out if self.residual is None else out + vectors @ self.residual

    def __str__(self) -> str:
        inputs, outputs = self.weight.shape
        return f"dense {inputs} → {outputs} ({self.activation})"


@dataclass(frozen=True)
class Normalize:
    """Scales vectors to length 1; a zero vector stays as it is."""

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return float32 `[n, d]` for float32 `[n, d]`."""
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        scaled: FloatArray = vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
        return scaled

    def __str__(self) -> str:
        return "unit length"


Layer = DenseLayer | Normalize


def _cls(tokens: FloatArray, mask: FloatArray) -> FloatArray:
    return _pick(tokens, mask.argmax(axis=1))


def _last(tokens: FloatArray, mask: FloatArray) -> FloatArray:
    return _pick(tokens, mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1))


def _max(tokens: FloatArray, mask: FloatArray) -> FloatArray:
    highest: FloatArray = np.where(mask[..., None] > 0, tokens, np.float32(-np.inf)).max(axis=1)
    return highest


def _mean(tokens: FloatArray, weights: FloatArray) -> FloatArray:
    return _sum(tokens, weights) / _count(weights)


def _mean_sqrt(tokens: FloatArray, mask: FloatArray) -> FloatArray:
    """Divide the sum by the square root of the count: longer texts get longer vectors."""
    root: FloatArray = np.sqrt(_count(mask))
    return _sum(tokens, mask) / root


def _weighted_mean(tokens: FloatArray, mask: FloatArray) -> FloatArray:
    """Weight the tokens 1, 2, 3, …: in a decoder later tokens attend to more of the text."""
    return _mean(tokens, mask * np.arange(1, mask.shape[1] + 1, dtype=np.float32))


POOLING_MODES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


def _pick(tokens: FloatArray, places: Array) -> FloatArray:
    picked: FloatArray = tokens[np.arange(len(tokens)), places]
    return picked


def _sum(tokens: FloatArray, weights: FloatArray) -> FloatArray:
    # a matrix product needs no weighted copy of all tokens
    total: FloatArray = np.matmul(weights[:, None, :], tokens)[:, 0]
    return total


def _count(weights: FloatArray) -> FloatArray:
    count: FloatArray = np.maximum(weights.sum(axis=1, keepdims=True), np.float32(_MIN_WEIGHT))
    return count


def _activation(config: Mapping[str, Any], where: str) -> str:
    """Return the activation's name of a Dense module; reject a module not on the pooled vector."""
    given = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    name = given.rpartition(".")[2] if str(given).startswith("torch.") else ""
    if name not in _ACTIVATIONS:
        raise ModelLoadError(
            f"{where} has the unknown activation {given!r}: expected {', '.join(_ACTIVATIONS)}"
        )
    places = (config.get("module_input_name"), config.get("module_output_name"))
    if any(place not in (None, "sentence_embedding") for place in places):
        raise ModelLoadError(
            f"{where} has a dense layer on {places[0]!r}: expected one after the pooling, "
            "on 'sentence_embedding'"
        )
    return _ACTIVATIONS[name]


def _tensors(file: Path) -> dict[str, FloatArray]:
    """Return the tensors of a `.safetensors` file as float32."""
    if not file.is_file():
        pickled = file.with_name("pytorch_model.bin")
        if pickled.is_file():
            raise ModelLoadError(
                f"{display(pickled)} is a pickle, which is refused because unpickling runs code: "
                "save the model again with a newer sentence-transformers, which writes "
                "model.safetensors"
            )
        raise ModelLoadError(
            f"no weights at {display(file)}: a dense layer needs its model.safetensors"
        )
    try:
        import ml_dtypes  # noqa: F401 - gives NumPy bfloat16, in which many models are saved
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtra("safetensors", "cpu", "a dense layer of an embedding model") from error
    try:
        tensors = load_file(file)
        return {name: array.astype(np.float32, copy=False) for name, array in tensors.items()}
    # its own errors, and KeyError or TypeError for a dtype that NumPy does not have
    except Exception as error:
        raise ModelLoadError(
            f"{display(file)} is not a readable .safetensors file: {first_line(error)}"
        ) from error
