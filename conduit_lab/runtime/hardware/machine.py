"""Facts about this machine, read without opening a device: processor, GPUs, driver, libraries."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from types import ModuleType

_SMI_TIMEOUT_SECONDS = 10  # a sleeping driver takes seconds to respond
_DRIVER = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}.get(sys.platform, "")
_TENSORRT = {
    "linux": ("libnvinfer.so.10", "libnvonnxparser.so.10"),
    "win32": ("nvinfer_10.dll", "nvonnxparser_10.dll"),
}


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as the driver reports it; `memory` in bytes."""

    name: str
    memory: int
    driver: str


@cache
def processor() -> str:
    """Return the processor and the number of cores this process may use: `AMD EPYC, 2 cores`."""
    name = platform.processor() or platform.machine()
    # Linux only, where platform.processor() says little
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(models, name)
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    return f"{name}, {cores} core{'s' * (cores != 1)}"


@cache
def nvidia_gpus() -> tuple[Gpu, ...] | None:
    """Return the GPUs that `nvidia-smi` and CUDA_VISIBLE_DEVICES show; None without nvidia-smi."""
    command = [
        "nvidia-smi",
        "--query-gpu=index,uuid,name,memory.total,driver_version",
        "--format=csv,noheader,nounits",
    ]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    gpus: dict[tuple[str, str], Gpu] = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else ():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5:
            index, uuid, name, mebibytes, driver = fields
            memory = int(mebibytes) * 2**20 if mebibytes.isdigit() else 0
            gpus[index, uuid] = Gpu(name, memory, driver)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or "MIG" in visible:  # nvidia-smi lists no MIG instances
        return tuple(gpus.values())
    chosen = []
    for entry in (entry.strip() for entry in visible.split(",")):
        found = [
            gpu
            for (index, uuid), gpu in gpus.items()
            if entry and (entry == index or uuid.startswith(entry))
        ]
        if not found:
            break  # as CUDA does at the first unknown entry
        chosen += found[:1]
    return tuple(chosen)


@cache
def cuda_problem(ort: ModuleType) -> str:
    """Return why CUDA cannot run here, or ""; load CUDA's libraries from pip's packages."""
    if not _loads(_DRIVER):
        return f"there is no NVIDIA driver here ({_DRIVER or 'CUDA'} is not found)"
    if nvidia_gpus() == ():
        return "the NVIDIA driver lists no GPU, or CUDA_VISIBLE_DEVICES hides them all"
    if not hasattr(ort, "preload_dlls"):  # before onnxruntime 1.21
        return ""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # preload_dlls prints missing libraries
        ort.preload_dlls()
    lines = printed.getvalue().splitlines()
    missing = next((line for line in lines if line.startswith("Failed to load")), "")
    if not missing:
        return ""
    return f"CUDA's libraries are not here ({missing}): pip install 'onnxruntime-gpu[cuda,cudnn]'"


@cache
def tensorrt_problem(ort: ModuleType) -> str:
    """Return why TensorRT cannot run here, or ""; load its libraries from pip's package."""
    problem = cuda_problem(ort)
    if problem:
        return problem
    names = _TENSORRT[sys.platform]
    spec = util.find_spec("tensorrt_libs")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for name in names:
        if not _loads(name, *(str(folder / name) for folder in folders)):
            return f"TensorRT is not installed here ({name} is not found)"
    return ""


def amd_problem() -> str:
    """Return why ROCm and MIGraphX cannot run here, or ""."""
    if sys.platform == "linux" and not Path("/dev/kfd").exists():
        return "there is no AMD GPU driver here (/dev/kfd is not found)"
    return ""


def _loads(*names: str) -> bool:
    """Load the first library that the dynamic linker finds; return whether it finds one."""
    for name in filter(None, names):
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return True
    return False
