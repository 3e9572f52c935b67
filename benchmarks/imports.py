"""Imports and the start of an exported app, in fresh processes, alternating with their baselines.

Run it with `.venv/bin/python benchmarks/imports.py [rounds]`. The modules are compiled beforehand.
An import is measured inside its process, after NumPy's. The limits are what the imported names
stand on: asyncio, anyio and orjson. A start is measured from process creation to the first
prediction; FastAPI with onnxruntime, both used as documented, is started alternately.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import psutil
from measure import compared, print_table
from serving import WIDTHS, write_models

from conduit_lab.core.views.figures import seconds

ROUNDS = 10
APP_TARGET, LAB_TARGET, START_TARGET = 0.120, 0.200, 0.800  # seconds, on a quiet machine

_HERE = Path(__file__).parent
_START_SECONDS = 120.0
_ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_FLOOR = "import asyncio, anyio.to_thread, orjson"
_MEASURED = """if True:
    import numpy, time
    wall, cpu = time.perf_counter(), time.process_time()
    {code}
    print(time.perf_counter() - wall, time.process_time() - cpu)
"""
_SESSION = """
import sys
from conduit_lab import Lab

lab = Lab("start", root=sys.argv[1])
mlp = lab.load_model("mlp.onnx")

@lab.ml_endpoint("/predict", model=mlp)
def prepare(body):
    return body["features"]

prepare({"features": [0.5] * int(sys.argv[3])})
lab.export(sys.argv[2])
"""
_SERVE = "import sys; from conduit_lab.cli import main; sys.exit(main())"


class Times(NamedTuple):
    """Wall and CPU seconds of one process."""

    wall: float
    cpu: float


def imported(code: str) -> Times:
    """Return the times of an import in a fresh process that has already imported NumPy."""
    command = [sys.executable, "-c", _MEASURED.format(code=code)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_ENVIRON)
    return Times(*map(float, done.stdout.split()))


def started(command: Sequence[str], path: str, body: bytes) -> Times:
    """Return the times from the start of a server process to its first answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begin = perf_counter()
    arguments = [each.replace("PORT", str(port)) for each in command]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(arguments, env=_ENVIRON, stdout=quiet, stderr=quiet) as process:
        try:
            connection = _connected(port, begin, process)
            connection.request("POST", path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            wall = perf_counter() - begin
            times = psutil.Process(process.pid).cpu_times()
            connection.close()
        finally:
            process.kill()
    if answer.status != 200:
        raise RuntimeError(
            f"{command[-1]}: the first answer expects status 200, got {answer.status}"
        )
    return Times(wall, times.user + times.system)


def _connected(
    port: int, begin: float, process: subprocess.Popen[bytes]
) -> http.client.HTTPConnection:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
        try:
            connection.connect()
            return connection
        except OSError:
            connection.close()
            if process.poll() is not None or perf_counter() - begin > _START_SECONDS:
                raise RuntimeError(f"{process.args!r} did not start") from None
            sleep(0.002)


def rows(rounds: int) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the rows of the table."""
    floor = f"`{_FLOOR}`"
    for name, code, target in (
        ("import conduit_lab", "import conduit_lab", None),
        ("App", "from conduit_lab import App", APP_TARGET),
        ("Lab", "from conduit_lab import Lab", LAB_TARGET),
    ):
        pairs = [(imported(code), imported(_FLOOR)) for _ in range(rounds + 1)][1:]
        yield _row(f"{name}, over NumPy", target, pairs, floor)
    with tempfile.TemporaryDirectory() as place:
        folder, exported = Path(place, "session"), Path(place, "exported")
        folder.mkdir()
        write_models(folder)
        session = folder / "session.py"
        session.write_text(_SESSION)
        command = [sys.executable, str(session), str(folder), str(exported), str(WIDTHS[0])]
        subprocess.run(command, check=True, env=_ENVIRON)
        ours = [sys.executable, "-c", _SERVE, "serve", str(exported), "--port", "PORT"]
        peer = [sys.executable, str(_HERE / "serving_apps.py"), "fastapi", "PORT", str(folder)]
        features = [0.5] * WIDTHS[0]
        body, plain = (json.dumps(each).encode() for each in ({"features": features}, features))
        pairs = [
            (started(ours, "/predict", body), started(peer, "/async", plain))
            for _ in range(rounds + 1)
        ][1:]
        yield _row("exported app, to its first answer", START_TARGET, pairs, "FastAPI")


def _row(
    what: str, target: float | None, pairs: Sequence[tuple[Times, Times]], against: str
) -> tuple[str, str, str, str, str]:
    ours, other = zip(*pairs, strict=True)
    *_, ratio = compared([(a.cpu, b.cpu) for a, b in pairs])
    goal = "" if target is None else f" (target {seconds(target)})"
    return f"{what}{goal}", _shown(ours), _shown(other), f"{ratio}, CPU", against


def _shown(times: Sequence[Times]) -> str:
    """Return the minimum wall and CPU time, since other processes only add to them."""
    wall, cpu = min(each.wall for each in times), min(each.cpu for each in times)
    return f"{seconds(wall)}, CPU {seconds(cpu)}"


if __name__ == "__main__":
    print_table(rows(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
