"""A server from its start to its end, on a real port."""

from __future__ import annotations

import gc
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import ServeError
from conduit_lab.serving.life import ALONE_VARIABLE
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import Ask

SECONDS = 30.0


def test_an_endpoint_registered_or_replaced_while_serving_is_served(lab: Lab) -> None:
    with lab.serve(port=0) as server, httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        assert client.get("/late").status_code == 404

        @lab.get("/late")
        def late() -> int:
            return 1

        assert client.get("/late").json() == 1

        @lab.get("/late")  # its cell, run again
        def late() -> int:  # noqa: F811
            return 2

        assert client.get("/late").json() == 2


def test_health_answers_while_a_sync_handler_is_busy(lab: Lab) -> None:
    entered, leave = threading.Event(), threading.Event()

    @lab.post("/slow")
    def slow() -> str:
        entered.set()
        assert leave.wait(SECONDS)
        return "done"

    with (
        lab.serve(port=0) as server,
        httpx.Client(base_url=server.url, timeout=SECONDS) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(httpx.post, f"{server.url}/slow", timeout=SECONDS)
        assert entered.wait(SECONDS)
        assert client.get("/healthz").json() == {"status": "ok"}  # while the handler still waits
        leave.set()
        assert answer.result(SECONDS).json() == "done"


def test_a_port_in_use_is_a_serve_error_with_the_remedy(lab: Lab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*port=0"):
            lab.serve(port=port)


@pytest.mark.parametrize("port", [70_000, -1])
def test_a_number_that_is_no_port_is_a_serve_error(lab: Lab, port: int) -> None:
    with pytest.raises(ServeError, match="cannot listen on"):
        lab.serve(port=port)


def test_an_app_that_cannot_start_is_a_serve_error_and_leaves_the_port_free(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.load_model("none.npz")
    with pytest.raises(ServeError, match="'desk' failed to start"):
        Server(app, port=0)
    assert "none.npz" in capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("server ")]


def test_a_declared_model_is_open_once_the_server_runs(app: App, weights: Path) -> None:
    model = app.load_model("sign.npz")
    with Server(app, port=0):
        assert "numpy" in repr(model)


def test_stop_frees_the_port_and_may_be_called_twice(lab: Lab) -> None:
    server = lab.serve(port=0)
    with socket.create_connection((server.host, server.port), timeout=SECONDS):
        pass
    server.stop()
    server.stop()
    assert not server.running
    assert "stopped" in repr(server)
    with pytest.raises(ConnectionError):
        socket.create_connection((server.host, server.port), timeout=SECONDS)


def test_the_same_lab_is_served_again_after_a_stop(lab: Lab) -> None:
    lab.get("/one")(lambda: 1)
    for _ in range(2):
        with lab.serve(port=0) as server:
            assert httpx.get(f"{server.url}/one", timeout=SECONDS).json() == 1


def test_the_repr_shows_the_addresses_and_listens_only_at_home(lab: Lab) -> None:
    lab.get("/one")(lambda: 1)
    with lab.serve(port=0) as server:
        assert server.host == "127.0.0.1"
        assert server.url in repr(server)
        assert "/one" in server._repr_mimebundle_()["text/html"]


def test_a_process_that_only_serves_frees_the_collector_of_its_modules(
    app: App, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALONE_VARIABLE, raising=False)
    gc.unfreeze()
    asking(app).get("/healthz")
    assert gc.get_freeze_count() == 0
    other = App("other", root=app.root)
    monkeypatch.setenv(ALONE_VARIABLE, "1")
    try:
        asking(other).get("/healthz")
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
