"""Devices: the hardware of this machine in order of preference, with a reason for each device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from conduit_lab.core import views
from conduit_lab.core.errors import DeviceError, MissingExtra
from conduit_lab.core.views import figures
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.runtime.hardware import machine
from conduit_lab.runtime.hardware.plugins import Plugin, plugins_of

# Device names in order of preference, with onnxruntime's execution providers.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_PACKAGES = {
    "tensorrt": "onnxruntime-gpu",
    "cuda": "onnxruntime-gpu",
    "coreml": "onnxruntime on macOS",
    "directml": "onnxruntime-directml on Windows",
    "rocm": "onnxruntime-rocm",
    "migraphx": "onnxruntime-migraphx",
    "openvino": "onnxruntime-openvino or the plug-in onnxruntime-ep-openvino",
    "webgpu": "the plug-in onnxruntime-ep-webgpu",
}
_NUMBERED = ("tensorrt", "cuda", "directml", "rocm", "migraphx")  # take device_id
_LIMITED = ("cuda", "rocm")  # take gpu_mem_limit
_NO_DEVICE = "AzureExecutionProvider"  # in every build; calls a remote service

Provider = str | tuple[str, dict[str, str]]
_memory_limit: ContextVar[int | None] = ContextVar("memory_limit", default=None)


@cache
def onnxruntime() -> ModuleType:
    """Import onnxruntime once, without telemetry and logging only errors.

    Raises `MissingExtra` if it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "cpu", "running ONNX models") from error
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Device:
    """One kind of hardware: its name, onnxruntime's provider, whether it can be used, and why.

    `installed`: onnxruntime or a plug-in contains the provider. `automatic`: "auto" may choose it.
    """

    name: str
    provider: str
    present: bool
    reason: str
    installed: bool = False
    automatic: bool = True


class Devices(Viewed, Sequence[Device]):
    """The table of devices in order of preference; `device="auto"` uses the `chosen` one."""

    def __init__(self, rows: Sequence[Device], note: str = "") -> None:
        self._rows = tuple(rows)
        self.note = note

    @property
    def chosen(self) -> Device | None:
        """The first device that is present, or None without onnxruntime."""
        return next((device for device in self._rows if device.present and device.automatic), None)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._rows)

    def _table(self) -> views.Table:
        """Return the present devices, the used one first, then those with a provider."""
        shown = [device for device in self._rows if device.present or device.installed]
        shown.sort(key=lambda device: (device is not self.chosen, not device.present))
        use = {True: "used", False: "present"}
        cells = [
            (d.name, use[d is self.chosen] if d.present else "not here", d.reason, d.provider)
            for d in shown
        ]
        return views.Table(("device", "state", "why", "provider"), cells, wide=("why",))

    @property
    def _absent(self) -> list[Device]:
        return [device for device in self._rows if not device.present and not device.installed]

    def _absent_line(self) -> str:
        """Return the names of the absent devices, with the reason if all share it."""
        names = ", ".join(device.name for device in self._absent)
        reasons = {device.reason for device in self._absent}
        return f"not here: {names}" + (f" ({reasons.pop()})" if len(reasons) == 1 else "")

    def __repr__(self) -> str:
        parts = [self._table().plain()] if self._table().rows else []
        parts += [self._absent_line()] if self._absent else []
        return "\n".join([*parts, *([self.note] if self.note else [])])

    def _view(self) -> views.View:
        fact = f"{self.chosen.name} is used" if self.chosen else "onnxruntime is not installed"
        pieces: list[views.ViewPiece] = [self._table()] if self._table().rows else []
        pieces += [views.Line(self.note)] if self.note else []
        if self._absent:
            reasons = views.Table(("device", "why"), [(d.name, d.reason) for d in self._absent])
            pieces.append(views.Folded(self._absent_line(), [reasons]))
        return views.View("Devices", "onnxruntime", [fact], pieces=pieces)


