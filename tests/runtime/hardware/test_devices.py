from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata

import pytest

from conduit_lab.core.errors import DeviceError, MissingExtra
from conduit_lab.runtime.hardware import devices as room
from conduit_lab.runtime.hardware import machine
from conduit_lab.runtime.hardware.devices import (
    PROVIDERS,
    devices,
    memory_limit,
    name_of,
    providers_for,
    why_not,
)
from tests.runtime import fake_device


@pytest.fixture
def no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    room.onnxruntime.cache_clear()
    yield
    room.onnxruntime.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, *names: str, gpus: int = 2) -> None:
    """Make onnxruntime list the providers of `names`, with their hardware."""
    fake_device.plug_in(monkeypatch)
    there = tuple(machine.Gpu(f"Fake GPU {n}", 80 * 2**30, "550.54") for n in range(gpus))
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: there)
    available = [PROVIDERS.get(name, name) for name in names]
    monkeypatch.setattr(room.onnxruntime(), "get_available_providers", lambda: available)


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
    _, *rows, last = repr(table).splitlines()
    here = [line.split()[:2] for line in rows if " not here " not in line]
    assert here == [["cuda", "used"], ["cpu", "present"]]
    assert last.startswith("not here: ")
    assert "coreml" in last and "cuda" not in last


def test_absent_devices_are_one_line_that_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cpu")
    html = devices()._repr_mimebundle_()["text/html"]
    assert html.index("cpu") < html.index("<details") < html.index("onnxruntime-gpu")


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
        "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.0 are both installed and overwrite each "
        "other: uninstall all, then install one."
    )
    assert table.note in repr(table)
    assert "overwrite each other" in table._repr_mimebundle_()["text/html"]


def test_single_install_needs_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"onnxruntime-gpu": "1.32.0"})
    assert devices().note == ""


def test_choosing_a_device_reads_no_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise AssertionError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert providers_for("cpu") == [PROVIDERS["cpu"]]
    assert room.why_not("cpu", "cpu") == ""


def test_auto_is_the_best_present_device_and_its_fallbacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "cpu", "cuda", "tensorrt", "openvino")
    assert providers_for("auto") == [PROVIDERS["tensorrt"], PROVIDERS["cuda"], PROVIDERS["cpu"]]


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name not in ("tensorrt", "cpu")])
def test_named_device_falls_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch, "tensorrt", name, "cpu")
    assert providers_for(name) == [PROVIDERS[name], PROVIDERS["cpu"]]


@pytest.mark.parametrize(
    ("processor", "chosen"), [("Intel(R) Xeon(R), 8 cores", "openvino"), ("AMD EPYC", "cpu")]
)
def test_auto_chooses_openvino_only_on_intel(
    monkeypatch: pytest.MonkeyPatch, processor: str, chosen: str
) -> None:
    pretend(monkeypatch, "openvino", "cpu")
    monkeypatch.setattr(machine, "processor", lambda: processor)
    assert name_of(providers_for("auto")[0]) == chosen
    assert providers_for("openvino") == [PROVIDERS["openvino"], PROVIDERS["cpu"]]
    assert why_not("auto", chosen) == ""


def test_cpu_alone_is_named_once() -> None:
    assert providers_for("cpu") == ["CPUExecutionProvider"]


def test_device_number_becomes_a_provider_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tensorrt", "cuda", "cpu")
    cuda = (PROVIDERS["cuda"], {"device_id": "1"})
    assert providers_for("cuda:1") == [cuda, PROVIDERS["cpu"]]
    assert providers_for("tensorrt:1") == [
        (PROVIDERS["tensorrt"], {"device_id": "1"}),
        cuda,
        PROVIDERS["cpu"],
    ]


@pytest.mark.parametrize(("gpus", "last"), [(1, "cuda:0"), (2, "cuda:1")])
def test_missing_gpu_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: int, last: str
) -> None:
    pretend(monkeypatch, "cuda", "cpu", gpus=gpus)
    with pytest.raises(
        DeviceError,
        match=f"device 'cuda:{gpus}' is unavailable: the last NVIDIA GPU here is '{last}'",
    ):
        providers_for(f"cuda:{gpus}")
    assert providers_for(f"cuda:{gpus}", fallback=True) == [PROVIDERS["cpu"]]
    assert why_not(f"cuda:{gpus}", "cpu") == f"cuda:{gpus}: the last NVIDIA GPU here is '{last}'"


def test_number_is_left_to_onnxruntime_where_the_gpus_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "cuda", "cpu")
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: None)
    assert providers_for("cuda:7")[0] == (PROVIDERS["cuda"], {"device_id": "7"})
    assert "unknown without nvidia-smi" in repr(devices())


@pytest.mark.parametrize(
    "device", ["cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "cuda:1:2", "cuda: 1", "cuda:²", "cuda:١"]
)
def test_malformed_device_number_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    pretend(monkeypatch, "cuda", "cpu")
    for fallback in (None, True):
        with pytest.raises(DeviceError, match="expected a number, such as 'cuda:0'"):
            providers_for(device, fallback)


def test_device_without_numbers_rejects_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "coreml", "openvino", "cpu")
    with pytest.raises(DeviceError, match="'coreml:0' is unknown: expected 'coreml' alone"):
        providers_for("coreml:0")
    with pytest.raises(
        DeviceError, match="expected 'openvino:cpu', 'openvino:gpu' or 'openvino:npu'"
    ):
        providers_for("openvino:0")


