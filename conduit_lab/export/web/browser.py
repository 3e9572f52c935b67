"""Browser: open an exported page offline in headless Chromium, and make the recorded calls."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from conduit_lab.core.errors import ExportError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_SECONDS = 180.0  # from the start of Chromium until the last call
_END_SECONDS = 10.0
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
    # offline: other hosts do not resolve
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_HARNESS = "/proof"
_REPORT = "/proof-report"
_PAGE = Path(__file__).parent / "page" / "proof.html"


def find_chromium() -> str:
    """Return the path of Chromium; raise `ExportError` with instructions if it is not found."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise ExportError(
        "the proof of a page runs in Chromium, which was not found: install it (apt-get install "
        'chromium), or export without a proof: lab.export(folder, target="web", proof=None)'
    )


def browser_answers(folder: Path, calls: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Open the page of `folder` in headless Chromium and return its answers to the calls.

    A call consists of the strings `method`, `path`, `body` and `parameters`; an answer of the JSON
    text `answer` or the reason `error`, and its `milliseconds`. Raises `ExportError` if the page
    does not start, logs an error, or contacts another host.
    """
    reports: SimpleQueue[bytes] = SimpleQueue()
    with _served(folder, list(calls), reports) as port, _chromium(port) as process:
        report = _wait(reports, process)
    if report.get("problem"):
        raise ExportError(f"the page does not start in Chromium: {report['problem']}")
    answers: list[dict[str, Any]] = report["answers"]
    return answers


def _wait(reports: SimpleQueue[bytes], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    left = _SECONDS
    while left > 0:
        try:
            report: dict[str, Any] = json.loads(reports.get(timeout=1))
            return report
        except Empty:
            left -= 1
            if process.poll() is not None:
                raise ExportError(
                    f"Chromium ended with {process.returncode} before the page answered: try "
                    f"{' '.join(map(str, process.args))}"  # type: ignore[arg-type]
                ) from None
    raise ExportError(f"the page did not report from Chromium within {_SECONDS:g} s")


class _Handler(SimpleHTTPRequestHandler):
    """Serves the page and the harness that drives it, and receives the harness's report."""

    def __init__(
        self, *args: Any, calls: list[Any], reports: SimpleQueue[bytes], directory: str
    ) -> None:
        self._calls, self._reports = calls, reports
        super().__init__(*args, directory=directory)

    def do_GET(self) -> None:
        if self.path != _HARNESS:
            super().do_GET()
            return
        calls = json.dumps(self._calls).replace("<", "\\u003c")
        page = _PAGE.read_text("utf-8").replace("CALLS", calls).encode()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def do_POST(self) -> None:
        if self.path == _REPORT:
            self._reports.put(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress request logs."""


@contextmanager
def _served(folder: Path, calls: list[Any], reports: SimpleQueue[bytes]) -> Iterator[int]:
    handler = partial(_Handler, calls=calls, reports=reports, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _chromium(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run Chromium with a temporary profile; terminate all its processes afterwards."""
    flags = list(_FLAGS)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium's sandbox refuses root
    # Chromium writes to the profile until its last process has exited
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                find_chromium(),
                *flags,
                f"--user-data-dir={profile}",
                f"http://127.0.0.1:{port}{_HARNESS}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