def devices() -> Devices:
    """List every device: whether it is present, whether it is used, and why.

    Reads onnxruntime's providers and the driver, and registers plug-ins (packages
    `onnxruntime-ep-*`); opens no device.
    """
    found = _known_devices()
    return Devices(found, f"{found.note} {_double_install()}".strip())


def _known_devices() -> Devices:
    """List every device, without reading which packages are installed."""
    try:
        ort = onnxruntime()
    except MissingExtra as error:
        reason = "onnxruntime is not installed; .npz models run on NumPy"
        return Devices([Device(n, p, False, reason) for n, p in PROVIDERS.items()], str(error))
    plugins = plugins_of(ort)
    available = ort.get_available_providers()
    rows = [
        _row(ort, name, provider in available, plugins.get(provider))
        for name, provider in PROVIDERS.items()
    ]
    for provider in available:
        if provider in PROVIDERS.values() or provider == _NO_DEVICE:
            continue
        name = name_of(provider)
        reason = f"{_description(ort, name, provider)}; used only as device={name!r}"
        rows.append(Device(name, provider, True, reason, installed=True, automatic=False))
    return Devices(rows)


def providers_for(device: str, fallback: bool | None = None) -> list[Provider]:
    """Return onnxruntime's providers for `device`, best first, the CPU always last.

    `device` is "auto", a name of `devices()`, a name with a number such as "cuda:1", or
    "openvino:gpu". A provider with options is a pair (name, options), as `InferenceSession` takes
    it. Raises `DeviceError` for an unknown name, and for an unavailable device unless `fallback` is
    True; `why_not` then returns the reason.
    """
    table = _known_devices()
    if table.chosen is None:
        onnxruntime()  # raises the error that names the extra
    row, which = _find(table, device)
    problem = _problem(row, which)
    if problem and not fallback:
        raise DeviceError(
            f"device {device!r} is unavailable: {problem}; use device='auto', or pass fallback=True"
        )
    used = [] if problem or row.name == "cpu" else [row]
    if row.name == "tensorrt":  # CUDA runs the nodes that TensorRT does not support
        used += [other for other in table if other.name == "cuda" and other.present]
    providers: list[Provider] = []
    for row in used:
        options = _options(row.name, which)
        providers.append((row.provider, options) if options else row.provider)
    return [*providers, PROVIDERS["cpu"]]


def why_not(device: str, used: str) -> str:
    """Return why a session for `device` ("auto" or a name) runs on `used` (a name), or "".

    For "auto" the reason is that of the nearest better device whose provider is installed.
    """
    table = _known_devices()
    if device != "auto":
        row, which = _find(table, device)
        problem = _problem(row, which)
        if row.name == used:
            return ""
        return f"{device}: {problem}" if problem else f"{row.name} did not load this model"
    if table.chosen is not None and table.chosen.name != used:
        return f"{table.chosen.name} did not load this model"
    if used != "cpu":
        return ""
    better = [row for row in table if row.installed and not row.present]
    return f"{better[-1].name}: {better[-1].reason}" if better else ""


def name_of(provider: Provider) -> str:
    """Return the device name of an onnxruntime provider, given with or without options."""
    own = provider if isinstance(provider, str) else provider[0]
    short = own.removesuffix("ExecutionProvider").lower()
    return next((name for name, known in PROVIDERS.items() if known == own), short)


@contextmanager
def memory_limit(limit: int) -> Iterator[None]:
    """Limit the device memory of each session that this thread opens in the block, in bytes."""
    token = _memory_limit.set(limit)
    try:
        yield
    finally:
        _memory_limit.reset(token)


def can_limit_memory(name: str) -> bool:
    """Return whether `memory_limit` has an effect on the device."""
    return name in _LIMITED


