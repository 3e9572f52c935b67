"""A notebook in a real kernel, and its export in an empty world."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from tests.export.notebooks.notebook import FAILS, Answer, Ask, Notebook, environment_of
from tests.export.notebooks.verdict import Observed, Verdict, leaked, verdict
from tests.project import ROOT

_CELL_SECONDS = 120.0
_ANSWER_SECONDS = 60.0
_POLL_SECONDS = 0.05


def run_in_kernel(notebook: Notebook, place: Path) -> Verdict:
    """Run the cells in a fresh kernel, export, ask the session, and then the export elsewhere."""
    project, home = place / "project", place / "home"
    notebook.write_project(project)
    home.mkdir()
    with _kernel(place, project, home) as client:
        for cell in notebook.sources:
            error = _execute(client, cell)
            assert bool(error) == (FAILS in cell), f"{notebook.name}: {cell}\n{error}"
        error = _execute(client, 'lab.export("out")')
        if not error:
            (place / "asks.json").write_text(json.dumps(notebook.asks), "utf-8")
            call = f"__import__({__name__!r}, fromlist=['*']).answer_in_session"
            problem = _execute(client, f"{call}(lab, {str(place)!r})", kept=False)
            assert not problem, problem
    seen = Observed(*error[::-1])
    if not error:
        known = json.loads((place / "here.json").read_text("utf-8"))
        seen.here = [Answer(*each) for each in known["answers"]]
        elsewhere = place / "größe ☃" / "app"
        elsewhere.parent.mkdir()
        (project / "out").rename(elsewhere)
        seen.leaked = leaked(elsewhere, "", notebook.secrets)
        pinned = (elsewhere / "requirements.txt").read_text("utf-8")
        missing = [name for name in notebook.packages if f"{name}==" not in pinned]
        project.rename(place / "gone")
        home.rename(place / "gone home")
        _ask_export(notebook, elsewhere, known["environment"], seen)
        if missing:
            seen.broken = f"its requirements lack {', '.join(missing)}"
    seen.leaked += leaked(place / "none", seen.error, notebook.secrets)
    return verdict(notebook, seen)


def answer_in_session(lab: Any, place: str) -> None:
    """Serve the session's app, in the kernel, and write its answers to the requests of a file."""
    asks = [Ask.read(line) for line in json.loads(Path(place, "asks.json").read_text("utf-8"))]
    server = lab.serve(port=0)
    try:
        answers = _answers(int(server.url.rpartition(":")[2]), asks)
    finally:
        server.stop()
    known = {"answers": answers, "environment": dict(os.environ)}
    Path(place, "here.json").write_text(json.dumps(known), "utf-8")


def _ask_export(notebook: Notebook, folder: Path, session: dict[str, str], seen: Observed) -> None:
    """Start the export with nothing but its own files and the variables that it asks for."""
    wheel = next((folder / "lib").glob("*.whl"))
    environ = {"PATH": os.defpath, "PYTHONPATH": str(wheel), **environment_of(folder, session)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    with (folder.parent / "log").open("w+b") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
        try:
            if _is_up(process, port):
                seen.there = _answers(port, notebook.requests)
            else:
                log.seek(0)
                seen.broken = log.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            seen.broken = f"no answer: {error!r}"
        finally:
            process.terminate()
            process.wait(_CELL_SECONDS)


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the app answers; return whether it does."""
    while process.poll() is None:
        with suppress(OSError):
            return _answer(port, Ask("GET", "/healthz", b"")).status == 200
        sleep(_POLL_SECONDS)
    return False


def _answers(port: int, asks: Sequence[Ask]) -> list[Answer]:
    return [_answer(port, ask) for ask in asks]


def _answer(port: int, ask: Ask) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        headers = {"content-type": "application/json"} if ask.body else {}
        connection.request(ask.method, ask.target, ask.body or None, headers)
        response = connection.getresponse()
        kind = response.getheader("content-type") or ""
        return Answer.read(response.status, response.read(), kind)
    finally:
        connection.close()


@contextmanager
def _kernel(place: Path, project: Path, home: Path) -> Iterator[BlockingKernelClient]:
    manager = KernelManager(kernel_name="python3", connection_file=str(place / "kernel.json"))
    environ = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(ROOT),
        "CONDUIT_LAB_PROGRESS": "0",
    }
    manager.start_kernel(
        cwd=str(project), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=_CELL_SECONDS)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        ensure_event_loop().close()  # of this thread, which the client made


def _execute(
    client: BlockingKernelClient, cell: str, *, kept: bool = True
) -> tuple[str, str] | tuple[()]:
    """Run a cell; return the type and the text of its error, or nothing."""
    reply = client.execute_interactive(
        cell,
        store_history=kept,
        allow_stdin=False,
        output_hook=lambda message: None,
        timeout=_CELL_SECONDS,
    )
    content = reply["content"]
    return (content["ename"], content["evalue"]) if content["status"] == "error" else ()
