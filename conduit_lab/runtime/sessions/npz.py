"""Dense networks in a `.npz` file, run by NumPy.

A file holds a stack of layers or a single one, in one of these forms (`docs/models.md` has the
table):

- `W0, b0, W1, b1, …` with `activations`, one name a layer: `W` is [in, out], `b` is [out];
- `W` and `b`, or `weights` and `bias`: [in, out] and [out];
- `weight` and `bias`, as PyTorch has them: [out, in] and [out];
- `coef_` and `intercept_`, as scikit-learn has them: [out, in] and [out].

A single layer may have an `activation`, and a weight `[in]` with one output. A bias may be left
out. `labels` or `classes_` are the class names in output order: they make `coef_` a classifier, and
one sigmoid output with two of them becomes both probabilities. All arrays are plain: a file with
Python objects in it is refused, since unpickling runs code, and so is one with arrays of other
names, which would be left out of the answer without a word.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec, describe
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks.content import TRIES, files_digest

MAX_BYTES = 2 * 2**30
MAX_RATIO = 100  # weights are noise to a compressor; deflate makes 1000 bytes of zeros one
_SMALL = 64 * 2**20  # bytes that do no harm at any ratio
_MAX_HEADER = 2**16 + 16  # bytes; version 2 of the format could claim 4 GB for a header


def _identity(x: Array) -> Array:
    return x


def _relu(x: Array) -> Array:
    return np.maximum(x, 0, out=x)


def _tanh(x: Array) -> Array:
    return np.tanh(x, out=x)


def _sigmoid(x: Array) -> Array:
    """0.5 + 0.5 tanh(x / 2): the form without an overflow in exp."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5
    return x


def _gelu(x: Array) -> Array:
    """Hendrycks and Gimpel 2016, the tanh form."""
    inner = x * x
    inner *= 0.044715
    inner += 1
    inner *= x
    inner *= math.sqrt(2 / math.pi)
    np.tanh(inner, out=inner)
    inner += 1
    inner *= 0.5
    x *= inner
    return x


def _softmax(x: Array) -> Array:
    x -= np.maximum.reduce(x, axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= np.add.reduce(x, axis=-1, keepdims=True)
    return x


# Each works in place on float [batch, out], which the layer has just made, and returns it.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": _identity,
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "softmax": _softmax,
}
# a single layer: the names of its weight and bias, and whether the weight is [out, in]
_SINGLE = {
    "W": ("b", False),
    "weights": ("bias", False),
    "weight": ("bias", True),
    "coef_": ("intercept_", True),
}
_FORMS = "W0, b0, W1, b1, … with activations, or one layer as W and b, weights and bias, or coef_ and intercept_"


class Dense:
    """A stack of dense layers; the same face as an ONNX `Session`, on NumPy.

    `size` is the bytes of its weights as float32, `labels` the class names in output order or None,
    `content` the digest of the file. Raises `ModelLoadError` for a file that is missing, broken,
    too large, holds Python objects or does not follow the convention above.
    """

    device = "numpy"
    note = ""

    def __init__(self, path: Path) -> None:
        where = display(path)
        self.content, arrays = _read_unchanged(path, where)
        self.labels = _labels(where, arrays)
        layers = _layers(where, arrays, self.labels)
        self._layers = [
            (weight, bias, ACTIVATIONS[activation]) for weight, bias, activation in layers
        ]
        self.size = sum(weight.nbytes + bias.nbytes for weight, bias, _ in layers)
        self.inputs = (TensorSpec("input", "float32", ("batch", layers[0][0].shape[0])),)
        self.outputs = (TensorSpec("output", "float32", ("batch", layers[-1][0].shape[1])),)
        self.metadata: dict[str, str] = {}

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the one output, float32 `[batch, out]`, for `{"input": float32 [batch, in]}`; keeps the input."""
        x = feeds["input"]
        for weight, bias, activate in self._layers:
            x = x.dot(weight)  # half the time of `@` for one small row
            x += bias
            x = activate(x)
        return [x]


def _read_unchanged(path: Path, where: str) -> tuple[str, dict[str, Array]]:
    """Return the digest and the arrays of the same bytes, though the file may change."""
    for _ in range(TRIES):
        if not path.is_file():
            raise ModelLoadError(
                f"no model file at {where}: check the path and the root it starts from"
            )
        content = files_digest((path,))
        arrays = _read(path, where)
        if files_digest((path,)) == content:
            return content, arrays
    raise ModelLoadError(f"{where} changes while it is loaded: load it again once it is written")


def _read(path: Path, where: str) -> dict[str, Array]:
    """Return the arrays of the file, after its directory was checked against the limits."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(where, archive.infolist())
            for info in archive.infolist():
                if "/" in info.filename or "\\" in info.filename or ".." in info.filename:
                    raise ModelLoadError(
                        f"{where} holds the member {info.filename!r}: only plain names are allowed"
                    )
                with archive.open(info) as member:
                    _check_header(where, info, io.BytesIO(member.read(_MAX_HEADER)))
        with np.load(path, allow_pickle=False) as archive:
            if len(set(archive.files)) < len(archive.files):
                raise ModelLoadError(
                    f"{where} holds two arrays of one name: save it again with numpy.savez"
                )
            return {name: archive[name] for name in archive.files}
    except ModelLoadError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise ModelLoadError(
            f"{where} is not a readable .npz file ({error}): save it again with numpy.savez"
        ) from error


