"""Views of things, registered with IPython by type: no lower room knows of them."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def register() -> None:
    """Show a `Stream` that a cell ends with as a live view, and what has a chart with it.

    Does nothing outside a Jupyter kernel or, for streams, without anywidget (the `[lab]` extra):
    their own static reprs are shown there. May be called any number of times.
    """
    ipython = sys.modules.get("IPython")  # a kernel has imported it; a script shall not pay for it
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:
        return
    from conduit_lab.notebook.views import charted

    charted.register(shell)
    if find_spec("anywidget") is None:
        return
    from conduit_lab.notebook.views.stream import cell

    cell.register(shell)
