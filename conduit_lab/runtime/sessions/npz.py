"""Dense: a dense network from a `.npz` file, run by NumPy.

A file holds a stack of layers or a single one, in one of these forms (`docs/models.md` has the
table):

- `W0, b0, W1, b1, …` with `activations`, one name per layer: `W` is [in, out], `b` is [out];
- `W` and `b`, or `weights` and `bias`: [in, out] and [out];
- `weight` and `bias`, as in PyTorch: [out, in] and [out];
- `coef_` and `intercept_`, as in scikit-learn: [out, in] and [out].

A single layer may have an `activation`, and a weight `[in]` with one output. Biases are optional.
`labels` or `classes_` are the class names in output order: they make `coef_` a classifier, and
two of them turn one sigmoid output into both probabilities. A file with Python objects is refused,
since unpickling runs code, as is one with arrays of other names, which would be silently ignored.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec, describe
from conduit_lab.core.text import first_line
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks.content import TRIES, files_digest
from conduit_lab.runtime.sessions.ort_errors import translate_library_errors

if TYPE_CHECKING:
    import zipfile

MAX_UNPACKED_BYTES = 2 * 2**30
MAX_COMPRESSION_RATIO = 100  # weights hardly compress; deflate packs zeros a thousandfold
_HARMLESS_BYTES = 64 * 2**20  # at any compression ratio
_MAX_HEADER_BYTES = 2**16 + 16  # version 2 of the format could claim 4 GB for a header

# a ufunc takes half as long with a 0-d array as with a number, which it must convert
_ZERO = np.zeros((), np.float32)
_HALF = np.full((), 0.5, np.float32)


def _identity(x: Array) -> Array:
    return x


def _relu(x: Array) -> Array:
    return np.maximum(x, _ZERO, out=x)


def _tanh(x: Array) -> Array:
    return np.tanh(x, x)


def _sigmoid(x: Array) -> Array:
    """Compute 0.5 + 0.5 tanh(x / 2), the form without an overflow in exp."""
    x *= _HALF
    np.tanh(x, x)
    x *= _HALF
    x += _HALF
    return x


def _gelu(x: Array) -> Array:
    """Compute the tanh form of Hendrycks and Gimpel, 2016."""
    inner = x * x
    inner *= 0.044715
    inner += 1
    inner *= x
    inner *= math.sqrt(2 / math.pi)
    np.tanh(inner, inner)
    inner += 1
    inner *= 0.5
    x *= inner
    return x


def _softmax(x: Array) -> Array:
    if len(x) == 1 and x.ndim == 2:  # half the time, without reductions and broadcasting
        x -= x[0, int(x.argmax())]
        np.exp(x, x)
        x /= x.dot(_ones(x.shape[1]))[0, ...]
        return x
    x -= np.maximum.reduce(x, axis=-1, keepdims=True)
    np.exp(x, x)
    x /= np.add.reduce(x, axis=-1, keepdims=True)
    return x


@lru_cache(maxsize=64)
def _ones(size: int) -> Array:
    return np.ones(size, np.float32)


# Each works in place on float [batch, out], the fresh output of a layer, and returns it.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": _identity,
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "softmax": _softmax,
}
# a single layer by the name of its weight: the name of its bias, and whether it is [out, in]
_SINGLE = {
    "W": ("b", False),
    "weights": ("bias", False),
    "weight": ("bias", True),
    "coef_": ("intercept_", True),
}
_FORMS = (
    "W0, b0, W1, b1, … with activations, or one layer as W and b, weights and bias, "
    "or coef_ and intercept_"
)


class Dense:
    """A stack of dense layers on NumPy, with the interface of an ONNX `Session`.

    `layers` are (weight [in, out], bias [out], activation) as float32, `size` their bytes, `labels`
    the class names in output order or None, `content` the digest of the file. Raises
    `ModelLoadError` for a file that is missing, broken or too large, holds Python objects, or has
    none of the forms above.
    """

    device = "numpy"
    note = ""

    def __init__(self, path: Path) -> None:
        where = display(path)
        self.content, arrays = _read_unchanged(path, where)
        self.labels = _labels(where, arrays)
        self.layers = layers = _layers(where, arrays, self.labels)
        self._layers = [
            # in the shape of one row's product, so NumPy adds them without broadcasting
            (weight, bias[None], ACTIVATIONS[activation])
            for weight, bias, activation in layers
        ]
        self.size = sum(weight.nbytes + bias.nbytes for weight, bias, _ in layers)
        self.inputs = (TensorSpec("input", "float32", ("batch", layers[0][0].shape[0])),)
        self.outputs = (TensorSpec("output", "float32", ("batch", layers[-1][0].shape[1])),)
        self.metadata: dict[str, str] = {}

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return one output, float32 `[batch, out]`, for `{"input": float32 [batch, in]}`.

        The input is not modified.
        """
        x = feeds["input"]
        for weight, bias, activate in self._layers:
            x = x.dot(weight)  # takes half the time of `@` for one small row
            x += bias
            x = activate(x)
        return [x]


