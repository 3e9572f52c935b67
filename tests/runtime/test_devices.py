from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from types import SimpleNamespace

import pytest

from conduit_lab.core.errors import DeviceError, MissingExtra
from conduit_lab.runtime import devices as room
from conduit_lab.runtime.devices import PROVIDERS, devices, name_of, providers_for


@pytest.fixture
def no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    room.onnxruntime.cache_clear()
    yield
    room.onnxruntime.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make onnxruntime's providers those of `names`."""
    fake = SimpleNamespace(get_available_providers=lambda: [PROVIDERS[name] for name in names], __version__="9.9")
    monkeypatch.setattr(room, "onnxruntime", lambda: fake)


def test_cpu_is_always_there() -> None:
    row = next(device for device in devices() if device.name == "cpu")
    assert row.present
    assert "always there" in row.reason


def test_table_holds_every_known_device_in_the_order_of_choice() -> None:
    table = devices()
    assert [device.name for device in table] == list(PROVIDERS)
    assert len(table) == len(PROVIDERS)
    assert table[0].name == "tensorrt"


def test_first_present_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cpu", "cuda")
    table = devices()
    assert table.chosen is not None
    assert table.chosen.name == "cuda"
    states = [line.split()[2] for line in repr(table).splitlines()[1:] if " not here " not in line]
    assert states == ["used", "present"]


def test_without_onnxruntime_the_table_still_prints_and_says_why(no_onnxruntime: None) -> None:
    table = devices()
    assert table.chosen is None
    assert not any(device.present for device in table)
    assert "onnxruntime is not installed; .npz models run on NumPy" in repr(table)
    assert "pip install 'conduit-lab[cpu]'" in table.note
    assert "onnxruntime is not installed" in table._repr_mimebundle_()["text/html"]


def test_without_onnxruntime_a_provider_is_refused_with_the_extra(no_onnxruntime: None) -> None:
    for device in ("auto", "cpu", "abacus"):
        with pytest.raises(MissingExtra, match=r"conduit-lab\[cpu\]"):
            providers_for(device)


def installed(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


def test_double_install_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.0"})
    table = devices()
    assert table.note == (
        "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.0 are both installed and overwrite each other: "
        "uninstall all, then install one."
    )
    assert table.note in repr(table)
    assert "overwrite each other" in table._repr_mimebundle_()["text/html"]


def test_single_install_needs_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"onnxruntime-gpu": "1.32.0"})
    assert devices().note == ""


def test_auto_is_all_that_is_here_best_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cpu", "cuda", "tensorrt")
    assert providers_for("auto") == [PROVIDERS["tensorrt"], PROVIDERS["cuda"], PROVIDERS["cpu"]]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_named_device_has_the_cpu_behind_it(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    pretend(monkeypatch, "tensorrt", "cuda", "cpu")
    assert providers_for(device) == [PROVIDERS["cuda"], PROVIDERS["cpu"]]


def test_cpu_alone_is_named_once() -> None:
    assert providers_for("cpu") == ["CPUExecutionProvider"]


@pytest.mark.parametrize("device", ["abacus", "", "CPU", "auto:1", "CPUExecutionProvider"])
def test_unknown_device_is_refused_with_the_known_ones(device: str) -> None:
    with pytest.raises(DeviceError, match="wanted 'auto' or one of tensorrt, cuda"):
        providers_for(device)


def test_absent_device_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cpu")
    with pytest.raises(DeviceError, match=r"device 'cuda:0' cannot be had: onnxruntime 9\.9 as installed"):
        providers_for("cuda:0")


def test_name_of_is_the_inverse_of_the_table() -> None:
    assert {name_of(provider): provider for provider in PROVIDERS.values()} == PROVIDERS
    assert name_of("AzureExecutionProvider") == "AzureExecutionProvider"
