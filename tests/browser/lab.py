"""A real JupyterLab server and its page: what every browser test drives."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import nbformat
from playwright.sync_api import BrowserContext, Locator, Page

REPOSITORY = Path(__file__).parents[2]
START_TIMEOUT = 40  # seconds; 3 s on an idle machine
PAGE_TIMEOUT = 30_000  # milliseconds


@dataclass
class JupyterServer:
    """A running server: its notebooks lie under `root`."""

    root: Path
    url: str
    token: str

    def write_notebook(self, name: str, cells: Sequence[str]) -> None:
        """Write a notebook of code cells into the server's root."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
        )
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.root / name)

    def read_outputs(self, name: str) -> list[list[dict[str, Any]]]:
        """Return each code cell's saved outputs."""
        notebook = nbformat.read(self.root / name, as_version=4)
        return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


@contextmanager
def serve_jupyter(home: Path, root: Path) -> Iterator[JupyterServer]:
    """Run JupyterLab for `root` on a free loopback port, with `home` for its other files."""
    port, token = _free_port(), secrets.token_hex(16)
    places = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "HOME"]
    places += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    environment = os.environ | {place: str(home / place.lower()) for place in places}
    environment |= {"PYTHONPATH": str(REPOSITORY), "JUPYTER_NO_CONFIG": "1"}
    for place in places:
        (home / place.lower()).mkdir(parents=True)
    no_news = (
        home
        / "jupyterlab_settings_dir/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    )
    no_news.parent.mkdir(parents=True)
    no_news.write_text('{"fetchNews": "false"}')
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    with (home / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        process = subprocess.Popen(
            command, env=environment, cwd=root, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            server = JupyterServer(root, f"http://127.0.0.1:{port}", token)
            _wait_until_answering(server, process, home / "server.log")
            yield server
        finally:
            process.terminate()  # the server ends its kernels
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class LabPage:
    """A page of JupyterLab in a browser context of its own; remembers every host that it asked."""

    def __init__(self, server: JupyterServer, context: BrowserContext) -> None:
        self.server = server
        self.hosts: set[str | None] = set()
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PAGE_TIMEOUT)
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda websocket: self._note(websocket.url))

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(parts.hostname)

    def open(self, notebook: str) -> None:
        """Open a notebook of the server's root and wait until its kernel is ready."""
        self.page.goto(f"{self.server.url}/lab/tree/{notebook}?token={self.server.token}&reset")
        self.wait_for("panel?.sessionContext.session?.kernel?.status === 'idle'")

    def open_without_kernel(self, notebook: str) -> None:
        """Open a notebook as a reader does who starts no kernel."""
        self.page.goto(f"{self.server.url}/lab?token={self.server.token}&reset")
        self.page.wait_for_function("window.jupyterapp?.commands?.hasCommand('docmanager:open')")
        self._evaluate(
            "app.restored"
        )  # until then the launcher may still open, in front of the notebook
        self._evaluate(
            f"app.commands.execute('docmanager:open', {{path: {notebook!r}, kernelPreference: "
            "{autoStartDefault: false, shouldStart: false, canStart: false}})"
        )
        self.wait_for("panel?.context?.isReady && !panel.sessionContext.session")

    def run(self, cell: int) -> None:
        """Start one cell, without waiting for it."""
        self._evaluate(
            f"void (panel.content.activeCellIndex = {cell}, "
            "app.commands.execute('notebook:run-cell'))"
        )

    def run_to_end(self, cell: int) -> None:
        """Run one cell and wait for its end."""
        self._evaluate(
            f"(panel.content.activeCellIndex = {cell}, app.commands.execute('notebook:run-cell'))"
        )

    def output(self, cell: int) -> Locator:
        """Return the place of one cell's outputs."""
        return self.page.locator(
            f".jp-Notebook .jp-Cell[data-windowed-list-index='{cell}'] .jp-OutputArea-output"
        )

    def save(self) -> None:
        """Save the notebook."""
        self._evaluate("app.commands.execute('docmanager:save')")

    def shut_kernel_down(self) -> None:
        """Shut the notebook's kernel down."""
        self._evaluate("panel.sessionContext.shutdown()")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript condition on `app` and `panel` (the current notebook) holds."""
        self.page.wait_for_function(f"() => {{ {_NAMES} return {condition}; }}")

    def _evaluate(self, expression: str) -> Any:
        return self.page.evaluate(f"async () => {{ {_NAMES} await {expression}; }}")


_NAMES = "const app = window.jupyterapp; const panel = app?.shell?.currentWidget;"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_answering(
    server: JupyterServer, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = monotonic() + START_TIMEOUT
    while process.poll() is None and monotonic() < deadline:
        try:
            with urlopen(f"{server.url}/api?token={server.token}", timeout=2):
                return
        except (URLError, OSError):
            sleep(0.1)
    raise RuntimeError(f"JupyterLab does not answer:\n{log.read_text(errors='replace')[-4000:]}")
