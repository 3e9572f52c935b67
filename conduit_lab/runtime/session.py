"""Loading an ONNX file: checked first, then one onnxruntime session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import MissingExtra, ModelInputError, ModelLoadError
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.runtime import devices

# onnxruntime's type names that NumPy has too
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}


class Session:
    """One ONNX graph in onnxruntime, ready to run.

    The file is checked with `onnx.checker` before onnxruntime sees it: the checker refuses external data outside the
    model's folder, hard links included, which onnxruntime loads. `device` says what the session really runs on.
    Raises `ModelLoadError` for a file that is missing, broken or refused, `DeviceError` for a device that is not here.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        ort = devices.onnxruntime()
        _check(path)
        wanted = devices.providers_for(device)
        index = device.partition(":")[2]
        providers: list[Any] = [(wanted[0], {"device_id": index}), *wanted[1:]] if index else list(wanted)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
            self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
            self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # onnxruntime's own exceptions have no common base; a name may not be UTF-8
            raise ModelLoadError(f"{display(path)} cannot be loaded: {_first_line(error)}") from error
        self.device = devices.name_of(self._session.get_providers()[0])

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the outputs in their order for one dict of input arrays; `ModelInputError` for what does not fit."""
        ort = devices.onnxruntime()
        try:
            return list(self._session.run(None, dict(feeds)))
        except (
            UnicodeEncodeError,  # a lone surrogate, which a JSON string may hold
            ort.capi.onnxruntime_pybind11_state.InvalidArgument,
            ort.capi.onnxruntime_pybind11_state.RuntimeException,
        ) as error:
            raise ModelInputError(f"the graph refused its input: {_first_line(error)}") from error


def _check(path: Path) -> None:
    """Refuse a file that is missing, not ONNX, or reaches outside its folder."""
    if not path.is_file():
        raise ModelLoadError(f"no model file at {display(path)}: check the path and the root it starts from")
    try:
        import onnx
    except ImportError as error:  # pragma: no cover - a base dependency
        raise MissingExtra("onnx", "cpu", "checking ONNX files") from error
    if path.stat().st_size == 0:
        raise ModelLoadError(f"{display(path)} is empty: wanted an ONNX model; copy or export it again")
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # the checker raises protobuf's, its own and ValueError
        raise ModelLoadError(
            f"{display(path)} is not a valid ONNX model ({_first_line(error)}): it may be cut short; "
            "copy or export it again"
        ) from error


def _spec(value: Any) -> TensorSpec:
    """Return the spec of an onnxruntime input or output; an unnamed free axis is called `?`."""
    shape = tuple(axis if isinstance(axis, int) else axis or "?" for axis in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)


def _first_line(error: BaseException) -> str:
    """Return the first line of a library's message, without its path and at most 200 characters."""
    line = str(error).strip().partition("\n")[0]
    return line[:200] or type(error).__name__


def native(array: Array) -> Array:
    """Return `array` in the machine's byte order; onnxruntime reads a foreign one as garbage, without an error."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """Return NumPy's dtype for a spec; `ModelInputError` for a type that NumPy does not have."""
    if spec.dtype == "str":
        return np.dtype(object)
    try:
        return np.dtype(spec.dtype)
    except TypeError:
        raise ModelInputError(f"input {spec.name!r} has the type {spec.dtype}, which arrays cannot hold") from None
