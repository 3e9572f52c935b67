"""An export in an environment with only its own requirements, which stays small."""

from __future__ import annotations

import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from conduit_lab.core.errors import ExportError
from conduit_lab.export.lock import lock_folder
from conduit_lab.export.replay import replay
from tests.export.session import Session

pytestmark = pytest.mark.long

PLAIN_BYTES = 110e6
CELLS = "@lab.post('/a')\ndef a(n: int):\n    return n + 1", "a(1)"


def test_an_app_of_plain_functions_runs_with_its_own_requirements(
    session: Session, tmp_path: Path
) -> None:
    folder = session.run(*CELLS).export().folder
    python = _installed(folder, tmp_path / "env")
    assert [o.problem for o in replay(folder, python=str(python))] == [None]
    assert _installed_bytes(python) < PLAIN_BYTES


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_locked_app_is_installed_from_its_hashes_alone(
    tool: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "pip":
        monkeypatch.setattr("shutil.which", lambda _: None)
    elif shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH")
    folder = session.run(*CELLS).export().folder
    needed = folder / "requirements.txt"
    with needed.open("a") as file:
        file.write("colorama==0.4.6; sys_platform == 'win32'\n")
    try:
        report = lock_folder(folder)
    except ExportError as error:
        pytest.skip(f"{tool} reaches no index here: {str(error)[-300:]}")
    assert ("colorama (other platforms only)" in report) is (tool == "pip")
    python = _environment(tmp_path / "env")
    done = _install(folder, python, "--require-hashes")
    assert not done.returncode, done.stderr
    assert [o.problem for o in replay(folder, python=str(python))] == [None]

    wrong = needed.read_text("utf-8").replace("--hash=sha256:", "--hash=sha256:0000")
    needed.write_text(re.sub(r"(sha256:.{64})\w*", r"\1", wrong), "utf-8")
    refused = _install(folder, python, "--require-hashes", "--force-reinstall")
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def _environment(place: Path) -> Path:
    venv.create(place, with_pip=True)
    return place / "bin" / "python"


def _installed(folder: Path, place: Path) -> Path:
    """Return the Python of a new environment with the export's requirements."""
    python = _environment(place)
    done = _install(folder, python)
    if done.returncode:
        pytest.skip(f"pip cannot install here: {done.stderr[-300:]}")
    return python


def _install(folder: Path, python: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    chosen = ["--no-deps", "--requirement", "requirements.txt", *options]
    return subprocess.run([*command, *chosen], cwd=folder, capture_output=True, text=True)


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
