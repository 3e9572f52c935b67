"""The code of docs/export.md runs in a notebook, and gives the results in its comments."""

from __future__ import annotations

import re
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.shell import real_shell

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
SHOWN = re.compile(r"^(\S.*?)  # ([\"{].*)$", re.MULTILINE)


def test_the_code_runs_and_gives_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()  # marks the root of a project
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    shown = 0
    with real_shell(tmp_path / "ipython") as shell:
        for block in blocks:
            with redirect_stdout(StringIO()):
                shell.ipython.run_cell(block, store_history=True).raise_error()
            for expression, value in SHOWN.findall(block):
                assert eval(expression, shell.names) == eval(value), expression
                shown += 1
        names: dict[str, Any] = dict(shell.names)
    assert shown == 3
    assert names["export"].proof.startswith("A fresh process gives the same answer to 1 of 1 call.")
    before = (tmp_path / "shop/app.py").read_text()
    assert "RATE = 2  # euros per piece\n" in before
    assert "/now" not in before
    after = (tmp_path / "shop-3/app.py").read_text()
    assert after == before.replace("RATE = 2  # euros per piece", "RATE = 3")
