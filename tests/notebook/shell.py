"""A shell of IPython in this process, which runs cells as a notebook does."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class RealShell:
    """Runs cells; their output is dropped, and an error in one does not end the test."""

    def __init__(self, folder: Path) -> None:
        with patch.dict("os.environ", {"IPYTHONDIR": str(folder)}):
            self.ipython = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))

    @property
    def names(self) -> dict[str, Any]:
        """The names that the cells share."""
        names: dict[str, Any] = self.ipython.user_ns
        return names

    def run(self, *cells: str, cell_id: str | None = None) -> None:
        """Run cells, one after the other."""
        for cell in cells:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                self.ipython.run_cell(cell, store_history=True, cell_id=cell_id)

    def close(self) -> None:
        """End what the shell started."""
        atexit.unregister(self.ipython.atexit_operations)
        self.ipython.atexit_operations()


@contextmanager
def real_shell(folder: Path) -> Iterator[RealShell]:
    """Yield a shell that `get_ipython()` returns meanwhile."""
    shell = RealShell(folder)
    try:
        with patch("IPython.get_ipython", lambda: shell.ipython):
            yield shell
    finally:
        shell.close()