def _read_unchanged(path: Path, where: str) -> tuple[str, dict[str, Array]]:
    """Return the digest and the arrays of the same bytes, even if the file changes."""
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
    """Return the arrays of the file after checking its directory against the limits."""
    import zipfile  # imports its compressors, which are rarely needed

    problem = f"{where} is not a readable .npz file"
    with translate_library_errors(ModelLoadError, problem, _unreadable):
        with zipfile.ZipFile(path) as archive:
            _check_sizes(where, archive.infolist())
            for info in archive.infolist():
                if "/" in info.filename or "\\" in info.filename or ".." in info.filename:
                    raise ModelLoadError(
                        f"{where} holds the member {info.filename!r}: only plain names are allowed"
                    )
                with archive.open(info) as member:
                    _check_header(where, info, io.BytesIO(member.read(_MAX_HEADER_BYTES)))
        with np.load(path, allow_pickle=False) as archive:
            if len(set(archive.files)) < len(archive.files):
                raise ModelLoadError(
                    f"{where} holds two arrays of one name: save it again with numpy.savez"
                )
            return {name: archive[name] for name in archive.files}


def _unreadable(error: Exception) -> str:
    return f"{first_line(error)}; save it again with numpy.savez"


def _check_sizes(where: str, members: list[zipfile.ZipInfo]) -> None:
    """Reject a file that unpacks to too many bytes or to too large a multiple of its size."""
    claimed = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    limit = min(MAX_UNPACKED_BYTES, max(_HARMLESS_BYTES, MAX_COMPRESSION_RATIO * packed))
    if claimed > limit:
        raise ModelLoadError(
            f"{where} unpacks to {figures.size(claimed)}: the limit is {figures.size(limit)}"
        )


def _check_header(where: str, info: zipfile.ZipInfo, member: Any) -> None:
    """Reject an array of Python objects, or one that claims more bytes than its member has."""
    formats = np.lib.format
    version = formats.read_magic(member)
    first = version == (1, 0)
    read = formats.read_array_header_1_0 if first else formats.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ModelLoadError(
            f"{where} holds pickled Python objects in {info.filename!r}: unpickling runs code; "
            "save plain arrays of numbers or strings"
        )
    # empty strings take no bytes, and reading 2**62 of them would never end
    claimed = math.prod(shape) * max(dtype.itemsize, 1)
    if claimed > info.file_size:
        raise ModelLoadError(
            f"{where}: {info.filename!r} claims {figures.size(claimed)} "
            f"and has {figures.size(info.file_size)}"
        )


