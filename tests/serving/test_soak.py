"""A minute of mixed load with faults: every answer right, and nothing grows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors")
def test_an_app_under_load_with_faults_stays_flat() -> None:
    command = [sys.executable, str(SOAK), "--seconds", "75"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong answers: 0, clients that hang: 0" in done.stdout
