"""A shell of IPython for tests of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.shell import RealShell, real_shell


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShell]:
    """A shell that `get_ipython()` returns during the test."""
    folder: Path = tmp_path_factory.mktemp("ipython")
    with real_shell(folder) as shell:
        yield shell
