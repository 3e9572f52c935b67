"""Plug-in packages, registered with a fake onnxruntime; a broken library with the real one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from conduit_lab.runtime.hardware import devices as room
from conduit_lab.runtime.hardware.devices import devices, why_not
from conduit_lab.runtime.hardware.plugins import Plugin, plugins_of


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(tmp_path)
    plugins_of.cache_clear()
    yield
    plugins_of.cache_clear()
    for name in [name for name in sys.modules if name.startswith("onnxruntime_ep_")]:
        del sys.modules[name]


def package(folder: Path, name: str, code: str) -> None:
    (folder / f"onnxruntime_ep_{name}.py").write_text(code)
    about = folder / f"onnxruntime_ep_{name}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: onnxruntime-ep-{name}\nVersion: 1.2\n"
    )


def plugin(provider: str, library: str = "/lib/plugin.so") -> str:
    return (
        f"def get_ep_names(): return [{provider!r}]\ndef get_library_path(): return {library!r}\n"
    )


def onnxruntime(registered: list[tuple[str, str]]) -> ModuleType:
    module = ModuleType("onnxruntime")
    module.__dict__["register_execution_provider_library"] = lambda *names: registered.append(names)
    return module


def test_plugin_is_registered_under_the_name_of_its_provider(tmp_path: Path) -> None:
    package(tmp_path, "webgpu", plugin("WebGpuExecutionProvider"))
    registered: list[tuple[str, str]] = []
    found = plugins_of(onnxruntime(registered))
    assert found == {"WebGpuExecutionProvider": Plugin("onnxruntime-ep-webgpu 1.2")}
    assert registered == [("WebGpuExecutionProvider", "/lib/plugin.so")]


def test_a_plugin_may_be_a_folder_or_one_module(tmp_path: Path) -> None:
    package(tmp_path, "webgpu", plugin("WebGpuExecutionProvider"))
    (tmp_path / "onnxruntime_ep_folder").mkdir()
    (tmp_path / "onnxruntime_ep_folder" / "__init__.py").write_text(plugin("FolderProvider"))
    (tmp_path / "onnxruntime_ep_removed-1.0.dist-info").mkdir()
    assert list(plugins_of(onnxruntime([]))) == ["FolderProvider", "WebGpuExecutionProvider"]


def test_each_plugin_is_registered_once(tmp_path: Path) -> None:
    package(tmp_path, "webgpu", plugin("WebGpuExecutionProvider"))
    registered: list[tuple[str, str]] = []
    ort = onnxruntime(registered)
    plugins_of(ort)
    plugins_of(ort)
    assert len(registered) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("", "AttributeError: module 'onnxruntime_ep_aaa' has no attribute 'get_ep_names'"),
        ("def get_ep_names(): raise OSError", "OSError"),
        ("def (", "SyntaxError: "),
    ],
)
def test_broken_plugin_is_ignored_and_logged_with_its_name_and_reason(
    tmp_path: Path, code: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "aaa", code)
    package(tmp_path, "webgpu", plugin("WebGpuExecutionProvider"))
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        assert list(plugins_of(onnxruntime([]))) == ["WebGpuExecutionProvider"]
    (line,) = caplog.messages
    assert line.startswith(f"the plug-in onnxruntime-ep-aaa 1.2 is ignored: {reason}")


def test_onnxruntime_without_plugin_support_gets_none(tmp_path: Path) -> None:
    package(tmp_path, "webgpu", plugin("WebGpuExecutionProvider"))
    assert plugins_of(ModuleType("onnxruntime")) == {}


def test_library_that_cannot_be_loaded_is_reported_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = tmp_path / "broken.so"
    library.write_bytes(b"no library")
    package(tmp_path, "webgpu", plugin("WebGpuExecutionProvider", str(library)))
    row = next(row for row in devices() if row.name == "webgpu")
    assert row.installed
    assert not row.present
    version = room.onnxruntime().__version__
    assert row.reason.startswith(
        f"onnxruntime-ep-webgpu 1.2 has it, but onnxruntime {version} rejects it ("
    )
    assert why_not("auto", "cpu") == f"webgpu: {row.reason}"
    (line,) = caplog.messages
    assert line.startswith(
        "the provider WebGpuExecutionProvider of onnxruntime-ep-webgpu 1.2 is unavailable: "
        f"onnxruntime {version} rejects it ("
    )


def test_plugin_without_a_device_is_reported_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "openvino", plugin("OpenVINOExecutionProvider"))
    monkeypatch.setattr(room.onnxruntime(), "register_execution_provider_library", lambda *_: None)
    row = next(row for row in devices() if row.name == "openvino")
    assert (
        row.reason == "onnxruntime-ep-openvino 1.2 has it, but it finds no device of its kind here"
    )
