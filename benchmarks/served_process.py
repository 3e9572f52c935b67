"""A served app in a separate process, started and stopped by the serving benchmarks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from time import monotonic, sleep
from typing import Any

CLI = (sys.executable, "-c", "from conduit_lab.cli import main; raise SystemExit(main())")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: Sequence[str], port: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server during the block; yield its process once /readyz answers 200.

    `options` are those of `subprocess.Popen`. Raises `OSError` for a server that does not start.
    """
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **{**silent, **options})
    try:
        ends = monotonic() + START_SECONDS
        while not is_ready(port):
            if process.poll() is not None or monotonic() > ends:
                raise OSError(f"the server did not start: {' '.join(command)}")
            sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_ready(port: int) -> bool:
    """Return whether /readyz answers 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    connection.close()
    return False
