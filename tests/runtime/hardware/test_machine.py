"""Facts about the machine, read from real programs and libraries and from fake ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from conduit_lab.runtime.hardware import machine

LIST = """\
0, GPU-aaaa-1, NVIDIA A100-SXM4-40GB, 40960, 550.54.15
1, GPU-bbbb-2, NVIDIA L4, 23034, 550.54.15
"""
posix = pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clear the cached facts before and after each test."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    caches = (machine.nvidia_gpus, machine.cuda_problem, machine.tensorrt_problem)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def nvidia_smi(monkeypatch: pytest.MonkeyPatch, folder: Path, answer: str, status: int = 0) -> None:
    """Put a fake `nvidia-smi` on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_processor_is_named_with_its_cores() -> None:
    name, _, cores = machine.processor().rpartition(", ")
    assert name
    assert cores.split()[0].isdigit()


@posix
def test_gpus_are_read_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(monkeypatch, tmp_path, LIST)
    assert machine.nvidia_gpus() == (
        machine.Gpu("NVIDIA A100-SXM4-40GB", 40960 * 2**20, "550.54.15"),
        machine.Gpu("NVIDIA L4", 23034 * 2**20, "550.54.15"),
    )


@posix
@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["NVIDIA L4"]),
        ("1,0", ["NVIDIA L4", "NVIDIA A100-SXM4-40GB"]),
        ("GPU-bbbb", ["NVIDIA L4"]),
        ("0,7,1", ["NVIDIA A100-SXM4-40GB"]),
        ("", []),
        ("-1", []),
        ("MIG-cccc", ["NVIDIA A100-SXM4-40GB", "NVIDIA L4"]),
    ],
)
def test_only_visible_gpus_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str, names: list[str]
) -> None:
    nvidia_smi(monkeypatch, tmp_path, LIST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in machine.nvidia_gpus() or ()] == names


@posix
def test_unreported_gpu_memory_is_zero(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(monkeypatch, tmp_path, "0, GPU-aaaa-1, NVIDIA GB10, [N/A], 580.95\nsomething else\n")
    assert machine.nvidia_gpus() == (machine.Gpu("NVIDIA GB10", 0, "580.95"),)


@posix
def test_failing_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(monkeypatch, tmp_path, "No devices were found\n", status=6)
    assert machine.nvidia_gpus() == ()


def test_without_nvidia_smi_the_gpus_are_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_gpus() is None


# CUDA and TensorRT; `libm` imitates an installed library


def onnxruntime(printed: str = "") -> ModuleType:
    """Return an onnxruntime that prints this while it loads CUDA's libraries."""
    module = ModuleType("onnxruntime")
    module.__dict__["preload_dlls"] = lambda: print(printed)  # noqa: T201 - as the real one does
    return module


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake a driver whose GPUs cannot be counted."""
    monkeypatch.setattr(machine, "_DRIVER", "libm.so.6")
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: None)


linux = pytest.mark.skipif(sys.platform != "linux", reason="names of libraries on Linux")


@pytest.mark.parametrize("library", ["libabsent.so.1", ""])
def test_no_driver(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setattr(machine, "_DRIVER", library)
    assert "no NVIDIA driver here" in machine.cuda_problem(onnxruntime())


@linux
def test_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: None) -> None:
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: ())
    assert "driver lists no GPU" in machine.cuda_problem(onnxruntime())


@linux
def test_missing_cuda_libraries_are_named(driver: None, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ("libcublasLt.so.13", "libcurand.so.10")
    printed = "\n".join(f"Failed to load {name}: cannot open" for name in missing)
    problem = machine.cuda_problem(onnxruntime(printed))
    assert "Failed to load libcublasLt.so.13: cannot open" in problem
    assert "onnxruntime-gpu[cuda,cudnn]" in problem
    assert capsys.readouterr().out == ""


@linux
def test_cuda_has_no_problem_where_everything_is_installed(driver: None) -> None:
    assert machine.cuda_problem(onnxruntime("all loaded")) == ""
    assert machine.cuda_problem(ModuleType("an onnxruntime without preload_dlls")) == ""


@linux
def test_tensorrt_needs_its_library(monkeypatch: pytest.MonkeyPatch, driver: None) -> None:
    monkeypatch.setattr(machine, "_TENSORRT", {"linux": ("libm.so.6", "libabsent.so.10")})
    assert (
        machine.tensorrt_problem(onnxruntime())
        == "TensorRT is not installed here (libabsent.so.10 is not found)"
    )


@linux
def test_tensorrt_needs_what_cuda_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_DRIVER", "libabsent.so.1")
    assert "no NVIDIA driver" in machine.tensorrt_problem(onnxruntime())


@linux
def test_tensorrt_is_found_in_pip_s_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: None
) -> None:
    package = tmp_path / "tensorrt_libs"
    package.mkdir()
    (package / "__init__.py").touch()
    real = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libm.so" in line
    )
    for name in ("libinfer_test.so.10", "libparser_test.so.10"):
        (package / name).symlink_to(real)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        machine, "_TENSORRT", {"linux": ("libinfer_test.so.10", "libparser_test.so.10")}
    )
    assert machine.tensorrt_problem(onnxruntime()) == ""


@linux
def test_amd_driver_is_its_device_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bool(machine.amd_problem()) is not Path("/dev/kfd").exists()
    monkeypatch.setattr(sys, "platform", "win32")
    assert machine.amd_problem() == ""


def test_reading_the_hardware_loads_no_onnxruntime() -> None:
    code = """
        import sys
        from conduit_lab.runtime.hardware import machine
        machine.processor(), machine.nvidia_gpus(), machine.amd_problem()
        assert "onnxruntime" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
