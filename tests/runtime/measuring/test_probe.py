"""The accelerator check, with a fake device that works, miscomputes, breaks or never overflows."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest

from conduit_lab.core.errors import MissingExtra
from conduit_lab.runtime.hardware import devices as room
from conduit_lab.runtime.hardware import machine
from conduit_lab.runtime.hardware.devices import Device
from conduit_lab.runtime.measuring import probe, samples
from conduit_lab.runtime.measuring.probe import check_accelerators
from conduit_lab.runtime.measuring.report import AcceleratorReport
from tests.runtime import fake_device
from tests.runtime.fake_device import FakeDevice


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_OVERFLOW_ROWS", 4_096)
    monkeypatch.setattr(probe, "_MEMORY_LIMIT_BYTES", 2**24)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    return fake_device.plug_in(monkeypatch)


def small() -> AcceleratorReport:
    return check_accelerators(batches=(1, 2), seconds=0.0)


# A machine without an accelerator


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every device but the CPU."""
    monkeypatch.setattr(
        room.onnxruntime(), "get_available_providers", lambda: [room.PROVIDERS["cpu"]]
    )


def test_without_an_accelerator_the_report_says_so_and_times_the_cpu(alone: None) -> None:
    report = small()
    assert report.good
    assert report.checked == []
    assert repr(report).endswith("No accelerator here: none was checked.")
    assert [(speed.model, speed.batch) for speed in report.cpu] == [
        (n, b) for n in samples.NETWORKS for b in (1, 2)
    ]
    assert all(speed.cpu > 0 and speed.device is None for speed in report.cpu)
    assert "speed-up" not in repr(report)


def test_report_names_the_date_the_machine_and_the_versions(alone: None) -> None:
    text = repr(small())
    assert re.search(rf"^date +{datetime.now(UTC):%Y}-\d\d-\d\d$", text, re.MULTILINE)
    assert machine.processor() in text
    assert f"onnxruntime {room.onnxruntime().__version__}" in text


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    room.onnxruntime.cache_clear()
    with pytest.raises(MissingExtra, match=r"conduit-lab\[cpu\]"):
        small()
    room.onnxruntime.cache_clear()


# An accelerator that works


def test_good_device_passes(cuda: FakeDevice) -> None:
    report = small()
    assert report.good
    (checked,) = report.checked
    assert checked.problems == []
    assert [(n.model, n.difference) for n in checked.agreements] == [
        (name, 0.0) for name in samples.NETWORKS
    ]
    assert [n.nodes for n in checked.agreements] == [(5, 5), (7, 7), (18, 18)]
    assert repr(report).endswith("cuda: everything holds.")
    assert "cuda · Fake GPU 0, 80.0 GB" in repr(report)


def test_report_has_a_static_html_form(cuda: FakeDevice) -> None:
    report = small()
    bundle = report._repr_mimebundle_()
    assert bundle["text/plain"] == repr(report)
    for words in ("Fake GPU 0, 80.0 GB", "speed-up", "cuda: everything holds."):
        assert words in bundle["text/html"]


def test_speed_up_is_reported_per_network_and_batch(cuda: FakeDevice) -> None:
    (checked,) = small().checked
    assert [(s.model, s.batch) for s in checked.speeds] == [
        (n, b) for n in samples.NETWORKS for b in (1, 2)
    ]
    for speed in checked.speeds:
        assert speed.device is not None
        assert f"× {speed.cpu / speed.device:.2f}" in checked.view().plain()


def test_networks_run_on_the_device_and_not_on_its_fallback(cuda: FakeDevice) -> None:
    small()
    networks = len(samples.NETWORKS)
    # for the numbers, the nodes and the times; one more overflows
    assert len(cuda.opened) == 3 * networks + 1
    assert cuda.failures == 1


def test_memory_overflow_is_forced_and_the_device_runs_again(cuda: FakeDevice) -> None:
    (checked,) = small().checked
    assert [options for options in cuda.opened if options] == [{"gpu_mem_limit": str(2**24)}]
    assert checked.memory.startswith("a run of 64.0 MB in 16.0 MB went to the CPU (cuda failed: ")
    assert checked.memory.endswith("), the next to cuda again")


