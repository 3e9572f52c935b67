"""The session: its cells, and its names."""

from __future__ import annotations

import sys
from typing import Any

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import ViewPiece
from conduit_lab.export.cell_run import CellRun
from conduit_lab.notebook.cell_recorder import CellRecorder


def record_cells() -> None:
    """Record the cells of the session from now on; idempotent, a no-op outside of IPython."""
    shell = _shell()
    if shell is not None:
        CellRecorder.of(shell)


def add_opened(source: str) -> None:
    """Record the `app.py` of an opened export as a cell; a no-op outside of IPython."""
    shell = _shell()
    if shell is not None:
        CellRecorder.of(shell).add(source)


def cells() -> list[CellRun] | None:
    """Return the cells that ran, oldest first; None outside of IPython."""
    shell = _shell()
    return None if shell is None else CellRecorder.of(shell).cells


def namespace() -> dict[str, Any] | None:
    """Return the namespace that the cells share; None outside of IPython."""
    shell = _shell()
    return None if shell is None else shell.user_ns


def publish(piece: ViewPiece) -> None:
    """Show a piece in the output of the running cell; a no-op outside of IPython."""
    shell = _shell()
    if shell is not None:
        shell.display_pub.publish(html.bundle(piece.plain(), piece.html()))


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()
