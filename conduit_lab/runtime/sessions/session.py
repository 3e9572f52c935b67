"""Loading an ONNX file: checked first, then one onnxruntime session, with the CPU to fall back on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import (
    ConduitError,
    DeadlineExceeded,
    DeviceError,
    ModelInputError,
    ModelLoadError,
    ModelRunError,
)
from conduit_lab.core.paths import display
from conduit_lab.core.spec import Array, TensorSpec
from conduit_lab.core.text import first_line
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures
from conduit_lab.runtime.checks import external
from conduit_lab.runtime.checks.content import TRIES
from conduit_lab.runtime.checks.graph import Graph, check_graph
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.deadline import cut_after
from conduit_lab.runtime.sessions.tensor import DeviceTensor

log = logging.getLogger("conduit_lab")

LOOP_SECONDS = 300.0  # a graph with a Loop is cut after this, unless its `timeout` says otherwise
MEMORY_SHARE = 0.8  # of the machine's memory: what all runs on the CPU may ask for together
FAILURES = 3  # runs that fail on a device in a row before the model stays on the CPU

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
_MEMORIES = {"cuda": "cuda", "tensorrt": "cuda", "directml": "dml"}
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


# Before the reason onnxruntime puts a code, the path, and a place in its own source
_NOISE = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
        r"^Load model from .*? failed: ?",
        r"^/\S+:\d+ .*?\) (?=[A-Z])",
    )
)
# The words of a reason, and the next step
_STEPS = (
    (
        r"No Op registered|is not a registered function|Could not find an implementation|Custom Op",
        "update onnxruntime, or register the operator's library with register_custom_ops(path)",
    ),
    (
        r"Unsupported model IR version|Opset \d+ is under development|max supported",
        "update onnxruntime",
    ),
    (r"Missing opset", "it may be cut short: copy it again"),
)

_custom_ops: list[str] = []


def register_custom_ops(library: str | Path) -> None:
    """Let models that are opened from now on use the operators of a shared library.

    A library is code that runs in this process: only this call names one, never a model file.
    Raises `ModelLoadError` for a file that is not there, or that onnxruntime cannot load.
    """
    path = str(Path(library).resolve())
    if not Path(path).is_file():
        raise ModelLoadError(f"no library of operators at {path}: check the path")
    try:
        devices.onnxruntime().SessionOptions().register_custom_ops_library(path)
    except Exception as error:
        raise ModelLoadError(f"{path} is no library of operators: {first_line(error)}") from error
    if path not in _custom_ops:
        _custom_ops.append(path)


@dataclass(frozen=True)
class Options:
    """How a model file is opened.

    `device` is "auto" or a name of `devices()`, such as "cuda:1". `fallback` says whether the CPU
    may stand in for it: by default it may for "auto" and not for a device that was asked for.
    `threads` are those inside of one run (0: onnxruntime's choice), `graph_level` is disable,
    basic, extended or all, `timeout` the seconds a run may take.
    """

    device: str = "auto"
    fallback: bool | None = None
    threads: int = 0
    graph_level: str = "all"
    timeout: float | None = None

    @property
    def may_fall_back(self) -> bool:
        """Whether the CPU may stand in for the device."""
        return self.device == "auto" if self.fallback is None else self.fallback


class Session:
    """One ONNX graph in onnxruntime, ready to run.

    `device` says what it really runs on, `note` why that is not what was wanted, `fallbacks` how
    many runs the CPU did in its place. Raises `ModelLoadError` for a file that is missing, broken
    or refused, `DeviceError` for a device that is not here.
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
        self._limit = self.options.timeout or (LOOP_SECONDS if self.graph.endless else None)
        try:
            self.inputs = tuple(_spec(value, self.graph) for value in self._session.get_inputs())
            self.outputs = tuple(_spec(value, self.graph) for value in self._session.get_outputs())
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ModelLoadError(
                f"{display(path)} has a name in it that is no text: {error}"
            ) from error
        number = self.options.device.partition(":")[2]
        self._number = int(number) if number.isdigit() else 0
        self._names = [spec.name for spec in self.outputs]
        self.device = devices.name_of(self._session.get_providers()[0])

    def _open_unchanged(self) -> tuple[Graph, Any]:
        """Return the checked graph and the session of the same bytes, though the file may change."""
        for _ in range(TRIES):
            graph = check_graph(self.path)
            session = self._open(graph)
            if check_graph(self.path).content == graph.content:
                return graph, session
        raise ModelLoadError(
            f"{display(self.path)} changes while it is loaded: load it again once it is written"
        )

    def _open(self, graph: Graph) -> Any:
        """Return onnxruntime's session on the best device that takes the model."""
        wanted = devices.providers_for(self.options.device, self.options.fallback)
        first = devices.name_of(wanted[0])
        for start in range(len(wanted)):
            try:
                session = self._create(graph, wanted[start:])
            except Exception as error:  # onnxruntime's own exceptions have no common base
                self.note = self.note or f"{first} cannot load it: {first_line(error)}"
                if start + 1 < len(wanted) and self.options.may_fall_back:
                    continue
                raise ModelLoadError(
                    f"{display(self.path)} cannot be loaded: {_refusal(error)}"
                ) from error
            got = devices.name_of(session.get_providers()[0])
            if got != first:
                self.note = (
                    self.note or f"onnxruntime did not load {first}"
                )  # it may leave one out without an error
                if not self.options.may_fall_back:
                    raise DeviceError(
                        f"{display(self.path)} would run on {got}: {self.note}; or pass fallback=True"
                    )
                log.warning("%s runs on %s: %s", display(self.path), got, self.note)
            elif got == "cpu" and self.options.device not in ("auto", "cpu"):
                self.note = devices.why_not(self.options.device, got)
                log.warning("%s runs on the CPU: %s", display(self.path), self.note)
            else:
                self.note = self.note or devices.why_not(self.options.device, got)
            return session
        raise AssertionError("there is always the CPU")

    def _create(self, graph: Graph, providers: list[Any]) -> Any:
        ort = devices.onnxruntime()
        _cap_memory()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, with its reason
        options.intra_op_num_threads = self.options.threads
        options.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, _LEVELS[self.options.graph_level]
        )
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry(
            "session.use_device_allocator_for_initializers", "1"
        )  # freed at an unload
        for library in _custom_ops:
            options.register_custom_ops_library(library)
        without = list(graph.unsafe) or None
        with external.map_files(self.path, graph.parts) as files:
            # given as bytes to copy: a file that onnxruntime maps itself changes answers when it is
            # written to, and ends the process when it is cut; older versions have no such call
            give = getattr(options, "add_external_initializers_from_files_in_memory", None)
            if files and give and [devices.name_of(provider) for provider in providers] == ["cpu"]:
                give(list(files), list(files.values()), [len(file) for file in files.values()])
            return ort.InferenceSession(
                str(self.path),
                options,
                providers=providers,
                disabled_optimizers=without,
                enable_fallback=0,
            )

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the outputs in their order for one dict of input arrays.

        Raises `ModelInputError` for what the graph does not take, `DeadlineExceeded` for a run that
        was cut, and `ModelRunError` for one that failed, on the CPU too where it may fall back.
        """
        try:
            if self._limit is None:
                outputs: list[Array] = self._session.run(self._names, feeds)
            else:
                outputs = self._run_watched(self._limit, feeds)
        except Exception as error:
            return self._recover(feeds, error)
        self._failures = 0
        return outputs

    @property
    def memory(self) -> str:
        """The name that onnxruntime has for the device's own memory, where outputs can stay; or nothing."""
        return _MEMORIES.get(self.device, "")

    def run_bound(self, feeds: Mapping[str, Any], keep: bool) -> list[Any]:
        """Run on arrays and `DeviceTensor`s, without copying those; `keep` leaves the outputs where
        they are computed.

        Raises what `run` raises.
        """
        binding = self._session.io_binding()
        try:
            for name, value in feeds.items():
                if isinstance(value, DeviceTensor):
                    binding.bind_ortvalue_input(name, value.value)
                else:
                    binding.bind_cpu_input(name, value)
            for name in self._names:
                binding.bind_output(
                    name, self.memory if keep else "cpu", self._number if keep else 0
                )
            self._session.run_with_iobinding(binding)
        except Exception as error:
            return self._recover({name: np.asarray(value) for name, value in feeds.items()}, error)
        values = [DeviceTensor(value) for value in binding.get_outputs()]
        return values if keep else [np.asarray(value) for value in values]

    def _run_watched(self, seconds: float, feeds: Mapping[str, Array]) -> list[Array]:
        options = devices.onnxruntime().RunOptions()
        with cut_after(seconds, options):
            try:
                outputs: list[Array] = self._session.run(self._names, feeds, options)
            except Exception as error:
                if options.terminate:
                    raise DeadlineExceeded(
                        f"{display(self.path)} ran longer than {seconds:.3g} s and was cut: "
                        "give it a smaller input or a longer timeout="
                    ) from error
                raise
        return outputs

    def _recover(self, feeds: Mapping[str, Array], error: Exception) -> list[Array]:
        """Run once more on the CPU where a device failed, or raise what the caller can act on."""
        state = devices.onnxruntime().capi.onnxruntime_pybind11_state
        if isinstance(error, ConduitError):
            raise error
        if isinstance(
            error, UnicodeEncodeError | state.InvalidArgument
        ):  # the first: a lone surrogate
            raise ModelInputError(f"the graph refused its input: {first_line(error)}") from error
        if self.device != "cpu" and self.options.may_fall_back:
            return self._run_on_cpu(feeds, error)
        # a kernel's complaint about a value, such as an index out of range, comes as this one too
        if (
            isinstance(error, state.RuntimeException)
            and self.device == "cpu"
            and not _is_memory(error)
        ):
            raise ModelInputError(f"the graph refused its input: {first_line(error)}") from error
        raise ModelRunError(
            f"{display(self.path)} failed on {self.device}: {_reason(error)}"
        ) from error

    def _run_on_cpu(self, feeds: Mapping[str, Array], error: Exception) -> list[Array]:
        if self._on_cpu is None:
            self._on_cpu = self._same_on_cpu(error)
        outputs = self._on_cpu.run(feeds)  # raises where the input is to blame
        self.fallbacks += 1
        self._failures += 1
        failed_on, self.note = self.device, f"{self.device} failed: {_reason(error)}"
        recorder.note(f"cpu: {self.note}")
        if self.fallbacks == 1:
            log.warning("%s was run on the CPU: %s", display(self.path), self.note)
        if self._failures >= FAILURES:
            self._session, self.device = self._on_cpu._session, "cpu"
            log.warning(
                "%s stays on the CPU: %s failed %d times in a row",
                display(self.path),
                failed_on,
                FAILURES,
            )
        return outputs

    def _same_on_cpu(self, error: Exception) -> Session:
        """Return a session of the same bytes on the CPU."""
        failed = f"{display(self.path)} failed on {self.device} ({_reason(error)}), and the CPU cannot stand in: "
        try:
            session = Session(self.path, replace(self.options, device="cpu"))
        except ModelLoadError as problem:
            raise ModelRunError(f"{failed}{problem}") from error
        if session.content != self.content:
            raise ModelRunError(
                f"{failed}the file has changed since it was loaded; load it again"
            ) from error
        return session