def _check_sizes(where: str, members: list[zipfile.ZipInfo]) -> None:
    """Refuse a file that unpacks to too much, in bytes or as a multiple of what it is; nothing was unpacked yet."""
    claimed = sum(info.file_size for info in members)
    limit = min(MAX_BYTES, max(_SMALL, MAX_RATIO * sum(info.compress_size for info in members)))
    if claimed > limit:
        raise ModelLoadError(
            f"{where} unpacks to {figures.size(claimed)}: the limit is {figures.size(limit)}"
        )


def _check_header(where: str, info: zipfile.ZipInfo, member: Any) -> None:
    """Refuse an array of Python objects, and one whose header claims more bytes than the member has."""
    version = np.lib.format.read_magic(member)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ModelLoadError(
            f"{where} holds pickled Python objects in {info.filename!r}, which are refused because unpickling runs "
            "code: save plain arrays of numbers or strings"
        )
    claimed = math.prod(shape) * max(
        dtype.itemsize, 1
    )  # empty strings take no bytes, and a loop over them for ever
    if claimed > info.file_size:
        raise ModelLoadError(
            f"{where}: {info.filename!r} claims {figures.size(claimed)} and has {figures.size(info.file_size)}"
        )


def _layers(
    where: str, arrays: dict[str, Array], labels: list[str] | None
) -> list[tuple[Array, Array, str]]:
    """Return (weight [in, out], bias [out], activation) of each layer, float32, checked against each other."""
    layers: list[tuple[Array, Array]] = []
    for name, bias in _form(where, arrays):
        layers.append(_layer(where, arrays, name, bias, layers[-1][0].shape[1] if layers else None))
    outputs = layers[-1][0].shape[1]
    if "activations" in arrays:
        activations = _names(where, arrays, "activations")
    elif "activation" in arrays:
        activations = [str(name) for name in arrays["activation"].flat]
    elif "coef_" in arrays and labels is not None:
        activations = ["sigmoid" if outputs == 1 else "softmax"]
    else:
        activations = ["identity"] * len(layers)
    if len(activations) != len(layers) or not set(activations) <= ACTIVATIONS.keys():
        raise ModelLoadError(
            f"{where} wants {len(layers)} activations out of {', '.join(ACTIVATIONS)}; got {', '.join(activations)}"
        )
    if labels is not None and len(labels) == 2 and outputs == 1 and activations[-1] == "sigmoid":
        # [1 - p, p] of p = sigmoid(z) is the softmax of [0, z]
        layers[-1] = (np.pad(layers[-1][0], ((0, 0), (1, 0))), np.pad(layers[-1][1], (1, 0)))
        activations[-1] = "softmax"
    return [(*layer, activation) for layer, activation in zip(layers, activations, strict=True)]


