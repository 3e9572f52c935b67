"""Views of values, registered with IPython by type; lower packages do not know about them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook import cell_streams, magics, tracebacks


def register() -> None:
    """Show streams, generations, answers, endpoints, labs and servers live; idempotent.

    Containers are shown as cards, and the progress of long jobs as a line. Errors of a cell are
    shown without the package's frames, and `%%stream` streams a cell's text; both also work in
    terminal IPython. Everything else needs a Jupyter kernel and, for streams, anywidget (the
    `[lab]` extra); without these the static reprs are shown.
    """
    ipython = sys.modules.get("IPython")  # a kernel has imported it; a script may not have
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    tracebacks.register_tracebacks(shell)
    cell_streams.register_cell_streams(shell)
    magics.register_magics(shell)
    if getattr(shell, "kernel", None) is None:
        return
    from conduit_lab.notebook import progress_line
    from conduit_lab.notebook.views import contained

    progress_line.register_progress(shell)
    contained.register_contained(shell)
    if find_spec("anywidget") is None:
        return
    from conduit_lab.notebook import mount
    from conduit_lab.notebook.views.answer import ANSWER
    from conduit_lab.notebook.views.endpoint import ENDPOINT
    from conduit_lab.notebook.views.explorer import EXPLORER
    from conduit_lab.notebook.views.generation import GENERATION
    from conduit_lab.notebook.views.server import SERVER
    from conduit_lab.notebook.views.session import SESSION
    from conduit_lab.notebook.views.stream import STREAM
    from conduit_lab.notebook.views.streams import register_streams
    from conduit_lab.serving.app import App
    from conduit_lab.serving.endpoint import Endpoint
    from conduit_lab.serving.run.thread import Server

    mount.register_live(shell, Stream, STREAM)
    register_streams(shell)
    name = "conduit_lab.models.generation.token_stream.TokenStream"
    mount.register_live(shell, name, GENERATION)
    mount.register_live(shell, "conduit_lab.flow.answer_stream.AnswerStream", ANSWER)
    mount.register_live(shell, App, SESSION)
    mount.register_live(shell, Endpoint, ENDPOINT)
    mount.register_live(shell, Server, SERVER)
    mount.register_live(shell, "conduit_lab.vectors.explore.explorer.Explorer", EXPLORER)
