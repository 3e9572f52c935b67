"""The commands of an export's README that can run here, in a separate environment."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from conduit_lab import App
from conduit_lab.export.readme import readme
from tests.export.deployment.test_deployment import APART
from tests.export.session import Session

# run by no test, since no engine, cluster or GPU is here; their files are checked
ELSEWHERE = {"docker build", "docker run", "docker compose", "kubectl create", "kubectl apply"}
ELSEWHERE |= {"kubectl set"}
# run below, by `test_ray_serve.py` with a Ray of its own, or by `test_installed.py`
HERE = {"python3 -m", "pip install", "pip uninstall", "conduit-lab serve", "conduit-lab key"}
HERE |= {"conduit-lab check", "conduit-lab lock", "uvicorn app:app", "python -m", "serve run"}


def commands(text: str) -> list[str]:
    """Return the commands of a README: the lines of its blocks, and those inside of sentences."""
    above = text.partition("## Requests")[0]
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", above, re.DOTALL))
    lines = [line.partition("  #")[0] for line in blocks.splitlines()]
    rest = re.sub(r"```sh\n(.*?)```", "", above, flags=re.DOTALL)
    quoted = [each for each in re.findall("`([^`]+)`", rest) if " " in each]
    programs = ("docker", "kubectl", "pip", "python", "conduit-lab", ".venv/", "GPU=")
    return [line for line in (*lines, *quoted) if line.startswith(programs)]


def test_each_command_is_known() -> None:
    text = readme(App("desk"), [], APART)
    found = set()
    for command in commands(text):
        words = shlex.split(command.removeprefix("GPU=1 ").removeprefix(".venv/bin/"))
        found.add(" ".join(words[:2]))
    assert found == ELSEWHERE | HERE


@pytest.mark.long
def test_the_commands_run_in_the_exported_folder(session: Session) -> None:
    session.run(
        """
        sign = lab.load_model("models/sign.npz")

        @lab.post("/sign")
        def ask(x: float):
            return sign.predict([x, x]).label
        """,
        "ask(1.0)",
    )
    folder = session.export(replay=True).folder
    text = (folder / "README.md").read_text("utf-8")
    first, second, serve = commands(text)[:3]
    done = [_run(folder, first), _run(folder, second)]
    assert "`.venv/bin/pip install pytest`" in text
    done.append(_run(folder, ".venv/bin/pip install pytest"))
    if done[-1].returncode:
        pytest.skip(f"pip cannot install here: {done[-1].stderr[-300:]}")
    for command in (".venv/bin/conduit-lab key NAME", ".venv/bin/conduit-lab check ."):
        assert command in text
        done.append(_run(folder, command))
    assert "`.venv/bin/python -m pytest`" in text
    done.append(_run(folder, ".venv/bin/python -m pytest"))
    assert [each.returncode for each in done] == [0] * 6, done
    assert "1 passed" in done[-1].stdout
    for command in (serve, ".venv/bin/uvicorn app:app"):
        assert command in text
        port = _free_port()
        words = shlex.split(command.replace("--port 8000", ""))
        server = subprocess.Popen([*words, "--port", str(port)], cwd=folder, env=_environ())
        try:
            assert _answer(server, port) == "up"
        finally:
            server.terminate()
            server.wait()
    shutil.rmtree(folder / ".venv")


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    return subprocess.run(words, cwd=folder, env=_environ(), capture_output=True, text=True)


def _answer(server: subprocess.Popen[bytes], port: int) -> object:
    """Return the answer of the app once it is served."""
    for _ in range(600):
        assert server.poll() is None
        try:
            return httpx.post(f"http://127.0.0.1:{port}/sign", json={"x": 1.0}, timeout=30).json()
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("no answer after 60 seconds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_plain_app_names_no_gpu() -> None:
    plain = readme(App("desk"), [], replace(APART, onnxruntime=None, remote={}))
    assert not any("gpu" in command.lower() for command in commands(plain))
