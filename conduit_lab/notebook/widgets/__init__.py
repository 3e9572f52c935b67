"""Live views of running things, registered with IPython by type: no lower room knows of them."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def register() -> None:
    """Show a `Stream` that a cell ends with, or that is passed to `display`, as a live view.

    Does nothing outside a Jupyter kernel or without anywidget (the `[lab]` extra): the stream's own static repr is
    shown there. May be called any number of times.
    """
    ipython = sys.modules.get("IPython")  # a kernel has imported it; a script shall not pay for it
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None or find_spec("anywidget") is None:
        return
    from conduit_lab.notebook.widgets import cell

    cell.register(shell)
