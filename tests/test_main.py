"""`python -m conduit_lab` is the command."""

from __future__ import annotations

import subprocess
import sys


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "conduit_lab", "serve", "nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "no app.py in nowhere" in ended.stderr
