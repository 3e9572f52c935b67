"""Requests made from the OpenAPI document: schemathesis finds nothing wrong with their answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conduit_lab.serving.run.thread import Server
from tests.serving.faces.described_app import described_app


@pytest.mark.parametrize(
    "examples", [3, pytest.param(100, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_schemathesis_finds_nothing(tmp_path: Path, examples: int) -> None:
    app = described_app(tmp_path)
    with Server(app, port=0) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"{server.url}/openapi.json",
                *("--checks", "all", "--max-examples", str(examples), "--workers", "1"),
                *("--seed", "1", "--no-color", "--request-timeout", "20"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=900,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    operations = sum(len(each.methods) for each in app.endpoints)
    assert f"Tested: {operations}\n" in done.stdout, done.stdout[-2000:]
