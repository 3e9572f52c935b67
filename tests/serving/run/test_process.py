"""The graceful shutdown of a served folder: not ready, then a closed port, then open requests."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")

START_SECONDS = 60.0
CLI = (sys.executable, "-c", "from conduit_lab.cli import main; raise SystemExit(main())")
APP = """
import time
from conduit_lab import App

app = App("leaving", root=".")

@app.ml_stream("/count")
def count(n: int = 10):
    for number in range(n):
        yield {"number": number}
        time.sleep(0.1)
"""


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run `conduit-lab serve` on a free port."""
    (folder / "app.py").write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*CLI, "serve", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: status(url) == 200, START_SECONDS)
        yield process, url
    finally:
        for _ in range(2):  # the second does not wait; workers get them from their parent
            process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def status(url: str) -> int | None:
    """Return the status of /readyz, or None without a server."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code
    except httpx.TransportError:
        return None


def until(holds: object, seconds: float = 20.0) -> None:
    assert callable(holds)
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end
        sleep(0.02)


def test_it_says_that_it_is_not_ready_and_answers_on(tmp_path: Path) -> None:
    with served(tmp_path, "--pre-stop", "1.5") as (process, url):
        events: list[str] = []

        def read() -> None:
            with httpx.stream("POST", f"{url}/count", json={"n": 30}, timeout=20) as stream:
                events.extend(line for line in stream.iter_lines() if line.startswith("data"))

        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: events)
        process.send_signal(signal.SIGTERM)
        until(lambda: status(url) == 503)
        assert httpx.get(f"{url}/healthz").status_code == 200
        answer = httpx.post(f"{url}/count", json={"n": 2})  # new requests are answered too
        assert answer.text.count("data:") == 2
        until(lambda: status(url) is None)
        reader.join()
        assert len(events) == 30  # longer than the listener, within the grace
        process.wait(20)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with served(tmp_path, "--pre-stop", "60") as (process, url):
        process.send_signal(signal.SIGTERM)
        until(lambda: status(url) == 503)
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_a_folder_without_an_app_is_told(tmp_path: Path) -> None:
    command = [*CLI, "serve", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no app.py in" in done.stderr
