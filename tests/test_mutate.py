"""`tests/mutate.py` makes small changes to running code, and its verdict is that of the tests."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.mutate import ROOT, mutants

SOURCE = '''
"""A docstring of 3 words."""
LIMIT: "1 + 1" = 20


def clip(text: str, most: int = LIMIT) -> str:
    if len(text) <= most and text:  # é
        return text
    return f"{text[:most]}…"
'''


def test_a_mutant_differs_in_one_place_of_running_code() -> None:
    changed = [mutant.source for mutant in mutants(SOURCE, "clip.py")]
    lines = [
        next(new.strip() for old, new in pairs if old != new)
        for pairs in (
            list(zip(SOURCE.splitlines(), source.splitlines(), strict=True)) for source in changed
        )
    ]
    assert lines == [
        'LIMIT: "1 + 1" = 21',
        "if (not (len(text) <= most and text)):  # é",
        "if (len(text) <= most or text):  # é",
        "if (len(text) < most) and text:  # é",
        "return None",
        "return None",
    ]
    assert all(ast.parse(source) for source in changed)


def test_a_mutant_that_no_test_notices_survives(tmp_path: Path) -> None:
    module = "conduit_lab/core/text.py"
    command = [sys.executable, str(ROOT / "tests" / "mutate.py"), module, "--count", "1"]
    (tmp_path / "test_nothing.py").write_text("def test_nothing() -> None: ...\n")
    (tmp_path / "test_source.py").write_text(
        "from conduit_lab.core import text\n"
        "from pathlib import Path\n"
        f"def test_source() -> None:\n"
        f"    assert Path(text.__file__).read_text() == Path({str(ROOT / module)!r}).read_text()\n"
    )
    survived = subprocess.run([*command, str(tmp_path / "test_nothing.py")], capture_output=True)
    killed = subprocess.run([*command, str(tmp_path / "test_source.py")], capture_output=True)
    assert (survived.returncode, killed.returncode) == (1, 0), survived.stderr + killed.stderr
    assert b"+++ conduit_lab/core/text.py" in survived.stdout
    assert b"1 of 1 mutants killed" in killed.stdout
