"""TuningSearch: the settings to try on this machine's devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conduit_lab.models.measure import tuning_search as search
from conduit_lab.runtime.hardware import devices
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs


def test_another_device_is_tried_only_for_auto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_other_devices", lambda used: ["cuda"] if used == "cpu" else [])
    path = graphs.linear(tmp_path / "m.onnx", np.eye(2))
    default = Session(path, Options("cpu"))
    assert next(search._settings(Options(), default)) == (
        "device cuda",
        {"device": "cuda", "fallback": False},
    )
    assert "device" not in next(search._settings(Options("cpu"), default))[1]


def test_present_devices_are_tried_but_not_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [
        devices.Device(name, "", present, "")
        for name, present in {"tensorrt": True, "cuda": True, "rocm": False, "cpu": True}.items()
    ]
    monkeypatch.setattr(devices, "devices", lambda: table)
    assert search._other_devices("cpu") == ["cuda"]