def test_forced_fallback_is_in_the_report_and_not_in_the_log(
    cuda: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    small()
    assert caplog.records == []
    assert not logging.getLogger("conduit_lab").disabled


def test_device_without_a_memory_limit_is_reported_as_not_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = fake_device.plug_in(monkeypatch, "coreml")
    report = small()
    assert report.good
    assert "memory: not filled: coreml takes no limit" in repr(report)
    assert fake.failures == 0


# An accelerator that fails


def failed(report: AcceleratorReport) -> str:
    """Return the lines of the report with problems."""
    assert not report.good
    assert "everything holds" not in repr(report)
    lines = [line for line in repr(report).splitlines() if line.startswith("✕ ")]
    assert lines
    return "\n".join(lines)


@pytest.mark.parametrize("factor", [1.1, 0.0, -1.0, float("nan")])
def test_device_that_computes_wrongly_is_caught(cuda: FakeDevice, factor: float) -> None:
    cuda.factor = factor
    report = small()
    assert "cuda computes different numbers from the CPU: dense, convolution, attention" in failed(
        report
    )


def test_small_difference_is_within_the_tolerance_and_reported(cuda: FakeDevice) -> None:
    cuda.factor = 1.001
    report = small()
    assert report.good
    assert "1.0e-03" in repr(report)


def test_device_that_fails_at_every_run_is_caught(cuda: FakeDevice) -> None:
    cuda.lost = True
    assert "CUDA failure 999" in failed(small())


def test_device_that_does_not_load_is_caught(cuda: FakeDevice) -> None:
    cuda.loads = False
    assert "would run on cpu" in failed(small())


def test_device_that_refuses_the_session_is_caught(cuda: FakeDevice) -> None:
    cuda.refuses = "the GPU is not supported"
    assert "the GPU is not supported" in failed(small())


def test_device_that_runs_no_node_proves_nothing(cuda: FakeDevice) -> None:
    cuda.takes = False
    report = small()
    assert "cuda ran no node of any network" in failed(report)
    assert report.checked[0].speeds == []


def test_network_that_the_device_leaves_to_the_cpu_is_named(
    cuda: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = probe._nodes

    def nodes(device: Device, path: Path) -> tuple[int, int] | None:
        return (0, 7) if path.stem == "convolution" else real(device, path)

    monkeypatch.setattr(probe, "_nodes", nodes)
    report = small()
    assert report.good
    assert repr(report).endswith("cuda: everything holds; it left convolution to the CPU.")
    assert {speed.model for speed in report.checked[0].speeds} == {"dense", "attention"}


def test_limit_without_effect_is_no_proof(
    cuda: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_MEMORY_LIMIT_BYTES", 2**40)
    assert "did not fill the memory" in failed(small())


def test_device_that_stays_away_after_a_full_memory_is_caught(
    cuda: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cuda.failure

    def failure(feeds: dict[str, np.ndarray], options: dict[str, str]) -> Exception | None:
        cuda.lost = cuda.lost or cuda.failures > 0
        return real(feeds, options)

    monkeypatch.setattr(cuda, "failure", failure)
    assert (
        "and so did the next one (cuda failed: [ONNXRuntimeError] : 1 : FAIL : CUDA failure 999"
        in failed(small())
    )


# The networks


def test_networks_are_valid_and_always_the_same(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    once, again = samples.save_all(tmp_path), samples.save_all(tmp_path / "again")
    for name, path in once.items():
        onnx.checker.check_model(str(path), full_check=True)
        assert path.read_bytes() == again[name].read_bytes()


def test_networks_answer_differently_for_each_row(tmp_path: Path) -> None:
    paths = samples.save_all(tmp_path)
    for name, path in paths.items():
        output = probe._open(path, "cpu").run({"input": samples.sample(name, 3)})[0]
        assert output.shape[0] == 3
        assert np.isfinite(output).all()
        assert 0.1 < output.std() < 10
        assert np.abs(output[0] - output[1]).max() > 0.01


def test_check_leaves_no_file_behind(tmp_path: Path) -> None:
    code = """
        import json, os, tempfile
        from conduit_lab.runtime.measuring import probe
        probe.check_accelerators(batches=(1,), seconds=0.0)
        print(json.dumps(os.listdir(tempfile.gettempdir())))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
