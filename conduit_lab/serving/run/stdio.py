"""Stdio: serve an exported folder's app over MCP to the agent that started this process."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

import anyio

from conduit_lab.serving.app import App
from conduit_lab.serving.faces.mcp import mcp_server


def serve_stdio(folder: Path) -> int:
    """Serve `app:app` of an exported folder on the standard streams until the input ends.

    Printed text goes to stderr, since stdout carries the protocol.
    """
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    with redirect_stdout(sys.stderr):
        app: App = importlib.import_module("app").app
        server = mcp_server(app)
        app.open_resources()
    anyio.run(server.run_stdio_async)  # redirects prints itself
    return 0
