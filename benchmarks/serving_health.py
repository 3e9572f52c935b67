"""Health checks of a busy server: the latency of /healthz while a model runs or a body is parsed.

The app runs in a separate process on one core, under `conduit-lab serve`; the checks and the load
come from the other core. 200 half-sent requests stay open throughout. On a busy machine the server
also waits for its core: the last column is the CPU time that it used during one check, in steps of
10 ms. The exit status is 1 if both the 99th percentile and that time are above the bound.

Run it with `.venv/bin/python benchmarks/serving_health.py [--seconds 5]`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import NamedTuple

import psutil
from served_process import CLI, free_port, started

from conduit_lab.core.views import figures
from conduit_lab.core.views.html import columns

SECONDS = 5.0
HALF_SENT = 200
PAUSE_SECONDS = 0.005  # between two checks
BOUND_SECONDS = 0.1
TIMEOUT = 60.0

APP = """
import time
from pathlib import Path

import numpy as np

from conduit_lab import App

app = App("busy", root=Path(__file__).parent)
weights = np.random.default_rng(0).random((1200, 1200))

@app.post("/model")
def model(seconds: float) -> float:
    ends, total = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < ends:
        total += float((weights @ weights)[0, 0])
    return total

@app.post("/python")
def python(seconds: float) -> int:
    ends, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        count += 1
    return count

@app.post("/echo")
def echo(body):
    return body

@app.post("/typed")
def typed(rows: list[list[int]]) -> int:
    return len(rows)

@app.post("/numbers")
def numbers(values: list[float]) -> int:
    return len(values)

@app.post("/row")
def row(rows: list[list[float]]) -> int:
    return len(rows)
"""


class Waits(NamedTuple):
    """The sorted waits of the checks under one load in seconds, and the server's CPU time.

    `cpu` is the maximum that it used during one check.
    """

    load: str
    seconds: list[float]
    cpu: float

    def share(self, part: float) -> float:
        """Return the wait that this share of the checks does not exceed."""
        return self.seconds[min(int(part * len(self.seconds)), len(self.seconds) - 1)]


@contextmanager
def serving(folder: Path, core: int) -> Iterator[tuple[int, psutil.Process]]:
    """Serve the app in a separate process on one core; yield its port and process."""
    (folder / "app.py").write_text(APP)
    port = free_port()
    command = [*CLI, "serve", str(folder), f"--port={port}", "--grace=1"]
    with started(command, port) as process:
        server = psutil.Process(process.pid)
        server.cpu_affinity([core])
        yield port, server


def check(port: int) -> float:
    """Return the seconds that one health check took on a new connection."""
    begun = perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/healthz")
    if connection.getresponse().status != 200:
        raise OSError("the server is not well")
    connection.close()
    return perf_counter() - begun


def post(port: int, path: str, body: bytes) -> None:
    """Send one request and read its answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("POST", path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise OSError(f"{path} answered {answer.status}")


def waits_during(name: str, port: int, server: psutil.Process, load: Callable[[], object]) -> Waits:
    """Return the waits of the health checks while `load` runs."""
    thread = threading.Thread(target=load, name=name)
    waits, most = [], 0.0
    thread.start()
    while thread.is_alive():
        begun = cpu(server)
        waits.append(check(port))
        most = max(most, cpu(server) - begun)
        sleep(PAUSE_SECONDS)
    thread.join()
    return Waits(name, sorted(waits), most)


def cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def half_sent(port: int, stack: ExitStack) -> None:
    """Open connections that stay open, each with part of a request."""
    for number in range(HALF_SENT):
        half = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        head = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        half.sendall(head if number % 2 else head + b"content-length: 9\r\n\r\n[1,")


def main() -> int:
    """Run the loads, print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that the handlers run")
    seconds = parser.parse_args().seconds
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    pairs = json.dumps([[1, 2]] * 1_200_000).encode()
    members = json.dumps({f"k{n}": n for n in range(600_000)}).encode()
    argument = json.dumps({"seconds": seconds}).encode()
    rows = b'{"rows": ' + pairs + b"}"
    numbers = json.dumps({"values": [0.5] * 1_900_000}).encode()
    row = json.dumps({"rows": [[0.5] * 1_900_000]}).encode()
    with (
        TemporaryDirectory() as folder,
        serving(Path(folder), cores[0]) as (port, server),
        ExitStack() as stack,
    ):
        half_sent(port, stack)
        loads: dict[str, Callable[[], object]] = {
            "nothing": lambda: sleep(seconds / 2),
            "a model of NumPy": lambda: post(port, "/model", argument),
            "a handler of Python": lambda: post(port, "/python", argument),
            "pairs, 9.6 MB, echoed": lambda: post(port, "/echo", pairs),
            "members, 9.6 MB, echoed": lambda: post(port, "/echo", members),
            "pairs, checked": lambda: post(port, "/typed", rows),
            "numbers, checked": lambda: post(port, "/numbers", numbers),
            "a row of numbers, checked": lambda: post(port, "/row", row),
        }
        measured = [waits_during(name, port, server, load) for name, load in loads.items()]
    table = [
        (
            each.load,
            str(len(each.seconds)),
            *map(figures.seconds, (each.share(0.5), each.share(0.99), each.seconds[-1], each.cpu)),
        )
        for each in measured
    ]
    head = ("load", "checks", "p50", "p99", "worst", "CPU in one")
    print(columns(head, table, numeric=head[1:]))
    print(f"load average {os.getloadavg()[0]:.1f}, {HALF_SENT} half-sent requests")
    return int(any(min(each.share(0.99), each.cpu) > BOUND_SECONDS for each in measured))


if __name__ == "__main__":
    raise SystemExit(main())
