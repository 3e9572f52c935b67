"""Users' type checkers accept correct calls of the public API and refuse wrong ones.

mypy and pyright, both strict, must report each line of `typing_tests/` that ends in `# error`, and
no other line.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.lint

ROOT = Path(__file__).parents[1]
CASES = ROOT / "typing_tests"


def _mypy() -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context"]
    printed = _run([*command, "typing_tests"])
    for match in re.finditer(r"^typing_tests/(\w+\.py):(\d+): error:", printed, re.MULTILINE):
        yield match[1], int(match[2])


def _pyright() -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    report = json.loads(_run([*command, "--project", str(CASES / "pyrightconfig.json")]))
    for found in report["generalDiagnostics"]:
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["range"]["start"]["line"] + 1


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def reported() -> dict[str, set[tuple[str, int]]]:
    """The lines that each checker reports."""
    with ThreadPoolExecutor() as pool:
        mypy, pyright = pool.submit(lambda: set(_mypy())), pool.submit(lambda: set(_pyright()))
        return {"mypy": mypy.result(), "pyright": pyright.result()}


@pytest.mark.parametrize("path", sorted(CASES.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_checkers_report_the_wrong_lines_alone(
    path: Path, reported: dict[str, set[tuple[str, int]]]
) -> None:
    lines = path.read_text("utf-8").splitlines()
    wrong = {
        f"{line}  <- {checker}"
        for checker, found in reported.items()
        for i, line in enumerate(map(str.strip, lines), 1)
        if line.endswith("# error") != ((path.name, i) in found)
    }
    assert not wrong, "\n".join(sorted(wrong))