def _find(table: Devices, device: str) -> tuple[Device, str]:
    """Return the row that `device` names, and the part after its colon."""
    name, colon, which = device.partition(":")
    rows = {row.name: row for row in table}
    row = table.chosen if device == "auto" else rows.get(name)
    if row is None:
        raise DeviceError(
            f"device {device!r} is unknown: expected 'auto' or one of {', '.join(rows)}"
        )
    if not colon:
        return row, ""
    if name in _NUMBERED and which.isascii() and which.isdigit():
        return row, which
    if name == "openvino" and which in ("cpu", "gpu", "npu"):
        return row, which
    expected = f"a number, such as '{name}:0'" if name in _NUMBERED else f"'{name}' alone"
    if name == "openvino":
        expected = "'openvino:cpu', 'openvino:gpu' or 'openvino:npu'"
    raise DeviceError(f"device {device!r} is unknown: expected {expected}")


def _problem(row: Device, which: str) -> str:
    """Return why the device is unavailable, or ""."""
    if not row.present:
        return row.reason
    gpus = machine.nvidia_gpus() if which and row.name in ("tensorrt", "cuda") else None
    if gpus is not None and int(which) >= len(gpus):
        return f"the last NVIDIA GPU here is '{row.name}:{len(gpus) - 1}'"
    return ""


def _options(name: str, which: str) -> dict[str, str]:
    """Return the provider options for the part after the colon and for a memory limit."""
    options = {}
    if which:
        options["device_type" if name == "openvino" else "device_id"] = which.upper()
    limit = _memory_limit.get()
    if limit is not None and name in _LIMITED:
        options["gpu_mem_limit"] = str(limit)
    return options


def _row(ort: ModuleType, name: str, available: bool, plugin: Plugin | None) -> Device:
    """Return the table row of a known device."""
    provider = PROVIDERS[name]
    problem = _hardware_problem(ort, name) if available else ""
    source = plugin.package if plugin else f"onnxruntime {ort.__version__}"
    if name == "cpu":
        reason = f"{machine.processor()}; {source}; always there"
    elif problem:
        reason = f"{source} has it, but {problem}"
    elif available:
        reason = f"{_description(ort, name, provider)}; {source}"
    elif plugin:
        reason = f"{source} has it, but {plugin.problem}"
    else:
        reason = f"{source} has no such provider; it comes with {_PACKAGES[name]}"
    # on an AMD processor OpenVINO is slower than the CPU provider: docs/gpu.md
    automatic = name != "openvino" or plugin is not None or "Intel" in machine.processor()
    present, installed = available and not problem, available or plugin is not None
    return Device(name, provider, present, reason, installed, automatic)


def _hardware_problem(ort: ModuleType, name: str) -> str:
    """Return why a provider's hardware or libraries are missing, or ""."""
    if name == "tensorrt":
        return machine.tensorrt_problem(ort)
    if name == "cuda":
        return machine.cuda_problem(ort)
    return machine.amd_problem() if name in ("rocm", "migraphx") else ""


def _description(ort: ModuleType, name: str, provider: str) -> str:
    """Return the hardware behind a device, as far as it is known."""
    if name in ("tensorrt", "cuda"):
        gpus = machine.nvidia_gpus()
        if not gpus:
            return "an NVIDIA GPU, unknown without nvidia-smi"
        names = [f"{gpu.name}, {figures.size(gpu.memory)}" for gpu in gpus]
        return " · ".join([*names, f"driver {gpus[0].driver}"])
    # from onnxruntime 1.23; plug-ins are listed too
    listed = ort.get_ep_devices() if hasattr(ort, "get_ep_devices") else ()
    found = [f"{d.device.vendor} {d.device.type.name}" for d in listed if d.ep_name == provider]
    if found:
        return " · ".join(found)
    if name == "openvino":
        intel = "Intel" in machine.processor()
        choice = "" if intel else "made for Intel, used only as device='openvino'; "
        return f"OpenVINO on this CPU; {choice}'openvino:gpu' selects Intel's GPU"
    return "ready"


def _double_install() -> str:
    """Return a warning if onnxruntime packages overwrite each other's files, else ""."""
    names = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
    from importlib import metadata  # imported and asked first: 40 ms, for this note alone

    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if len(found) < 2:
        return ""
    return (
        f"{' and '.join(found)} are both installed and overwrite each other: "
        "uninstall all, then install one."
    )
