"""Replay: start an exported folder in a fresh process and send it the recorded requests."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from conduit_lab.core.equality import first_difference
from conduit_lab.core.errors import ExportError
from conduit_lab.core.progress import counted, progress
from conduit_lab.core.text import clip
from conduit_lab.export.state.walk import StateLine
from conduit_lab.export.target import preserved_folder
from conduit_lab.serving.gate.keys import KEYS_VARIABLE
from conduit_lab.serving.recorded import Example
from conduit_lab.serving.tool import TOOL_METHOD, as_object, tool_answer, tool_request

_STATE_PROCESS = "conduit_lab.export.state.state_process"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_HEALTH_SECONDS = 2.0
_POLL_SECONDS = 0.05
_MAX_LOG_CHARACTERS = 2000
_MAX_BODY_CHARACTERS = 300

_RELATIVE_TOLERANCE = 1e-4  # of the numbers in two answers
_ABSOLUTE_TOLERANCE = 1e-5


def difference(expected: Any, got: Any) -> str | None:
    """Return the first place where two JSON answers differ, in words, or None.

    Text, booleans and integers must be equal, other numbers close.
    """
    return first_difference(
        expected, got, relative=_RELATIVE_TOLERANCE, absolute=_ABSOLUTE_TOLERANCE
    )


@dataclass(frozen=True)
class Outcome:
    """One replayed example: the `problem`, None for the same answer, and the seconds it took."""

    example: Example
    problem: str | None
    seconds: float

    @property
    def endpoint(self) -> str:
        """The method and path."""
        return f"{self.example.method} {self.example.path}"

    @property
    def verdict(self) -> str:
        """The problem, or "same"; of a call that writes its answer is not compared."""
        return self.problem or ("answered" if self.example.writes else "same")


def replay(
    folder: Path,
    *,
    python: str = sys.executable,
    environ: dict[str, str] | None = None,
    on_state: Callable[[list[StateLine]], None] | None = None,
) -> list[Outcome]:
    """Start the app in `folder` with `python` and replay each line of its `examples.jsonl`.

    `on_state` gets the state of the started app before the first call. Calls that only read come
    first; the stores are restored afterwards. Calls that write to a store on a server are left out.
    Raises `ExportError` with the process's output where it does not start.
    """
    # splitlines() also splits inside texts
    lines = (folder / "examples.jsonl").read_text("utf-8").split("\n")
    found = [Example.from_json(line) for line in lines if line]
    examples = [example for example in found if not example.shared]
    examples.sort(key=lambda example: example.writes)
    stores = preserved_folder(folder / "indexes")
    with progress(len(examples), "call", "replay") as job, stores:
        job.phase = "starting the app"
        with (
            tempfile.TemporaryDirectory() as place,
            running(folder, python=python, environ=environ, state=Path(place, "state")) as port,
        ):
            job.phase = ""
            if on_state is not None:
                on_state(_read_state(Path(place, "state")))
            return [_ask(port, example) for example in counted(examples, "call")]


@contextmanager
def running(
    folder: Path,
    *,
    python: str = sys.executable,
    environ: dict[str, str] | None = None,
    state: Path | None = None,
) -> Iterator[int]:
    """Run the app in `folder` on a free loopback port, and yield the port once it answers.

    With `state` it writes its state there before it answers.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    program = ["uvicorn"] if state is None else [_STATE_PROCESS, str(state)]
    arguments = ["app:app", "--port", str(port), "--log-level", "warning"]
    command = [python, "-m", *program, *arguments]
    environ = {**(os.environ if environ is None else environ), "PYTHONDONTWRITEBYTECODE": "1"}
    environ.pop(KEYS_VARIABLE, None)  # the replay has none of their secrets
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = monotonic() + _START_SECONDS
            while not _healthy(port):
                if process.poll() is not None or monotonic() > deadline:
                    output.seek(0)
                    text = output.read().decode("utf-8", "replace").strip()
                    raise ExportError(
                        f"the exported app did not start:\n{text[-_MAX_LOG_CHARACTERS:]}"
                    )
                sleep(_POLL_SECONDS)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _read_state(path: Path) -> list[StateLine]:
    return [StateLine(*line) for line in json.loads(path.read_text("utf-8"))]


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _ask(port: int, example: Example) -> Outcome:
    """Send one example and compare; one that writes only has to be answered."""
    start = perf_counter()
    try:
        status, content = _response(port, example)
    except OSError as error:
        return Outcome(example, f"no answer: {error}", perf_counter() - start)
    seconds = perf_counter() - start
    if status == 200 and example.method == TOOL_METHOD:
        got, failed = tool_answer(content)
        if failed or example.writes:
            return Outcome(example, failed or None, seconds)
        return Outcome(example, difference(as_object(example.answer), got), seconds)
    if status != 200:
        body = clip(content.decode("utf-8", "replace"), _MAX_BODY_CHARACTERS)
        return Outcome(example, f"status {status}: {body}", seconds)
    answer = _events(content) if example.shape == "stream" else json.loads(content)
    problem = None if example.writes else difference(example.answer, answer)
    return Outcome(example, problem, seconds)


def _response(port: int, example: Example) -> tuple[int, bytes]:
    method, target, body = example.method, example.target, json.dumps(example.payload).encode()
    headers = {"content-type": "application/json"}
    if method == "GET":
        body, headers = b"", {}
    elif method == TOOL_METHOD:
        method = "POST"
        target, headers, body = tool_request(example.path, example.payload)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, target, body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _events(content: bytes) -> list[Any]:
    """Return the JSON data of each event of a whole event stream."""
    lines = content.decode("utf-8").split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
