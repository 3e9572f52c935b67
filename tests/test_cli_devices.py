"""`conduit-lab devices` and its `--check`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conduit_lab import devices
from conduit_lab.cli import main
from conduit_lab.runtime.measuring import probe
from tests.runtime import fake_device


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_OVERFLOW_ROWS", 4_096)
    monkeypatch.setattr(probe, "_MEMORY_LIMIT_BYTES", 2**24)
    monkeypatch.setattr(probe.check_accelerators, "__defaults__", ((1,), 0.0))


def test_devices_prints_the_table_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{devices()}\n"
    assert printed.err == ""


def test_check_that_passes_exits_with_0(
    quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_device.plug_in(monkeypatch)
    assert main(["devices", "--check"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(repr(devices()))
    assert printed.endswith("\ncuda: everything holds.\n")


def test_check_that_fails_exits_with_1(
    quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_device.plug_in(monkeypatch).factor = 1.1
    assert main(["devices", "--check"]) == 1
    assert "✕ " in capsys.readouterr().out


def test_command_runs_in_a_process_of_its_own() -> None:
    code = "import sys; from conduit_lab.cli import main; sys.exit(main(['devices']))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("device ")
    assert answer.stderr == ""
