"""The time a server takes to stop with endless streams open, for each way to serve.

Ten clients read one stream each. The time runs from SIGTERM or `Server.stop()` to the end of the
process or call; the bound is the grace period plus half a second. Each client must receive a final
event saying that the server has stopped. granian and hypercorn are measured if they are installed;
hypercorn takes its grace period from its own option.

Run it with `.venv/bin/python benchmarks/stops.py [--rounds 5] [--only cli]`. The exit status is 1
if the median of a way exceeds the bound or a client received no final event.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from served_process import CLI, free_port, started

from conduit_lab.core.views import figures
from conduit_lab.core.views.html import columns

ROUNDS = 5
STREAMS = 10
GRACE = 1.0
BOUND_SECONDS = 0.5  # beyond the grace period
TIMEOUT = 30.0
MODELS = Path(__file__).parents[1] / "data" / "models"

APP = """
import time

from conduit_lab import App

app = App("endless", root=".")
app.load_model(MODELS + "/minilm", device="cpu")  # onnxruntime ends with the process

@app.ml_stream("/count")
def count():
    number = 0
    while True:
        yield {"number": number}
        number += 1
        time.sleep(0.05)

@app.ml_stream("/acount")
async def acount():
    import asyncio

    number = 0
    while True:
        yield {"number": number}
        number += 1
        await asyncio.sleep(0.05)
"""
THREAD = """
import os, signal
from app import app
from conduit_lab.serving.run import thread

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
thread.THREAD_GRACE_SECONDS = {grace}
server = thread.Server(app, port={port})
signal.sigwait([signal.SIGTERM])
server.stop()
os._exit(0)
"""
UVICORN = ("-m", "uvicorn", "app:app", "--log-level", "critical", "--port")


class Stop(NamedTuple):
    """One stop: its seconds, and the number of clients that received a final event."""

    seconds: float
    last_events: int


def ways(port: int) -> dict[str, list[str]]:
    """Return the commands of all ways to serve that can run here."""
    cli = (*CLI, "serve", ".", f"--port={port}", f"--grace={GRACE:g}")
    found = {
        "cli": [*cli],
        "cli, 2 workers": [*cli, "--workers=2"],
        "thread": [sys.executable, "-c", THREAD.format(grace=GRACE, port=port)],
        "uvicorn": [sys.executable, *UVICORN, str(port)],
        "uvicorn, 2 workers": [sys.executable, *UVICORN, str(port), "--workers=2"],
    }
    if find_spec("granian"):
        options = ["--interface=asgi", f"--port={port}", "--log-level=critical"]
        found["granian"] = [sys.executable, "-m", "granian", *options, "app:app"]
    if find_spec("hypercorn"):
        options = [f"--bind=127.0.0.1:{port}", f"--graceful-timeout={GRACE:g}"]
        found["hypercorn"] = [sys.executable, "-m", "hypercorn", *options, "app:app"]
    return found


@contextmanager
def reading(port: int) -> Iterator[list[str]]:
    """Read `STREAMS` streams, one thread each, past their first event; yield their last lines."""
    last_lines: list[str] = []
    begun = threading.Barrier(STREAMS + 1)

    def read(path: str) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        connection.request("POST", path, "{}", {"content-type": "application/json"})
        answer = connection.getresponse()
        line = answer.readline()
        begun.wait(TIMEOUT)
        last = line
        try:
            while line := answer.readline():
                last = line if line.strip() else last
        except (OSError, HTTPException):  # a truncated body
            pass
        connection.close()
        last_lines.append(last.decode())

    paths = ["/count", "/acount"] * (STREAMS // 2)
    threads = [threading.Thread(target=read, args=(path,)) for path in paths]
    for each in threads:
        each.start()
    begun.wait(TIMEOUT)
    yield last_lines
    for each in threads:
        each.join()


def stop(command: list[str], folder: Path, port: int) -> Stop:
    """Serve the app, open the streams, and stop it."""
    environ = {**os.environ, "CONDUIT_LAB_GRACE": f"{GRACE:g}"}
    server = started(command, port, cwd=folder, env=environ)
    with server as process, reading(port) as last_lines:
        begun = monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
        seconds = monotonic() - begun
    return Stop(seconds, sum("stream_cancelled" in line for line in last_lines))


def main() -> int:
    """Stop each way several times, print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="the ways whose name begins so")
    options = parser.parse_args()
    rows, good = [], True
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "app.py").write_text(f"MODELS = {str(MODELS)!r}\n{APP}")
        for name in ways(0):
            if not name.startswith(options.only):
                continue
            stops = []
            for _ in range(options.rounds):
                port = free_port()
                stops.append(stop(ways(port)[name], folder, port))
            over = sorted(each.seconds - GRACE for each in stops)
            clients = sum(each.last_events for each in stops)
            median = statistics.median(over)
            good = good and median <= BOUND_SECONDS and clients == STREAMS * len(stops)
            shown = map(figures.seconds, (max(median, 0.0), max(over[-1], 0.0)))
            rows.append((name, *shown, f"{clients} of {STREAMS * len(stops)}"))
    head = ("served by", "median over the grace", "worst", "clients with a last event")
    print(columns(head, rows, numeric=head[1:]))
    print(f"grace {GRACE:g} s, {STREAMS} open streams, load average {os.getloadavg()[0]:.1f}")
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
