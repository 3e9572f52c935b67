"""The session: the source of its cells, and its names."""

from __future__ import annotations

import sys
from typing import Any

from conduit_lab.core.views import html
from conduit_lab.core.views.pieces import ViewPiece


def cells() -> list[str] | None:
    """Return the cells that were run, oldest first, magics as calls; None outside of IPython."""
    shell = _shell()
    return None if shell is None else list(shell.history_manager.input_hist_parsed)


def namespace() -> dict[str, Any] | None:
    """Return the names that the cells share; None outside of IPython."""
    shell = _shell()
    return None if shell is None else shell.user_ns


def publish(piece: ViewPiece) -> None:
    """Show a piece in the output of the cell that runs; does nothing outside of IPython."""
    shell = _shell()
    if shell is not None:
        shell.display_pub.publish(html.bundle(piece.plain(), piece.html()))


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()
