"""The session: the source of its cells, and its names."""

from __future__ import annotations

import sys
from typing import Any


def cells() -> list[str] | None:
    """Return the cells that were run, oldest first, magics as calls; None outside of IPython."""
    shell = _shell()
    return None if shell is None else list(shell.history_manager.input_hist_parsed)


def namespace() -> dict[str, Any] | None:
    """Return the names that the cells share; None outside of IPython."""
    shell = _shell()
    return None if shell is None else shell.user_ns


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()
