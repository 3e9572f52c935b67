"""Fallback: the CPU replaces a failing device, and every change is reported."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.errors import DeviceError, ModelInputError, ModelLoadError, ModelRunError
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.runtime.sessions.cache import SessionCache
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import fake_device, graphs
from tests.runtime.fake_device import FakeDevice

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    return fake_device.plug_in(monkeypatch)


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "linear.onnx", WEIGHT)


def rows(count: int) -> dict[str, np.ndarray]:
    return {"input": np.ones((count, 3), np.float32)}


def test_a_batch_too_large_for_the_device_runs_on_the_cpu_and_the_next_call_on_the_device(
    gpu: FakeDevice, linear: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.max_rows = 10
    session = Session(linear)
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        for _ in range(2):
            np.testing.assert_array_equal(session.run(rows(50))[0], np.ones((50, 3)) @ WEIGHT)
            session.run(rows(1))
    assert (session.device, session.fallbacks, gpu.runs) == ("cuda", 2, 4)
    assert session.note.startswith("cuda failed: it requested")
    (warning,) = caplog.records  # once
    assert warning.message.startswith(f"{linear} was run on the CPU: cuda failed: it requested ")


def test_a_session_leaves_a_lost_device_after_three_failures(
    gpu: FakeDevice, linear: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(linear)
    gpu.lost = True
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        for _ in range(5):
            np.testing.assert_array_equal(session.run(rows(1))[0], np.ones((1, 3)) @ WEIGHT)
    assert (session.device, gpu.runs) == ("cpu", 3)
    assert "stays on the CPU: cuda failed 3 times in a row" in caplog.text


def test_a_successful_run_resets_the_count_of_failures(gpu: FakeDevice, linear: Path) -> None:
    session = Session(linear)
    for lost in (True, True, False, True, True):
        gpu.lost = lost
        session.run(rows(1))
    assert (session.device, session.fallbacks) == ("cuda", 4)


def test_a_successful_run_on_bound_memory_resets_the_count_of_failures(
    gpu: FakeDevice, linear: Path
) -> None:
    session = Session(linear)
    for lost in (True, True, False, True, True):
        gpu.lost = lost
        if lost:
            session.run(rows(1))
        else:
            session.run_bound(rows(1), keep=False)
    assert (session.device, session.fallbacks) == ("cuda", 4)


@pytest.mark.parametrize(("keep", "place"), [(True, ("cuda", 1)), (False, ("cpu", 0))])
def test_kept_outputs_are_bound_on_their_own_device(
    gpu: FakeDevice,
    linear: Path,
    keep: bool,
    place: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = Session(linear, Options("cuda:1", fallback=True))
    bound = []

    class Binding:
        def bind_cpu_input(self, name: str, value: object) -> None:
            pass

        def bind_output(self, name: str, memory: str, number: int) -> None:
            bound.append((memory, number))

        def get_outputs(self) -> list[object]:
            return []

    monkeypatch.setattr(session._session, "io_binding", Binding)
    monkeypatch.setattr(session._session, "run_with_iobinding", lambda binding: None)
    session.run_bound(rows(1), keep)
    assert bound == [place]


def test_a_requested_device_has_no_fallback(gpu: FakeDevice, linear: Path) -> None:
    session = Session(linear, Options("cuda"))
    gpu.max_rows = 10
    with pytest.raises(ModelRunError, match=r"linear\.onnx failed on cuda: it requested"):
        session.run(rows(50))
    gpu.lost, gpu.max_rows = True, None
    with pytest.raises(ModelRunError, match="CUDA failure 999"):
        session.run(rows(1))
    gpu.lost = False
    assert session.run(rows(1))[0].shape == (1, 2)


def test_a_requested_device_may_have_a_fallback(gpu: FakeDevice, linear: Path) -> None:
    session = Session(linear, Options("cuda:1", fallback=True))
    gpu.lost = True
    assert session.run(rows(2))[0].shape == (2, 2)
    assert session.fallbacks == 1


def test_bad_input_is_not_a_device_failure(gpu: FakeDevice, linear: Path) -> None:
    session = Session(linear)
    with pytest.raises(ModelInputError):
        session.run({"input": np.ones((1, 4), np.float32)})
    assert session.fallbacks == 0


@pytest.mark.parametrize("silent", [True, False])
def test_a_device_that_cannot_load_the_model(
    gpu: FakeDevice, linear: Path, silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if silent:
        gpu.loads = False
    else:
        gpu.refuses = "no kernel image is available"
    with caplog.at_level(logging.WARNING, "conduit_lab"):
        session = Session(linear)
    assert session.device == "cpu"
    assert session.note
    assert len(caplog.records) == 1
    with pytest.raises(DeviceError if silent else ModelLoadError):
        Session(linear, Options("cuda"))
    assert Session(linear, Options("cuda", fallback=True)).device == "cpu"


def test_a_fallback_is_in_the_trace(gpu: FakeDevice, linear: Path) -> None:
    shared = SessionCache().open(linear)
    gpu.max_rows = 10
    with recorder.record("call") as spans, recorder.span("linear", "predict"):
        shared.run(rows(50), 50)
    assert remarks(spans["linear"].attributes).startswith("cpu: cuda failed: it requested")
    with recorder.record("call") as spans, recorder.span("linear", "predict"):
        shared.run(rows(1))
    assert remarks(spans["linear"].attributes) == ""
    assert "1 on the CPU instead" in shared.statistics()


def test_a_recorded_run_on_the_device_reports_no_earlier_fallback(
    gpu: FakeDevice, linear: Path
) -> None:
    shared = SessionCache().open(linear)
    gpu.lost = True
    shared.run(rows(1))
    gpu.lost = False
    with recorder.record("call") as spans, recorder.span("linear", "predict"), shared.recorded():
        shared.run(rows(1))
    assert spans["linear"].attributes == {}


def test_a_model_loaded_on_the_cpu_instead_is_in_each_trace(gpu: FakeDevice, linear: Path) -> None:
    gpu.loads = False
    shared = SessionCache().open(linear)
    with recorder.record("call") as spans, recorder.span("linear", "predict"):
        shared.run(rows(1))
    assert remarks(spans["linear"].attributes).startswith("cpu: ")
