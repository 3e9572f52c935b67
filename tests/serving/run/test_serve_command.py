"""`conduit-lab serve` and plain uvicorn as processes: messages, logs, workers, the stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from conduit_lab.cli import main
from conduit_lab.serving.stop_signals import GRACE_VARIABLE, PRE_STOP_VARIABLE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")

CLI = (sys.executable, "-c", "from conduit_lab.cli import main; raise SystemExit(main())")
APP = """
import os, time
from conduit_lab import App
app = App("desk", root=".")

@app.get("/pid")
def pid():
    return os.getpid()

@app.get("/fail")
def fail(secret=0):
    raise RuntimeError("wrong")

@app.post("/echo")
def echo(value):
    return value

@app.ml_stream("/count")
def count():
    n = 0
    while True:
        yield (n := n + 1)
        time.sleep(0.05)
"""
GRACE = 1.0


def run(folder: Path, *options: str) -> tuple[int, str]:
    """Run `conduit-lab serve` to its end; return its status and what it printed."""
    command = [*CLI, "serve", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@contextmanager
def running(folder: Path, command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server on a free port until the block ends; its log is in `log.txt`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "CONDUIT_LAB_GRACE": str(GRACE)}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
            text=True,
            env=environment,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            ends = monotonic() + 60
            while True:
                try:
                    httpx.get(f"{url}/readyz", timeout=5).raise_for_status()
                    break
                except httpx.TransportError:
                    assert monotonic() < ends
                    assert process.poll() is None, (folder / "log.txt").read_text()
                    sleep(0.05)
            yield process, url
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("given", [None, "3"])
def test_the_matrix_library_has_one_thread_unless_told_otherwise(
    tmp_path: Path, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    report = "import os\nprint('threads', os.environ['OPENBLAS_NUM_THREADS'])\n"
    (tmp_path / "app.py").write_text(report + "app = 1\n")
    before = "import sys, conduit_lab.cli as cli; assert 'numpy' not in sys.modules; cli.main()"
    command = [sys.executable, "-c", before, "serve", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"threads {given or 1}\n"
    assert "AssertionError" not in done.stderr


def test_a_port_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # and take back what the command adds
    monkeypatch.delitem(sys.modules, "app", raising=False)
    for variable in (GRACE_VARIABLE, PRE_STOP_VARIABLE):
        monkeypatch.setenv(variable, "1")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        for port in ("99999", "-1", str(busy.getsockname()[1])):
            assert main(["serve", str(tmp_path), f"--port={port}"]) == 1
            text = capsys.readouterr().err
            assert len(text.splitlines()) == 1
            assert text.startswith(f"conduit-lab: cannot listen on 127.0.0.1:{port} ")
    assert main(["serve", str(tmp_path), "--workers=0"]) == 1
    assert "--workers expected 1 or more, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "app.py has no `app`: expected `app = App(...)`"),
        ("app = 1", "app.py has `app`, a int: expected `app = App(...)`"),
        (f"{APP}\napp.load_model('no.onnx')", "no model file at no.onnx"),
    ],
)
def test_an_app_that_cannot_start_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "app.py").write_text(source)
    status, text = run(tmp_path, "--port=0")
    assert (status, len(text.splitlines())) == (1, 1), text
    assert message in text


def test_plain_uvicorn_ends_with_streams_and_half_a_body_open(tmp_path: Path) -> None:
    """Case 34: `uvicorn app:app` without a flag waited for ever."""
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "uvicorn", "app:app", "--log-level", "error"]
    with (
        running(tmp_path, command) as (process, url),
        httpx.stream("POST", f"{url}/count", timeout=60) as answer,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as half,
    ):
        half.sendall(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 10\r\n\r\n[1,"
        )
        lines = answer.iter_lines()
        next(lines)
        begun = monotonic()
        process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line.startswith(("event", "data"))][-2:]
        assert last[0] == "event: error"
        assert "stream_cancelled" in last[1]
        process.wait(60)
        assert monotonic() - begun >= GRACE


def test_the_log_is_json_with_the_facts_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = [*CLI, "serve", str(tmp_path), "--log", "json"]
    with running(tmp_path, command) as (process, url):
        answer = httpx.get(f"{url}/fail?secret=1", timeout=60)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    records = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines()]
    (failure,) = [each for each in records if each["level"] == "error"]
    assert failure["request_id"] == answer.json()["error"]["request_id"]
    assert (failure["endpoint"], failure["status"]) == ("/fail", 500)
    assert "RuntimeError: wrong" in failure["traceback"]
    assert "secret" not in json.dumps(records)


@pytest.mark.long
def test_workers_share_the_port_and_each_drains(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = [*CLI, "serve", str(tmp_path), "--workers", "2", "--grace", "0.5"]
    with running(tmp_path, command) as (process, url):
        pids: set[int] = set()
        ends = monotonic() + 60
        while len(pids) < 2:
            assert monotonic() < ends
            pids.add(httpx.get(f"{url}/pid", timeout=60).json())
        with httpx.stream("POST", f"{url}/count", timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert "event: error" in list(lines)
        process.wait(60)
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
