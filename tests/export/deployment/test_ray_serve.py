"""An export on Ray Serve: replicas of the app and of its models, killed under load; a stream."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.export.deployment.environment import PYTHON
from tests.export.session import Session
from tests.models.text import embedders

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON.is_file(), reason="Ray is not installed: make test-long does it"),
]

START_SECONDS = 240
CLIENTS = 4
REQUESTS_AFTER_THE_KILL = 30  # of each client


CPUS = 8  # those of the replicas, on a machine with fewer


def test_replicas_of_an_app_and_of_its_models_may_be_killed(session: Session) -> None:
    embedders.folder(session.root / "models" / "words")
    session.run(
        """
        import os
        sign = lab.load_model("models/sign.npz", remote=True)
        words = lab.load_model("models/words", remote=True)

        @lab.post("/sign")
        def ask(x: float) -> dict:
            label = sign.predict([x, x]).label
            return {"label": label, "replica": os.getpid(), "bytes": sign.size}

        @lab.post("/signs")
        def signs(xs: list[float]) -> list:
            return [each.label for each in sign.batch([[x, x] for x in xs])]

        @lab.post("/words")
        async def encode(text: str):
            return await words.acall(text)

        @lab.post("/blocking")
        async def block(text: str):
            return words.encode(text)

        @lab.ml_stream("/count")
        async def count(n: int):
            for number in range(n):
                yield {"number": number}
        """,
        "ask(1.0)",
        "signs([1.0, -1.0])",
        "import asyncio; asyncio.run(encode('kettle pan')), asyncio.run(block('kettle pan'))",
        "count(3).wait()",
    )
    recorded = {example.path: example.answer for example in session.lab.examples}
    folder = session.export().folder
    port = _free_port()
    config = folder / "serve.yaml"
    config.write_text(config.read_text().replace("port: 8000", f"port: {port}"))
    with _ray(folder, port) as home, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [client.post("/sign", json={"x": 1.0}).json() for _ in range(40)]
        assert {answer["label"] for answer in answers} == {"up"}
        assert {answer["bytes"] for answer in answers} == {0}  # the weights are elsewhere
        assert {answer["replica"] for answer in answers} <= _replicas(home, "desk")
        assert client.post("/signs", json={"xs": [1, -1, 2]}).json() == ["up", "down", "up"]
        for path in ("/words", "/blocking"):
            assert client.post(path, json={"text": "kettle pan"}).json() == recorded[path]
        devices = client.get("/v1/info").json()
        assert [model["name"] for model in devices["models"]] == ["sign", "words"]

        with client.stream("POST", "/count", json={"n": 3}) as response:
            lines = [line for line in response.iter_lines() if line.startswith("data: ")]
        assert lines == [f'data: {{"number":{number}}}' for number in range(3)]

        killed = threading.Event()
        failed: list[str] = []
        clients = [
            threading.Thread(target=_ask, args=(port, killed, failed)) for _ in range(CLIENTS)
        ]
        for each in clients:
            each.start()
        os.kill(min(_replicas(home, "desk-sign")), signal.SIGKILL)
        os.kill(answers[-1]["replica"], signal.SIGKILL)
        killed.set()
        for each in clients:
            each.join()
        assert failed == []
        assert client.post("/sign", json={"x": -1.0}).json()["label"] == "down"


def _ask(port: int, killed: threading.Event, failed: list[str]) -> None:
    """Ask with a client that tries again, until long after the kill."""
    transport = httpx.HTTPTransport(retries=3)
    left = REQUESTS_AFTER_THE_KILL
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as client:
        while left:
            left -= killed.is_set()
            for attempt in range(5):
                with contextlib.suppress(httpx.HTTPError):
                    answer = client.post("/sign", json={"x": 1.0}, timeout=30)
                    if answer.status_code == 200 and answer.json()["label"] == "up":
                        break
                time.sleep(0.1 * 2**attempt)
            else:
                failed.append("no answer to five tries")


@contextlib.contextmanager
def _ray(folder: Path, port: int) -> Iterator[str]:
    """Run `serve run serve.yaml` on a Ray of its own; yield its home, once all replicas run."""
    wheel = next((folder / "lib").glob("*.whl"))
    with tempfile.TemporaryDirectory(prefix="r") as home:  # short: it holds the paths of sockets
        environ = {
            "HOME": home,
            "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(wheel),
            "RAY_TMPDIR": home,
            "RAY_OVERRIDE_RESOURCES": f'{{"CPU": {CPUS}}}',
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_OVERRIDE_NODE_IP_ADDRESS": "127.0.0.1",
        }
        with Path(home, "log").open("wb") as log:
            process = subprocess.Popen(
                [PYTHON, "-m", "ray.serve.scripts", "run", "serve.yaml"],
                cwd=folder,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                until = time.monotonic() + START_SECONDS
                names = ("desk", "desk-sign", "desk-words")
                while any(len(_replicas(home, n)) < 2 for n in names) or not _is_ready(port):
                    assert process.poll() is None, Path(home, "log").read_text()
                    assert time.monotonic() < until, Path(home, "log").read_text()
                    time.sleep(1)
                yield home
            finally:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                for pid in _processes(home):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _replicas(home: str, deployment: str) -> set[int]:
    """Return the processes of a deployment's replicas."""
    title = f"ray::ServeReplica:desk:{deployment}"
    found = _processes(home).items()
    return {pid for pid, command in found if title in command.replace(".", " ").split()}


def _processes(home: str) -> dict[int, str]:
    """Return the running processes of this Ray, with their command lines."""
    found = {}
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if f"RAY_TMPDIR={home}".encode() in (place / "environ").read_bytes().split(b"\0"):
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(place.name)] = command
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