def test_openvino_takes_the_kind_of_intel_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "openvino", "cpu")
    assert providers_for("openvino:gpu")[0] == (PROVIDERS["openvino"], {"device_type": "GPU"})


@pytest.mark.parametrize(
    "device", ["abacus", "", "CPU", "Cuda", "auto:1", "CPUExecutionProvider", ":1", "cuda "]
)
def test_unknown_device_is_refused_with_the_known_ones(device: str) -> None:
    for fallback in (None, True):
        with pytest.raises(DeviceError, match="expected 'auto' or one of tensorrt, cuda"):
            providers_for(device, fallback)


def test_absent_device_is_refused_with_the_reason_and_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "cpu")
    with pytest.raises(
        DeviceError,
        match=r"device 'cuda:0' is unavailable: .* it comes with onnxruntime-gpu; use dev",
    ):
        providers_for("cuda:0")


def test_absent_device_is_skipped_with_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cpu")
    assert providers_for("cuda", fallback=True) == [PROVIDERS["cpu"]]
    assert "it comes with onnxruntime-gpu" in why_not("cuda", "cpu")


def test_memory_limit_applies_only_inside_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tensorrt", "cuda", "cpu")
    with memory_limit(2**20):
        assert providers_for("cuda:1")[0] == (
            PROVIDERS["cuda"],
            {"device_id": "1", "gpu_mem_limit": "1048576"},
        )
        assert providers_for("tensorrt")[0] == PROVIDERS["tensorrt"]
        assert providers_for("cpu") == [PROVIDERS["cpu"]]
    assert providers_for("cuda")[0] == PROVIDERS["cuda"]


def test_name_of_is_the_inverse_of_the_table() -> None:
    assert {name_of(provider): provider for provider in PROVIDERS.values()} == PROVIDERS
    assert name_of((PROVIDERS["cuda"], {"device_id": "1"})) == "cuda"
    assert name_of("QNNExecutionProvider") == "qnn"


# Missing hardware and libraries


@pytest.fixture
def driverless(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-gpu on a machine without a driver."""
    ort = room.onnxruntime()
    names = [PROVIDERS["tensorrt"], PROVIDERS["cuda"], PROVIDERS["cpu"]]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)
    monkeypatch.setattr(machine, "cuda_problem", lambda _: "there is no NVIDIA driver here")


def test_provider_without_its_driver_is_not_present(driverless: None) -> None:
    table = devices()
    assert table.chosen is not None
    assert table.chosen.name == "cpu"
    cuda = next(row for row in table if row.name == "cuda")
    assert cuda.installed
    assert not cuda.present
    assert "has it, but there is no NVIDIA driver here" in cuda.reason


def test_auto_without_the_driver_is_the_cpu_with_a_reason(driverless: None) -> None:
    assert providers_for("auto") == [PROVIDERS["cpu"]]
    assert why_not("auto", "cpu").startswith("cuda: onnxruntime ")
    assert why_not("auto", "cpu").endswith("there is no NVIDIA driver here")


def test_asking_for_a_device_without_its_driver_is_refused(driverless: None) -> None:
    with pytest.raises(
        DeviceError, match=r"device 'cuda' is unavailable: .* there is no NVIDIA driver here; use"
    ):
        providers_for("cuda")


def test_cuda_is_chosen_where_tensorrt_is_built_in_and_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "tensorrt", "cuda", "cpu")
    monkeypatch.setattr(machine, "tensorrt_problem", lambda _: "TensorRT is not installed here")
    assert providers_for("auto") == [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    assert why_not("auto", "cuda") == ""


def test_rocm_without_a_driver_is_not_present(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [PROVIDERS["rocm"], PROVIDERS["cpu"]]
    monkeypatch.setattr(room.onnxruntime(), "get_available_providers", lambda: names)
    monkeypatch.setattr(machine, "amd_problem", lambda: "there is no AMD GPU driver here")
    assert "there is no AMD GPU driver here" in why_not("auto", "cpu")


def test_gpus_are_named_with_memory_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cuda", "cpu")
    assert "Fake GPU 0, 80.0 GB · Fake GPU 1, 80.0 GB · driver 550.54; onnxruntime" in repr(
        devices()
    )


# The reason for a session on another device


def test_session_on_its_requested_device_has_no_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert why_not("auto", "cpu") == ""
    assert why_not("cpu", "cpu") == ""
    pretend(monkeypatch, "cuda", "cpu")
    assert why_not("auto", "cuda") == ""
    assert why_not("cuda:1", "cuda") == ""


def test_present_device_that_did_not_load_the_model_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "tensorrt", "cuda", "cpu")
    assert why_not("auto", "cuda") == "tensorrt did not load this model"
    assert why_not("cuda:0", "cpu") == "cuda did not load this model"


# Unknown providers


def test_unknown_provider_is_listed_and_used_only_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, "FancyExecutionProvider", "cpu")
    row = devices()[-1]
    assert (row.name, row.present, row.automatic) == ("fancy", True, False)
    assert row.installed
    assert "device='fancy'" in row.reason
    assert providers_for("auto") == [PROVIDERS["cpu"]]
    assert providers_for("fancy") == ["FancyExecutionProvider", PROVIDERS["cpu"]]


def test_azure_is_a_service_and_no_device() -> None:
    assert "AzureExecutionProvider" in room.onnxruntime().get_available_providers()
    assert "azure" not in repr(devices()).lower()
