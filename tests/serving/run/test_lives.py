"""The servers of an app: two at once, mounted, without a lifespan; rows 59, 82–84."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from conduit_lab import App, Lab
from conduit_lab.core.errors import ModelLoadError, ServeError
from conduit_lab.serving import stop_signals
from conduit_lab.serving.run import thread
from conduit_lab.serving.run.thread import Server
from conduit_lab.serving.stop_signals import StopSignals, seconds_from
from tests.serving.asgi import ask
from tests.serving.conftest import SECONDS, until


def lines_of(answer: httpx.Response) -> Iterator[str]:
    return (line for line in answer.iter_lines() if line.startswith(("data", "event")))


def test_two_servers_of_one_lab_are_apart(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "THREAD_GRACE_SECONDS", 0.1)
    go = threading.Event()

    @lab.ml_stream("/wait", resume=SECONDS)
    def wait() -> Iterator[int]:
        yield 1
        assert go.wait(SECONDS)
        yield 2

    with (
        lab.serve(port=0) as first,
        lab.serve(port=0) as second,
        httpx.stream("POST", f"{first.url}/wait", timeout=SECONDS) as kept,
        httpx.stream("POST", f"{second.url}/wait", timeout=SECONDS) as cut,
    ):
        keeps, cuts = lines_of(kept), lines_of(cut)
        assert next(keeps) == next(cuts) == "data: 1"
        second.stop()
        assert next(cuts) == "event: error"
        assert httpx.get(f"{first.url}/readyz").status_code == 200
        go.set()
        assert list(keeps) == ["data: 2"]


def test_a_stop_reports_itself_and_ends_within_the_grace(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "THREAD_GRACE_SECONDS", 1.0)
    entered = threading.Event()

    @lab.ml_stream("/endless")
    def endless() -> Iterator[int]:
        n = 0
        while True:
            yield (n := n + 1)
            entered.wait(0.01)

    server = lab.serve(port=0)
    with (
        httpx.Client(base_url=server.url, timeout=SECONDS) as client,
        httpx.stream("POST", f"{server.url}/endless", timeout=SECONDS) as answer,
    ):
        lines = lines_of(answer)
        next(lines)
        assert client.get("/readyz").status_code == 200
        (state,) = lab._lives.states
        stopping = threading.Thread(target=server.stop)
        begun = monotonic()
        stopping.start()
        until(lambda: not state.ready)
        last = list(lines)[-2:]
        stopping.join(SECONDS)
        assert last[0] == "event: error"
        assert "stream_cancelled" in last[1]
        assert monotonic() - begun < SECONDS
    assert not server.running


def test_many_servers_in_one_process_leave_nothing(app: App) -> None:
    app.get("/one")(lambda: 1)
    before = set(threading.enumerate())
    for _ in range(5):
        with Server(app, port=0) as server:
            assert httpx.get(f"{server.url}/one", timeout=SECONDS).json() == 1
    assert not app._lives.states
    until(lambda: not [t for t in set(threading.enumerate()) - before if "server" in t.name])


def test_a_running_stream_of_a_replaced_endpoint_finishes(lab: Lab) -> None:
    go = threading.Event()

    @lab.ml_stream("/tell")
    def tell() -> Iterator[str]:
        yield "old"
        assert go.wait(SECONDS)
        yield "old too"

    with (
        lab.serve(port=0) as server,
        httpx.stream("POST", f"{server.url}/tell", timeout=SECONDS) as answer,
    ):
        lines = lines_of(answer)
        assert next(lines) == 'data: "old"'

        @lab.ml_stream("/tell")
        def tell() -> Iterator[str]:
            yield "new"

        assert 'data: "new"' in httpx.post(f"{server.url}/tell", timeout=SECONDS).text
        go.set()
        assert list(lines) == ['data: "old too"']


# Without a lifespan


def test_a_mounted_app_opens_at_its_first_request_off_the_loop(app: App, weights: Path) -> None:
    model = app.load_model("sign.npz")
    opened_on: list[str] = []
    opening = model._open

    def opens() -> Any:
        opened_on.append(threading.current_thread().name)
        return opening()

    model._open = opens
    app.get("/sign")(lambda: model.predict([1, 1]).label)
    outer = Starlette(routes=[Mount("/ml", app)])
    with TestClient(outer) as client:
        assert client.get("/ml/healthz").status_code == 200
        answer = client.get("/ml/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
        assert client.get("/ml/sign").json() == "up"
        assert client.get("/ml/metrics").status_code == 200
    assert len(opened_on) == 1
    assert "AnyIO worker thread" in opened_on[0]


def test_the_outer_app_may_have_the_lifespan_of_the_inner(app: App, weights: Path) -> None:
    model = app.load_model("sign.npz")
    outer = Starlette(routes=[Mount("/ml", app)], lifespan=app.lifespan)
    with TestClient(outer) as client:
        assert model.loaded
        assert client.get("/ml/readyz").status_code == 200
        (state,) = app._lives.states
        assert sum(state.requests.values()) == 1
    assert not app._lives.states
    app.load_model("none.npz")
    with pytest.raises(ModelLoadError), TestClient(outer):
        pass


def test_a_broken_model_harms_its_endpoint_alone(
    app: App, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken, good = app.load_model("none.npz"), app.load_model("sign.npz")
    app.get("/broken")(lambda: broken.predict([1, 1]).label)
    app.get("/good")(lambda: good.predict([1, 1]).label)
    with TestClient(Starlette(routes=[Mount("/ml", app)])) as client:
        answer = client.get("/ml/broken")
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "model_unavailable")
        assert "none.npz" not in answer.text
        assert client.get("/ml/good").json() == "up"
        assert client.get("/ml/readyz").status_code == 200
    assert "none.npz" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


# Signals


@pytest.mark.parametrize("pre_stop", [0.0, 0.05])
def test_a_stop_signal_is_chained_and_given_back(
    pre_stop: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stop_signals.PRE_STOP_VARIABLE, str(pre_stop))
    monkeypatch.setenv(stop_signals.GRACE_VARIABLE, "3")
    calls: list[Any] = []

    def servers(number: int, frame: Any) -> None:
        calls.append(number)

    async def main() -> None:
        signals = StopSignals(lambda seconds: calls.append(seconds))
        signals.chain()
        try:
            signal.raise_signal(signal.SIGTERM)
            while len(calls) < 2:
                await asyncio.sleep(0.001)
            signal.raise_signal(signal.SIGTERM)  # the second one does not wait
            assert len(calls) == 3
        finally:
            signals.restore()

    before = signal.signal(signal.SIGTERM, servers)
    try:
        asyncio.run(main())
        assert signal.getsignal(signal.SIGTERM) is servers
    finally:
        signal.signal(signal.SIGTERM, before)
    expected = [3 + pre_stop, signal.SIGTERM] if pre_stop else [signal.SIGTERM, 3]
    assert calls == [*expected, signal.SIGTERM]


def test_the_lifespan_drains_at_a_signal_and_gives_the_handler_back(app: App) -> None:
    calls: list[int] = []

    def servers(number: int, frame: Any) -> None:
        calls.append(number)

    async def main() -> None:
        async with app.lifespan():
            (state,) = app._lives.states
            signal.raise_signal(signal.SIGTERM)
            while state.ready:
                await asyncio.sleep(0.001)

    before = signal.signal(signal.SIGTERM, servers)
    try:
        asyncio.run(main())
        assert signal.getsignal(signal.SIGTERM) is servers
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == [signal.SIGTERM]


def test_a_signal_that_no_server_handles_is_left_alone() -> None:
    async def main() -> None:
        before = signal.getsignal(signal.SIGTERM)
        signals = StopSignals(lambda seconds: None)
        signals.chain()
        assert signal.getsignal(signal.SIGTERM) is before
        signals.restore()

    asyncio.run(main())


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_seconds_that_are_none_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stop_signals.GRACE_VARIABLE, text)
    with pytest.raises(ServeError, match=f"CONDUIT_LAB_GRACE expected seconds .* got '{text}'"):
        seconds_from(stop_signals.GRACE_VARIABLE, 1.0)


def test_an_ended_app_between_a_signal_and_its_server_passes_it_on() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    begun: list[str] = []

    async def two_apps() -> None:
        first = StopSignals(lambda seconds: begun.append("first"))
        first.chain()
        second = StopSignals(lambda seconds: begun.append("second"))
        second.chain()
        first.restore()
        second.restore()

    try:
        asyncio.run(two_apps())
        signal.raise_signal(signal.SIGTERM)  # the loop of both is closed
        assert seen == [signal.SIGTERM]
        assert begun == []
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_app_in_asyncio_run_leaves_ctrl_c_alone(app: App) -> None:
    app.get("/read")(lambda: 1)
    # a shell starts a process in the background with the signal ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(2):
            _, answer = asyncio.run(ask(app, "/read", method="GET"))
            assert answer["body"] == b"1"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
