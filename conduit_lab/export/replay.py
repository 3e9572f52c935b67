"""Replay: start an exported folder in a fresh process and ask it everything that was asked before."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from conduit_lab.core.equality import first_difference
from conduit_lab.core.errors import ExportError
from conduit_lab.serving.recorded import Example

START_SECONDS = 60.0
ANSWER_SECONDS = 120.0


RELATIVE = 1e-4  # tolerance of two answers' numbers
ABSOLUTE = 1e-5


def difference(expected: Any, got: Any) -> str | None:
    """Return the first place where two JSON answers differ, or None.

    Text, booleans and integers must be equal, other numbers close.
    """
    return first_difference(expected, got, relative=RELATIVE, absolute=ABSOLUTE)


@dataclass(frozen=True)
class Outcome:
    """One replayed example: what differed (None for the same answer), and how long it took, in seconds."""

    example: Example
    problem: str | None
    seconds: float


def replay(
    folder: Path, *, python: str = sys.executable, environ: dict[str, str] | None = None
) -> list[Outcome]:
    """Start the app in `folder` with `python` and return the outcome of each line of its
    `examples.jsonl`.

    What only reads comes first, what writes after it; the stores are put back as they were. What
    writes to a store on a server is not asked again. Raises `ExportError` with the process's own
    words where it does not start.
    """
    lines = (
        (folder / "examples.jsonl").read_text("utf-8").split("\n")
    )  # splitlines() also splits inside texts
    found = [Example.from_json(line) for line in lines if line]
    examples = sorted(
        (example for example in found if not example.shared), key=lambda example: example.writes
    )
    with _kept(folder / "indexes"), running(folder, python=python, environ=environ) as port:
        return [_ask(port, example) for example in examples]


@contextmanager
def running(
    folder: Path, *, python: str = sys.executable, environ: dict[str, str] | None = None
) -> Iterator[int]:
    """Run the app in `folder` on a free loopback port, and yield the port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [python, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    environ = {**(os.environ if environ is None else environ), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = monotonic() + START_SECONDS
            while not _healthy(port):
                if process.poll() is not None or monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode("utf-8", "replace").strip()[-2000:]
                    raise ExportError(f"the exported app did not start:\n{words}")
                sleep(0.05)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _ask(port: int, example: Example) -> Outcome:
    """Send one example and compare; of one that writes only that it is answered."""
    begin = perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        if example.method == "GET":
            connection.request("GET", example.target)
        else:
            body = json.dumps(example.payload)
            connection.request(
                example.method, example.target, body, {"content-type": "application/json"}
            )
        response = connection.getresponse()
        content = response.read()
    except OSError as error:
        return Outcome(example, f"no answer: {error}", perf_counter() - begin)
    finally:
        connection.close()
    spent = perf_counter() - begin
    if response.status != 200:
        return Outcome(
            example, f"status {response.status}: {content.decode('utf-8', 'replace')[:300]}", spent
        )
    answer = events(content) if example.shape == "stream" else json.loads(content)
    return Outcome(example, None if example.writes else difference(example.answer, answer), spent)


def events(content: bytes) -> list[Any]:
    """Return the JSON data of each event of a whole event stream."""
    lines = content.decode("utf-8").split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Put `folder` back as it was, whatever happens to it inside the block."""
    if not folder.is_dir():
        yield
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kept-") as aside:
        copy = Path(aside) / folder.name
        shutil.copytree(folder, copy)
        try:
            yield
        finally:
            shutil.rmtree(folder)
            shutil.move(copy, folder)