def _layers(
    where: str, arrays: dict[str, Array], labels: list[str] | None
) -> list[tuple[Array, Array, str]]:
    """Return (weight [in, out], bias [out], activation) of each layer, as float32."""
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
            f"{where} expects {len(layers)} activations out of {', '.join(ACTIVATIONS)}, "
            f"got {', '.join(activations) or 'none'}"
        )
    if labels is not None and len(labels) == 2 and outputs == 1 and activations[-1] == "sigmoid":
        # [1 - p, p] of p = sigmoid(z) is the softmax of [0, z]
        layers[-1] = (np.pad(layers[-1][0], ((0, 0), (1, 0))), np.pad(layers[-1][1], (1, 0)))
        activations[-1] = "softmax"
    return [(*layer, activation) for layer, activation in zip(layers, activations, strict=True)]


def _form(where: str, arrays: dict[str, Array]) -> list[tuple[str, str]]:
    """Return the names of each layer's weight and bias; reject mixed forms and other names."""
    numbers = sorted(int(name[1:]) for name in arrays if re.fullmatch("W(0|[1-9][0-9]{0,5})", name))
    single = [name for name in _SINGLE if name in arrays]
    if numbers and not single and numbers == list(range(len(numbers))):
        names, activation = [(f"W{i}", f"b{i}") for i in numbers], "activations"
    elif len(single) == 1 and not numbers:
        names, activation = [(single[0], _SINGLE[single[0]][0])], "activation"
    else:
        raise ModelLoadError(
            f"{where} expects arrays {_FORMS}, got {', '.join(sorted(arrays)) or 'none'}"
        )
    other = sorted(
        arrays.keys()
        - {name for pair in names for name in pair}
        - {activation, "labels", "classes_"}
    )
    if other:
        known = f"{names[0][0]}, {names[0][1]}, {activation}, labels and classes_"
        raise ModelLoadError(
            f"{where} holds {', '.join(other)}, which would be ignored: "
            f"expected {known} at most; save it without them, a scaler folded into the first layer"
        )
    return names


def _layer(
    where: str, arrays: dict[str, Array], name: str, bias_name: str, inputs: int | None
) -> tuple[Array, Array]:
    """Return one layer's weight [in, out] and bias [out] as float32, for `inputs` inputs."""
    weight, bias = arrays[name], arrays.get(bias_name)
    given = {name: weight} if bias is None else {name: weight, bias_name: bias}
    shapes = " and ".join(f"{key} {list(array.shape)}" for key, array in given.items())
    single, transposed = name in _SINGLE, _SINGLE.get(name, ("", False))[1]
    if any(array.dtype.kind not in "fiu" for array in given.values()):
        kinds = ", ".join(str(array.dtype) for array in given.values())
        raise ModelLoadError(f"{where} expects {shapes} of float32, got {kinds}")
    if name == "weight" and weight.ndim == 2 and 1 < weight.shape[0] == weight.shape[1]:
        raise ModelLoadError(
            f"{where} has {shapes}: a square weight may be [out, in], as in PyTorch, or [in, out]; "
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
        expected = ", ".join(reversed(axes) if transposed else axes)
        raise ModelLoadError(
            f"{where} expects {name} [{expected}] and {bias_name} [out], got {shapes}"
        )
    with np.errstate(over="ignore"):
        layer = np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)
    if not all(np.isfinite(array).all() for array in layer):
        raise ModelLoadError(
            f"{where} has {shapes} with values that are not finite in float32 "
            "(NaN, inf or too large)"
        )
    return layer


def _labels(where: str, arrays: dict[str, Array]) -> list[str] | None:
    """Return the class names, numbers as text, or None."""
    keys = [key for key in ("labels", "classes_") if key in arrays]
    if len(keys) == 2:
        raise ModelLoadError(
            f"{where} holds both labels and classes_: keep the one with readable names"
        )
    return _names(where, arrays, keys[0]) if keys else None


def _names(where: str, arrays: dict[str, Array], key: str) -> list[str]:
    """Return the array `key` as a list of names."""
    names = arrays[key]
    if names.ndim != 1 or names.dtype.kind not in "Ubiuf":
        raise ModelLoadError(
            f"{where} expects {key} as a list of names or numbers, got {describe(names)}"
        )
    return [str(name) for name in names]
