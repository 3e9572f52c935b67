"""What hardware is here, the order of choice, and the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

from conduit_lab.core import html
from conduit_lab.core.errors import DeviceError, MissingExtra

# In the order of choice: the name a person uses, and onnxruntime's name of the execution provider.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


@cache
def onnxruntime() -> ModuleType:
    """Import onnxruntime once, with its telemetry off and only errors logged; `MissingExtra` where it is not there."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "cpu", "running ONNX models") from error
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Device:
    """One kind of hardware: its name, onnxruntime's provider, whether it can be used, and why."""

    name: str
    provider: str
    present: bool
    reason: str


class Devices(Sequence[Device]):
    """The table of devices in the order of choice; `chosen` is what `device="auto"` uses."""

    def __init__(self, rows: Sequence[Device], note: str = "") -> None:
        self._rows = tuple(rows)
        self.note = note

    @property
    def chosen(self) -> Device | None:
        """The first device that is present, or None without onnxruntime."""
        return next((device for device in self._rows if device.present), None)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._rows)

    def _cells(self) -> list[tuple[str, str, str, str]]:
        use = {True: "used", False: "present"}
        return [(d.name, d.provider, use[d is self.chosen] if d.present else "not here", d.reason) for d in self._rows]

    def __repr__(self) -> str:
        table = html.columns(("device", "provider", "state", "why"), self._cells())
        return f"{table}\n{self.note}" if self.note else table

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        facts = [f"{self.chosen.name} is used"] if self.chosen else ["onnxruntime is not installed"]
        shown = html.header("Devices", "onnxruntime", facts) + html.table(
            ("device", "provider", "state", "why"), self._cells()
        )
        return html.bundle(repr(self), shown + (html.text(self.note) if self.note else ""))


def devices() -> Devices:
    """Return what is here, what will be used, and why. Reads onnxruntime's own list; opens no device."""
    note = _double_install()
    try:
        ort = onnxruntime()
    except MissingExtra as error:
        reason = "onnxruntime is not installed; .npz models run on NumPy"
        return Devices([Device(n, p, False, reason) for n, p in PROVIDERS.items()], f"{error} {note}".strip())
    available = ort.get_available_providers()
    rows = []
    for name, provider in PROVIDERS.items():
        present = provider in available
        rows.append(Device(name, provider, present, _reason(name, present, ort.__version__)))
    return Devices(rows, note)


def _reason(name: str, present: bool, version: str) -> str:
    if not present:
        return f"onnxruntime {version} as installed has no such provider"
    if name == "cpu":
        return f"onnxruntime {version}; {os.cpu_count()} cores; always there"
    return f"onnxruntime {version} has the provider; a model that it cannot load falls back to the CPU"


def _double_install() -> str:
    """Return a warning when several onnxruntime packages overwrite each other's files, else nothing."""
    names = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if len(found) < 2:
        return ""
    return f"{' and '.join(found)} are both installed and overwrite each other: uninstall all, then install one."


def providers_for(device: str) -> list[str]:
    """Return onnxruntime's providers for `device`, best first, the CPU always last.

    `device` is "auto", a name of `devices()`, or a name with a number such as "cuda:1".
    Raises `DeviceError` for a name that is unknown or not here.
    """
    here = devices()
    if here.chosen is None:
        onnxruntime()  # raises the error that names the extra
    if device == "auto":
        return [d.provider for d in here if d.present]
    name = device.partition(":")[0]
    if name not in PROVIDERS:
        raise DeviceError(f"device {device!r} is unknown: wanted 'auto' or one of {', '.join(PROVIDERS)}")
    row = next(d for d in here if d.name == name)
    if not row.present:
        raise DeviceError(
            f"device {device!r} cannot be had: {row.reason}; use device='auto', or install the [gpu] extra"
        )
    return list(dict.fromkeys([row.provider, PROVIDERS["cpu"]]))


def name_of(provider: str) -> str:
    """Return the person's name of an onnxruntime provider: `cpu` for `CPUExecutionProvider`."""
    return next((name for name, known in PROVIDERS.items() if known == provider), provider)
