"""Requests that are repeated after a fault, and requests that never are."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import httpx
import pytest

from conduit_lab import RemoteApp
from conduit_lab.client import app_connection
from conduit_lab.core.errors import RemoteOverloaded, RemoteUnreachable
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.run.thread import Server
from tests.client.conftest import SECONDS, Connect, Desk
from tests.client.proxy import Proxy
from tests.serving.conftest import until

WORKER = """
import os
from conduit_lab import App

app = App("worker", root=".", protocols=["stores"])
store = app.vector_store("notes", dimension=2)

@app.get("/pid")
def pid() -> int:
    return os.getpid()

@app.post("/double")
def double(n: int) -> int:
    return 2 * n

"""


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy([(server.host, server.port)]) as proxy:
        yield proxy


def test_a_get_is_repeated_after_a_lost_answer(
    desk: Desk, proxy: Proxy, connecting: Connect
) -> None:
    remote = connecting(proxy.url)
    remote.close()
    proxy.limits = [0, 0]
    assert remote.add(1) == 3
    assert desk.calls == [1] * 3  # it ran each time
    remote.close()
    proxy.limits = [0, 0, 0]
    with pytest.raises(RemoteUnreachable):
        remote.add(1)


def test_a_post_is_never_repeated_unless_it_may_run_twice(
    desk: Desk, proxy: Proxy, connecting: Connect
) -> None:
    remote = connecting(proxy.url)
    remote.close()
    proxy.limits = [0]
    with pytest.raises(RemoteUnreachable, match="POST /append: no whole answer"):
        remote.append(7)
    assert desk.calls == [7]
    remote.close()
    proxy.limits = [0]
    assert remote.append.with_retries()(8) == 3
    assert desk.calls == [7, 8, 8]
    assert not remote.append.repeatable


def test_a_search_is_repeated(proxy: Proxy, connecting: Connect) -> None:
    remote = connecting(proxy.url)
    remote.close()
    proxy.limits = [0]
    assert len(remote.stores["notes"].search([1, 2, 3])) == 5


def test_a_request_that_was_never_sent_is_repeated(
    desk: Desk, proxy: Proxy, connecting: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = connecting(proxy.url)
    remote.close()
    waits: list[float] = []
    send, refuse = app_connection.Connection._send, [2]

    def refusing(*args: object) -> httpx.Response:
        if refuse[0]:
            refuse[0] -= 1
            raise httpx.ConnectError("refused")
        return send(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(app_connection.Connection, "_send", refusing)
    monkeypatch.setattr(app_connection, "sleep", waits.append)
    assert remote.append(1) == 1
    assert waits == [0.2, 0.4]


def test_a_rejected_request_waits_as_long_as_it_is_asked_to(
    desk: Desk, server: Server, connecting: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejects: list[str] = []

    @desk.app.get("/busy")
    def busy() -> int:
        if rejects:
            raise HttpError(429, "overloaded", "full", {"retry-after": rejects.pop()})
        return 1

    @desk.app.post("/busy_post")
    def busy_post() -> int:
        return busy()

    remote = connecting(server.url)
    waits: list[float] = []
    monkeypatch.setattr(app_connection, "sleep", waits.append)
    rejects += ["2", "1"]
    assert remote.busy() == 1
    assert waits == [1.0, 2.0]
    rejects.append("60")  # too long to wait for
    with pytest.raises(RemoteOverloaded):
        remote.busy()
    rejects.append("1")  # it may have begun
    with pytest.raises(RemoteOverloaded, match="full"):
        remote.busy_post()
    assert waits == [1.0, 2.0]


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    code = "from conduit_lab.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_worker_behind_a_balancer_is_not_noticed(
    tmp_path: Path, connecting: Connect
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "app.py").write_text(WORKER)
    workers = [serve(folder) for folder in folders]
    try:
        with Proxy([("127.0.0.1", port) for _, port in workers]) as balancer:
            for _, port in workers:
                until(lambda port=port: _ready(port))  # type: ignore[misc]
            remote = connecting(balancer.url)
            double = remote.double.with_retries()
            pids = set()
            for _ in range(4):
                pids.add(remote.pid())
                assert double(3) == 6
                assert remote.stores["notes"].search([1, 2]) == []
                remote.close()  # the balancer chooses per connection
            assert pids == {worker.pid for worker, _ in workers}
            remote.pid()
            for worker, _ in workers[:1]:
                worker.send_signal(signal.SIGKILL)
                worker.wait(SECONDS)
            for n in range(10):
                assert remote.pid() == workers[1][0].pid
                assert double(n) == 2 * n
                remote.close()
    finally:
        for worker, _ in workers:
            worker.kill()
            worker.wait(SECONDS)


def test_two_workers_answer_the_same(tmp_path: Path, connecting: Connect) -> None:
    (tmp_path / "app.py").write_text(WORKER)
    workers = [serve(tmp_path) for _ in range(2)]
    try:
        for _, port in workers:
            until(lambda port=port: _ready(port))  # type: ignore[misc]
        first, second = (connecting(f"http://127.0.0.1:{port}") for _, port in workers)
        assert first.pid() != second.pid()
        assert first.double(4) == second.double(4) == 8
        assert _shape(first) == _shape(second)
    finally:
        for worker, _ in workers:
            worker.kill()
            worker.wait(SECONDS)


def _shape(remote: RemoteApp) -> tuple[list[str], list[str]]:
    return [repr(each) for each in remote.endpoints], [
        repr(each) for each in remote.stores.values()
    ]


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        sleep(0.05)
        return False
