"""Session: one checked ONNX file in onnxruntime, with the CPU as fallback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import (
    ConduitError,
    DeviceError,
    ModelInputError,
    ModelLoadError,
    ModelRunError,
)
from conduit_lab.core.paths import display
from conduit_lab.core.progress import STEP, progress
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.core.text import first_line
from conduit_lab.core.trace import recorder
from conduit_lab.runtime.checks import external
from conduit_lab.runtime.checks.content import TRIES
from conduit_lab.runtime.checks.graph import Graph, check_graph
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.cutoff import cut_after
from conduit_lab.runtime.sessions.memory import limit_arena
from conduit_lab.runtime.sessions.ort_errors import (
    input_error,
    load_reason,
    run_error,
    run_reason,
    translate_library_errors,
)
from conduit_lab.runtime.sessions.remote import RemoteRuns
from conduit_lab.runtime.sessions.tensor import DeviceTensor

_log = logging.getLogger("conduit_lab")

LOOP_TIMEOUT_SECONDS = 300.0  # per run of a graph with a Loop, unless `timeout` is given
SMALL_MODEL_BYTES = 2**20  # of the file, without convolutions or the like: benchmarks/serving.py
MAX_DEVICE_FAILURES = 3  # in a row, before a session stays on the CPU

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
_MEMORIES = {"cuda": "cuda", "tensorrt": "cuda", "directml": "dml"}
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}

# whether onnxruntime's threads spin between runs: runs start sooner, for up to twice the CPU time
threads_spin = True

default_threads = 0  # of a session whose options name no number; 0 is one per core

_custom_ops: list[str] = []


def register_custom_ops(library: str | Path) -> None:
    """Register a shared library of operators for models opened from now on.

    A library is code that runs in this process: only this call names one, never a model file.
    Raises `ModelLoadError` for a missing file, or one that onnxruntime cannot load.
    """
    path = str(Path(library).resolve())
    if not Path(path).is_file():
        raise ModelLoadError(f"no operator library at {path}: check the path")
    with translate_library_errors(ModelLoadError, f"{path} is not an operator library"):
        devices.onnxruntime().SessionOptions().register_custom_ops_library(path)
    if path not in _custom_ops:
        _custom_ops.append(path)


@dataclass(frozen=True)
class Options:
    """How to open a model file.

    `device` is "auto" or a name of `devices()`, such as "cuda:1". `fallback` allows the CPU to
    replace it: by default for "auto" only. `threads` is the number per run (0: one for a small
    model, else onnxruntime's choice), `graph_level` is disable, basic, extended or all, `timeout`
    the seconds per run. `remote` runs the file in another process, with the options there.
    """

    device: str = "auto"
    fallback: bool | None = None
    threads: int = 0
    graph_level: str = "all"
    timeout: float | None = None
    remote: RemoteRuns | None = None

    @property
    def may_fall_back(self) -> bool:
        """Whether the CPU may replace the device."""
        return self.device == "auto" if self.fallback is None else self.fallback


class Session:
    """One ONNX graph in onnxruntime, ready to run; thread-safe.

    `device` is the device in use, `note` the reason if it is not the requested one, `fallbacks` the
    number of runs on the CPU instead. Raises `ModelLoadError` for a file that is missing, broken or
    rejected, and `DeviceError` for an unavailable device.
    """

    labels: list[str] | None = None

    def __init__(self, path: Path, options: Options | None = None) -> None:
        self.path = path
        self.options = options or Options()
        self.note = ""
        self.fallbacks = 0
        self._failures = 0  # in a row, on the device
        self._on_cpu: Session | None = None
        self.graph, self._session = self._open_unchanged()
        self.size, self.content = self.graph.size, self.graph.content
        self._timeout = self.options.timeout or (
            LOOP_TIMEOUT_SECONDS if self.graph.endless else None
        )
        with translate_library_errors(
            ModelLoadError, f"{display(path)} has unreadable names or metadata"
        ):
            self.inputs = tuple(_spec(value, self.graph) for value in self._session.get_inputs())
            self.outputs = tuple(_spec(value, self.graph) for value in self._session.get_outputs())
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        number = self.options.device.partition(":")[2]
        self._device_number = int(number) if number.isdigit() else 0
        self._names = [spec.name for spec in self.outputs]
        self.device = devices.name_of(self._session.get_providers()[0])

    def _open_unchanged(self) -> tuple[Graph, Any]:
        """Return the checked graph and the session of the same bytes, even if the file changes."""
        for _ in range(TRIES):
            graph = check_graph(self.path)
            session = self._open(graph)
            if check_graph(self.path).content == graph.content:
                return graph, session
        raise ModelLoadError(
            f"{display(self.path)} changes while it is loaded: load it again once it is written"
        )

    def _open(self, graph: Graph) -> Any:
        """Return onnxruntime's session on the best device that accepts the model."""
        providers = devices.providers_for(self.options.device, self.options.fallback)
        first = devices.name_of(providers[0])
        for start in range(len(providers)):
            try:
                with translate_library_errors(
                    ModelLoadError, f"{display(self.path)} cannot be loaded", load_reason
                ):
                    session = self._create(graph, providers[start:])
            except ModelLoadError as error:
                reason = first_line(error.__cause__ or error)
                self.note = self.note or f"{first} cannot load it: {reason}"
                if start + 1 < len(providers) and self.options.may_fall_back:
                    continue
                raise
            self._explain_device(first, devices.name_of(session.get_providers()[0]))
            return session
        raise AssertionError("the CPU is always among the providers")

    def _explain_device(self, first: str, got: str) -> None:
        """Record why the session is not on the requested device; raise without a fallback."""
        where = display(self.path)
        if got != first:  # onnxruntime may drop a provider silently
            self.note = self.note or f"onnxruntime did not load {first}"
            if not self.options.may_fall_back:
                raise DeviceError(f"{where} would run on {got}: {self.note}; or pass fallback=True")
            _log.warning("%s runs on %s: %s", where, got, self.note)
        elif got == "cpu" and self.options.device not in ("auto", "cpu"):
            self.note = devices.why_not(self.options.device, got)
            _log.warning("%s runs on the CPU: %s", where, self.note)
        else:
            self.note = self.note or devices.why_not(self.options.device, got)

    def _create(self, graph: Graph, providers: list[Any]) -> Any:
        ort = devices.onnxruntime()
        limit_arena()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # failures are raised with their reason
        options.intra_op_num_threads = self.options.threads or default_threads
        if graph.size <= SMALL_MODEL_BYTES and not graph.repeats:
            # a second thread gains nothing, and spins: it costs CPU time between runs
            options.intra_op_num_threads = self.options.threads or 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        elif not threads_spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, _LEVELS[self.options.graph_level]
        )
        options.add_session_config_entry("session.use_env_allocators", "1")
        # weights outside the arena are freed with their session
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        for library in _custom_ops:
            options.register_custom_ops_library(library)
        with external.map_files(self.path, graph.parts) as files:
            # Pass bytes to copy: if onnxruntime maps the file itself, a write to it changes answers
            # and a truncation kills the process. Older versions lack the call.
            give = getattr(options, "add_external_initializers_from_files_in_memory", None)
            if files and give and [devices.name_of(provider) for provider in providers] == ["cpu"]:
                give(list(files), list(files.values()), [len(file) for file in files.values()])
            with progress(None, STEP, f"open {self.path.name}"):
                return ort.InferenceSession(
                    str(self.path),
                    options,
                    providers=providers,
                    disabled_optimizers=list(graph.unsafe) or None,
                    enable_fallback=0,
                )

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the outputs in graph order for one dict of input arrays.

        Raises `ModelInputError` for an input that the graph rejects, `DeadlineExceeded` for a run
        that exceeds its timeout, and `ModelRunError` for a failed run, after a retry on the CPU if
        allowed.
        """
        try:
            if self._timeout is None:
                outputs: list[Array] = self._session.run(self._names, feeds)
            else:
                with cut_after(self._timeout, self.path) as run_options:
                    outputs = self._session.run(self._names, feeds, run_options)
        except Exception as error:
            return self._recover(feeds, error)
        self._failures = 0
        return outputs

    @property
    def memory(self) -> str:
        """The device memory in which outputs can stay, as onnxruntime names it, or ""."""
        return _MEMORIES.get(self.device, "")

    def run_bound(self, feeds: Mapping[str, Any], keep: bool) -> list[Any]:
        """Run on arrays and `DeviceTensor`s without copying the latter.

        `keep` leaves the outputs in device memory. Errors are those of `run`.
        """
        binding = self._session.io_binding()
        memory, number = (self.memory, self._device_number) if keep else ("cpu", 0)
        try:
            for name, value in feeds.items():
                if isinstance(value, DeviceTensor):
                    binding.bind_ortvalue_input(name, value.value)
                else:
                    binding.bind_cpu_input(name, value)
            for name in self._names:
                binding.bind_output(name, memory, number)
            self._session.run_with_iobinding(binding)
            self._failures = 0
        except Exception as error:
            return self._recover({name: np.asarray(value) for name, value in feeds.items()}, error)
        values = [DeviceTensor(value) for value in binding.get_outputs()]
        return values if keep else [np.asarray(value) for value in values]

    def _recover(self, feeds: Mapping[str, Array], error: Exception) -> list[Array]:
        """Run again on the CPU after a device failure, or raise the translated error."""
        if isinstance(error, ConduitError):
            raise error
        refused = input_error(error, self.device)
        if refused is not None:
            raise refused from error
        if self.device != "cpu" and self.options.may_fall_back:
            return self._run_on_cpu(feeds, error)
        raise run_error(self.path, self.device, error) from error

    def _run_on_cpu(self, feeds: Mapping[str, Array], error: Exception) -> list[Array]:
        if self._on_cpu is None:
            self._on_cpu = self._same_on_cpu(error)
        outputs = self._on_cpu.run(feeds)  # raises if the input is at fault
        self.fallbacks += 1
        self._failures += 1
        failed_on, self.note = self.device, f"{self.device} failed: {run_reason(error)}"
        recorder.annotate(device="cpu", device_fallback=self.note)
        if self.fallbacks == 1:
            _log.warning("%s was run on the CPU: %s", display(self.path), self.note)
        if self._failures >= MAX_DEVICE_FAILURES:
            self._session, self.device = self._on_cpu._session, "cpu"
            _log.warning(
                "%s stays on the CPU: %s failed %d times in a row",
                display(self.path),
                failed_on,
                MAX_DEVICE_FAILURES,
            )
        return outputs

    def _same_on_cpu(self, error: Exception) -> Session:
        """Open the same bytes on the CPU."""
        failed = (
            f"{display(self.path)} failed on {self.device} ({run_reason(error)}), "
            "and the CPU cannot stand in: "
        )
        try:
            session = Session(self.path, replace(self.options, device="cpu"))
        except ModelLoadError as problem:
            raise ModelRunError(f"{failed}{problem}") from error
        if session.content != self.content:
            raise ModelRunError(
                f"{failed}the file has changed since it was loaded; load it again"
            ) from error
        return session


def _spec(value: Any, graph: Graph) -> TensorSpec:
    """Return the spec of an onnxruntime input or output; an unnamed free axis is called `?`."""
    shape = tuple(axis if isinstance(axis, int) else axis or "?" for axis in value.shape)
    unranked = not shape and value.name in graph.unranked and value.type.startswith("tensor(")
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape, not unranked)


def native(array: Array) -> Array:
    """Return `array` in native byte order: onnxruntime silently misreads any other."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """Return NumPy's dtype for a spec; raise `ModelInputError` for a type that NumPy lacks."""
    if spec.dtype == "str":
        return np.dtype(object)
    try:
        return np.dtype(spec.dtype)
    except TypeError:
        raise ModelInputError(
            f"input {spec.name!r} has the type {spec.dtype}, which arrays cannot hold"
        ) from None