def _form(where: str, arrays: dict[str, Array]) -> list[tuple[str, str]]:
    """Return the names of each layer's weight and bias; refuse a file of two forms, or with arrays of other names."""
    numbers = sorted(int(name[1:]) for name in arrays if re.fullmatch("W(0|[1-9][0-9]{0,5})", name))
    single = [name for name in _SINGLE if name in arrays]
    if numbers and not single and numbers == list(range(len(numbers))):
        names, activation = [(f"W{i}", f"b{i}") for i in numbers], "activations"
    elif len(single) == 1 and not numbers:
        names, activation = [(single[0], _SINGLE[single[0]][0])], "activation"
    else:
        raise ModelLoadError(
            f"{where} wants arrays {_FORMS}; it has {', '.join(sorted(arrays)) or 'nothing'}"
        )
    other = sorted(
        arrays.keys()
        - {name for pair in names for name in pair}
        - {activation, "labels", "classes_"}
    )
    if other:
        known = f"{names[0][0]}, {names[0][1]}, {activation}, labels and classes_"
        raise ModelLoadError(
            f"{where} holds {', '.join(other)}, which would have no part in the answer: "
            f"wanted {known} at most; save it without them, a scaler folded into the first layer"
        )
    return names


def _layer(
    where: str, arrays: dict[str, Array], name: str, bias_name: str, inputs: int | None
) -> tuple[Array, Array]:
    """Return one layer's weight [in, out] and bias [out] as float32; `inputs` is what the layer before gives."""
    weight, bias = arrays[name], arrays.get(bias_name)
    shapes = f"{name} {list(weight.shape)}" + (
        "" if bias is None else f" and {bias_name} {list(bias.shape)}"
    )
    single, transposed = name in _SINGLE, _SINGLE.get(name, ("", False))[1]
    if any(array.dtype.kind not in "fiu" for array in (weight, bias) if array is not None):
        kinds = ", ".join(str(array.dtype) for array in (weight, bias) if array is not None)
        raise ModelLoadError(f"{where} has {shapes} of {kinds}; wanted float32")
    if name == "weight" and weight.ndim == 2 and 1 < weight.shape[0] == weight.shape[1]:
        raise ModelLoadError(
            f"{where} has {shapes}: PyTorch's [out, in] cannot be told from [in, out] where they are equal; "
            "save it as W, which is [in, out]"
        )
    if single and weight.ndim == 1:
        weight = weight[:, None]
    elif transposed:
        weight = weight.T
    if bias is None:
        bias = np.zeros(weight.shape[-1:], np.float32)
    elif single and bias.ndim == 0 and weight.shape[1:] == (1,):
        bias = bias[None]
    fits = inputs is None or weight.shape[:1] == (inputs,)
    if weight.ndim != 2 or weight.size == 0 or not fits or bias.shape != weight.shape[1:]:
        axes = [str(inputs or "in"), "out"]
        wanted = ", ".join(reversed(axes) if transposed else axes)
        raise ModelLoadError(
            f"{where} has {shapes}; wanted {name} [{wanted}] and {bias_name} [out]"
        )
    with np.errstate(over="ignore"):
        layer = np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)
    if not all(np.isfinite(array).all() for array in layer):
        raise ModelLoadError(
            f"{where} has {shapes} and values that are not finite in float32 (NaN, inf or too large)"
        )
    return layer


def _labels(where: str, arrays: dict[str, Array]) -> list[str] | None:
    """Return the class names, numbers as text, or None where the file has none."""
    keys = [key for key in ("labels", "classes_") if key in arrays]
    if len(keys) == 2:
        raise ModelLoadError(
            f"{where} holds both labels and classes_: keep the one whose names a person should read"
        )
    return _names(where, arrays, keys[0]) if keys else None


def _names(where: str, arrays: dict[str, Array], key: str) -> list[str]:
    """Return the array `key` as a list of names."""
    names = arrays[key]
    if names.ndim != 1 or names.dtype.kind not in "Ubiuf":
        raise ModelLoadError(
            f"{where} has {key} {describe(names)}; wanted a list of names or numbers"
        )
    return [str(name) for name in names]
