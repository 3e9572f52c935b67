"""The source of what was run in this session."""

from __future__ import annotations

import sys


def cells() -> list[str] | None:
    """Return the cells that were run, oldest first, with magics turned into calls; None outside of IPython."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell = get_ipython()
    return None if shell is None else list(shell.history_manager.input_hist_parsed)
