"""Dense networks in a `.npz` file, run by NumPy.

The file holds `W0, b0, W1, b1, …` (float, `W` of shape [in, out], `b` of shape [out]) and `activations`, one name a
layer out of identity, relu, tanh, sigmoid, gelu and softmax; `labels` (class names in output order) is optional.
All arrays are plain: a file with Python objects in it is refused, since unpickling runs code.
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

from conduit_lab.core import figures
from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec

MAX_BYTES = 2 * 2**30
_MAX_HEADER = 2**16 + 16  # bytes; version 2 of the format could claim 4 GB for a header


def _softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # the stable form: no overflow in exp


def _gelu(x: Array) -> Array:
    """Hendrycks and Gimpel 2016, the tanh form."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "softmax": _softmax,
}


class Dense:
    """A stack of dense layers; the same face as an ONNX `Session`, on NumPy.

    Raises `ModelLoadError` for a file that is missing, broken, too large, holds Python objects or does not follow
    the convention above.
    """

    device = "numpy"

    def __init__(self, path: Path) -> None:
        arrays = _read(path)
        self._layers = _layers(path, arrays)
        first, last = self._layers[0][0], self._layers[-1][0]
        self.inputs = (TensorSpec("input", "float32", ("batch", first.shape[0])),)
        self.outputs = (TensorSpec("output", "float32", ("batch", last.shape[1])),)
        self.metadata: dict[str, str] = {}
        self.labels: list[str] | None = None
        if "labels" in arrays:
            self.labels = _names(path, arrays, "labels")

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the one output, float32 `[batch, out]`, for `{"input": float32 [batch, in]}`."""
        x = feeds["input"]
        for weight, bias, activation in self._layers:
            x = activation(x @ weight + bias)
        return [x]


def _read(path: Path) -> dict[str, Array]:
    """Return the arrays of the file, after its directory was checked against the limits."""
    where = display(path)
    if not path.is_file():
        raise ModelLoadError(f"no model file at {where}: check the path and the root it starts from")
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(info.file_size for info in archive.infolist())
            if claimed > MAX_BYTES:
                limit = figures.size(MAX_BYTES)
                raise ModelLoadError(f"{where} unpacks to {figures.size(claimed)}: the limit is {limit}")
            for info in archive.infolist():
                if "/" in info.filename or "\\" in info.filename or ".." in info.filename:
                    raise ModelLoadError(f"{where} holds the member {info.filename!r}: only plain names are allowed")
                with archive.open(info) as member:
                    _check_header(where, info, io.BytesIO(member.read(_MAX_HEADER)))
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ModelLoadError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise ModelLoadError(
            f"{where} is not a readable .npz file ({error}): save it again with numpy.savez"
        ) from error


def _check_header(where: str, info: zipfile.ZipInfo, member: Any) -> None:
    """Refuse an array of Python objects, and one whose header claims more bytes than the member has."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ModelLoadError(
            f"{where} holds pickled Python objects in {info.filename!r}, which are refused because unpickling runs "
            "code: save plain arrays of numbers or strings"
        )
    claimed = math.prod(shape) * max(dtype.itemsize, 1)  # empty strings take no bytes, and a loop over them for ever
    if claimed > info.file_size:
        raise ModelLoadError(
            f"{where}: {info.filename!r} claims {figures.size(claimed)} and has {figures.size(info.file_size)}"
        )


def _layers(path: Path, arrays: dict[str, Array]) -> list[tuple[Array, Array, Callable[[Array], Array]]]:
    """Return (weight, bias, activation) of each layer, checked against each other."""
    where = display(path)
    names = sorted((name for name in arrays if re.fullmatch("W[0-9]{1,6}", name)), key=lambda name: int(name[1:]))
    if not names or names != [f"W{i}" for i in range(len(names))]:
        have = ", ".join(sorted(arrays)) or "nothing"
        raise ModelLoadError(f"{where} wants arrays W0, b0, W1, b1, … and activations; it has {have}")
    activations = _names(path, arrays, "activations") if "activations" in arrays else ["identity"] * len(names)
    unknown = [name for name in activations if name not in ACTIVATIONS]
    if unknown or len(activations) != len(names):
        raise ModelLoadError(
            f"{where} wants {len(names)} activations out of {', '.join(ACTIVATIONS)}; got {', '.join(activations)}"
        )
    layers: list[tuple[Array, Array, Callable[[Array], Array]]] = []
    for i, name in enumerate(names):
        weight, bias = arrays[name], arrays.get(f"b{i}", np.zeros(1, np.float32))
        if weight.dtype.kind not in "fiu" or bias.dtype.kind not in "fiu":
            raise ModelLoadError(f"{where}: layer {i} has W {weight.dtype} and b {bias.dtype}; wanted float32")
        before = layers[-1][0].shape[1] if layers else next(iter(weight.shape), "in")
        wide = bias.shape if f"b{i}" in arrays else weight.shape[1:]
        if weight.ndim != 2 or weight.size == 0 or weight.shape[0] != before or wide != weight.shape[1:]:
            raise ModelLoadError(
                f"{where}: layer {i} has W {list(weight.shape)} and b {list(wide)}; wanted W [{before}, n] and b [n]"
            )
        layers.append((weight.astype(np.float32), bias.astype(np.float32), ACTIVATIONS[activations[i]]))
    return layers


def _names(path: Path, arrays: dict[str, Array], key: str) -> list[str]:
    """Return the array `key` as a list of names."""
    names = arrays[key]
    if names.ndim != 1:
        raise ModelLoadError(f"{display(path)}: {key} has the shape {list(names.shape)}; wanted a list of names")
    return [str(name) for name in names]