@cache
def _cap_memory() -> None:
    """Give all sessions one arena on the CPU with a limit, so that a graph which asks for too much
    fails by itself.

    Without it the system lets a process ask for more than there is, and ends the process.
    """
    ort = devices.onnxruntime()
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    limit = int(memory_bytes() * MEMORY_SHARE)
    # 1: grow by what is asked for, not by powers of two
    ort.create_and_register_allocator(
        memory, ort.OrtArenaCfg({"max_mem": limit, "arena_extend_strategy": 1})
    )


def memory_bytes() -> int:
    """Return the memory that this process may use, in bytes: the machine's, or the container's where that is less."""
    total = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sysconf")
        else 8 * 2**30
    )
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # no cgroup, or "max"
        return total


def _is_memory(error: Exception) -> bool:
    """Tell whether onnxruntime complains about memory; it has no exception of its own for it."""
    text = str(error).lower()
    return any(
        words in text
        for words in ("allocate memory", "memory of", "out of memory", "bad_alloc", "bad alloc")
    )


def _reason(error: Exception) -> str:
    """Return why a run failed, and for want of memory how much was asked for."""
    if not _is_memory(error):
        return first_line(error)
    asked = re.search(r"requested (?:bytes of|buffer of size) (\d+)", str(error))
    return (
        f"it asked for {figures.size(int(asked[1]))} more memory than it may have"
        if asked
        else "out of memory"
    )


def _spec(value: Any, graph: Graph) -> TensorSpec:
    """Return the spec of an onnxruntime input or output; an unnamed free axis is called `?`."""
    shape = tuple(axis if isinstance(axis, int) else axis or "?" for axis in value.shape)
    unranked = not shape and value.name in graph.unranked and value.type.startswith("tensor(")
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape, not unranked)


def _refusal(error: Exception) -> str:
    """Return why onnxruntime refused a file, without its own codes and paths, and the next step."""
    text = str(error).strip()
    for noise in _NOISE:
        text = noise.sub("", text, count=1)
    text = " ".join(text.split())[:300].rstrip(".; ")
    return f"{text}; {next((step for words, step in _STEPS if re.search(words, text)), 'export it again')}"


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
        raise ModelInputError(
            f"input {spec.name!r} has the type {spec.dtype}, which arrays cannot hold"
        ) from None
