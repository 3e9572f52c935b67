"""A virtual environment with exactly the requirements of an export."""

from __future__ import annotations

import os
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conduit_lab.core.errors import ExportError

_MAX_SHOWN_CHARACTERS = 1500


@contextmanager
def environment(folder: Path) -> Iterator[str]:
    """Create an environment with the folder's requirements, yield its Python, and remove it."""
    with tempfile.TemporaryDirectory(prefix="conduit-lab-") as place:
        yield str(make_environment(folder, Path(place, "environment")))


def make_environment(folder: Path, place: Path) -> Path:
    """Install the requirements of an exported folder in a new environment; return its Python.

    Raises `ExportError` with pip's own message if a package cannot be installed.
    """
    venv.create(place, with_pip=True, clear=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "--no-deps", "--requirement", "requirements.txt"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ExportError(
            "pip could not install the export's requirements in a new environment:\n"
            f"{done.stderr.strip()[-_MAX_SHOWN_CHARACTERS:]}\n"
            "Check the index that pip uses (python -m pip config list), or prove the export in "
            'this environment, with proof="process". Nothing was written'
        )
    return python
