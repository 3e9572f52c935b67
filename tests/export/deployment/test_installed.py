"""An export in an environment of its own requirements: installed without others, and small."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from conduit_lab.export.replay import replay
from tests.export.session import Session

pytestmark = pytest.mark.long

PLAIN_BYTES = 110e6


def test_an_app_of_plain_functions_runs_with_its_own_requirements(
    session: Session, tmp_path: Path
) -> None:
    session.run("@lab.post('/a')\ndef a(n: int):\n    return n + 1", "a(1)")
    folder = session.export().folder
    python = _installed(folder, tmp_path / "env")
    assert [o.problem for o in replay(folder, python=str(python))] == [None]
    assert _installed_bytes(python) < PLAIN_BYTES


def _installed(folder: Path, place: Path) -> Path:
    """Return the Python of a new environment with the export's requirements."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--requirement", "requirements.txt"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install here: {done.stderr[-300:]}")
    return python


def _installed_bytes(python: Path) -> int:
    """Return the bytes of the packages beside pip and its compiled files."""
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    return sum(
        path.stat().st_size
        for path in packages.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and path.relative_to(packages).parts[0].partition("-")[0] not in ("pip", "setuptools")
    )
