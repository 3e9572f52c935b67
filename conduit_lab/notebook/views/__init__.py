"""Views of values, registered with IPython by type: no lower room knows of them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook import tracebacks


def register() -> None:
    """Show a `Stream` as a cell's value live, and values with a chart together with it; idempotent.

    A cell's error is shown without the package's frames, in IPython as well. All else needs a
    Jupyter kernel and, for streams, anywidget (the `[lab]` extra): elsewhere their own static
    reprs are shown.
    """
    ipython = sys.modules.get("IPython")  # a kernel has imported it; a script need not
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    tracebacks.register_tracebacks(shell)
    if getattr(shell, "kernel", None) is None:
        return
    from conduit_lab.notebook.views import charted

    charted.register_charted(shell)
    if find_spec("anywidget") is None:
        return
    from conduit_lab.notebook import mount
    from conduit_lab.notebook.views.explorer import EXPLORER
    from conduit_lab.notebook.views.stream import STREAM
    from conduit_lab.vectors.explore.explorer import Explorer

    mount.register_live(shell, Stream, STREAM)
    mount.register_live(shell, Explorer, EXPLORER)
