"""Direct requests: requests answered without a task get the same answers as all others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import App, Limits
from conduit_lab.core.spec import Array
from conduit_lab.errors import InputError
from conduit_lab.serving.gate import http_protocol
from conduit_lab.serving.gate.http_protocol import BODY_WAIT_SECONDS
from conduit_lab.serving.handler_pace import HandlerPace
from tests.serving.conftest import SECONDS
from tests.serving.gate.both_paths import (
    JSON,
    KEY,
    outcome,
    post,
    same_outcome,
    served,
    settle,
    with_key,
)
from tests.serving.gate.connection import Client

RAW, NPY = "application/octet-stream", "application/x-npy"
SAMPLE = np.array([1.5, -2.0], np.float32)
ERRORS: dict[str, Callable[[], BaseException]] = {
    "input": lambda: InputError("no such thing"),
    "other": ZeroDivisionError,
    "exit": SystemExit,
}
_variable: ContextVar[int] = ContextVar("variable", default=0)


def npy(array: Array) -> bytes:
    """Return the bytes of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every handler run on the event loop from its first call on."""
    monkeypatch.setattr(HandlerPace, "is_short", lambda *_: True)


def make_desk(folder: Path, weights: Path, **options: Any) -> App:
    """Return an app that traces no call, with handlers of every kind."""
    app = App("desk", root=folder, trace="errors", **options)
    model = app.load_model(weights)
    app.ml_endpoint("/sign", model=model)(lambda body: body)

    @app.ml_endpoint("/own", model=model)
    def own(body: Any) -> Any:
        return body["features"]

    np.savez(
        folder / "double.npz",
        W0=2 * np.eye(2, dtype=np.float32),
        b0=np.zeros(2, np.float32),
        activations=np.array(["identity"]),
    )
    double = app.load_model("double.npz")
    app.ml_endpoint("/double", model=double)(lambda body: body)

    @app.post("/scaled")
    def scaled(a: float, b: int = 2) -> Any:
        return {"scaled": a * b}

    @app.post("/same")
    def same(body: Any) -> Any:
        return body

    @app.post("/fails")
    def fails(body: Any) -> Any:
        raise ERRORS[body]()

    @app.post("/lazy")
    def lazy(body: Any) -> Any:
        return (each for each in range(body))

    @app.post("/strange")
    def strange(body: Any) -> Any:
        return object()

    @app.post("/counts")
    def counts(body: Any) -> Any:
        before = _variable.get()
        _variable.set(before + 1)
        return before

    @app.get("/constant")
    def constant() -> Any:
        return {"constant": 1}

    add_async_handlers(app, double)
    return app


def add_async_handlers(app: App, model: Any) -> None:
    """Add handlers that are awaited."""

    @app.post("/awaited")
    async def awaited(body: Any) -> Any:
        async with asyncio.timeout(SECONDS):  # needs a task
            return await model.acall(body)

    @app.post("/later")
    async def later(body: Any) -> Any:
        before = _variable.get()
        _variable.set(before + 1)
        await asyncio.sleep(0)
        return [before, _variable.get(), body]

    @app.post("/fails-later")
    async def fails_later(body: Any) -> Any:
        await asyncio.sleep(0)
        raise ERRORS[body]()

    @app.post("/lazy-later")
    async def lazy_later(body: Any) -> Any:
        async def numbers() -> Any:
            for number in range(body):
                yield number

        return numbers()

    @app.post("/strange-later")
    async def strange_later(body: Any) -> Any:
        return object()

    @app.get("/constant-later")
    async def constant_later() -> Any:
        return {"constant": 1}


@pytest.fixture
def desk(tmp_path: Path, weights: Path) -> App:
    return make_desk(tmp_path, weights)


REQUESTS = {
    "a sample": post("/sign"),
    "rows": post("/sign", b"[[1.5, -2], [0, 1]]"),
    "raw float32": post("/sign", SAMPLE.tobytes(), RAW),
    "a .npy file": post("/sign", npy(SAMPLE), NPY),
    "a broken .npy file": post("/sign", b"nothing", NPY),
    "an array": post("/double", SAMPLE.tobytes(), RAW),
    "an array as .npy": post("/double", SAMPLE.tobytes(), RAW, f"accept: {NPY}"),
    "an array as raw float32": post("/double", b"[1.5, -2]", JSON, f"accept: {RAW}"),
    "a large array": post("/double", npy(np.zeros((40_000, 2), np.float32)), NPY, f"accept: {NPY}"),
    "another shape": post("/sign", b"[1, 2, 3]"),
    "no rows": post("/sign", b"[]"),
    "its own handler": post("/own", b'{"features": [1.5, -2]}'),
    "a missing key": post("/own", b"{}"),
    "typed": post("/scaled", b'{"a": 1.5}'),
    "wrongly typed": post("/scaled", b'{"a": "x", "c": 1}'),
    "any JSON": post("/same", b'[{"a": [1, null, "\xc3\xbc"]}]'),
    "an object": post("/same", b'{"a": 1}'),
    "no JSON": post("/same", b"[1"),
    "too deep": post("/same", b"[" * 200 + b"]" * 200),
    "a large answer": post("/same", b"[%s1]" % (b"1," * 5000)),
    "a large body": post("/same", b"[%s1]" % (b"1," * 40_000)),
    "an input error": post("/fails", b'"input"'),
    "another error": post("/fails", b'"other"'),
    "an exit": post("/fails", b'"exit"'),
    "an iterator": post("/lazy", b"3"),
    "no JSON form": post("/strange", b"1"),
    "an empty body": post("/same", b""),
    "another type": post("/same", b"a", "text/plain"),
    "a repeated header": post("/same", b"1", JSON, "content-type: text/plain"),
    "a host of others": post("/same").replace(b"localhost", b"evil.example"),
    "a GET": b"GET /constant HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a HEAD": b"HEAD /constant HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "awaited": post("/awaited"),
    "awaited, as raw float32": post("/awaited", b"[1.5, -2]", JSON, f"accept: {RAW}"),
    "an awaited array": post("/awaited", npy(SAMPLE), NPY, f"accept: {NPY}"),
    "awaited with another shape": post("/awaited", b"[1, 2, 3]"),
    "awaited without JSON": post("/later", b"[1"),
    "a variable of an awaited handler": 2 * post("/later", b"1"),
    "a large awaited answer": post("/later", b"[%s1]" % (b"1," * 5000)),
    "a large awaited body": post("/later", b"[%s1]" % (b"1," * 40_000)),
    "an awaited input error": post("/fails-later", b'"input"'),
    "another awaited error": post("/fails-later", b'"other"'),
    "an awaited exit": post("/fails-later", b'"exit"'),
    "an async iterator": post("/lazy-later", b"3"),
    "an awaited value without JSON form": post("/strange-later", b"1"),
    "an awaited GET": b"GET /constant-later HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "an awaited HEAD": b"HEAD /constant-later HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "awaited for an allowed site": post("/later", b"1", JSON, "origin: https://app.example"),
    "awaited, the last one": post("/later", b"1", JSON, "connection: close"),
    "HTTP/1.0": post("/sign").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "its last one": post("/sign", b"[1.5, -2]", JSON, "connection: close"),
    "a proxy": post("/sign", b"[1, 2]", JSON, "x-forwarded-for: 9.8.7.6"),
    "an allowed site": post("/same", b"1", JSON, "origin: https://app.example"),
    "an allowed site with an error": post("/same", b"[", JSON, "origin: https://app.example"),
    "its preflight": (
        b"OPTIONS /same HTTP/1.1\r\nhost: localhost\r\norigin: https://app.example\r\n"
        b"access-control-request-method: POST\r\n\r\n"
    ),
    "another site": post("/same", b"1", JSON, "origin: https://evil.example"),
    "this site": post("/same", b"1", JSON, "origin: http://localhost"),
}


COMMON = ["a sample", "raw float32", "typed", "any JSON", "a GET"]
COMMON += ["a proxy", "this site", "an allowed site"]
SITES = ["https://app.example"]
OPTIONS: dict[str, dict[str, Any]] = {
    "no options": {"origins": SITES},
    "keys": {"keys": [KEY], "origins": SITES},
    "a deadline": {"limits": Limits(deadline=SECONDS), "origins": SITES},
    "both": {"keys": [KEY], "limits": Limits(deadline=SECONDS), "origins": SITES},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_that_of_a_task(
    tmp_path: Path, weights: Path, name: str, options: str
) -> None:
    request = with_key(REQUESTS[name])
    answers = same_outcome(lambda: make_desk(tmp_path, weights, **OPTIONS[options]), request)
    assert answers["sent"].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", COMMON)
def test_a_common_request_takes_no_task(
    tmp_path: Path, weights: Path, name: str, options: str
) -> None:
    async def ask(connect: Callable[[], Client]) -> None:
        client = connect()
        client.protocol.data_received(with_key(REQUESTS[name]))
        assert not client.server.tasks
        assert (await settle(client)).startswith(b"HTTP/1.1 200 OK\r\n")

    served(make_desk(tmp_path, weights, **OPTIONS[options]), ask)


def test_a_request_below_a_root_path_takes_no_task(tmp_path: Path, weights: Path) -> None:
    def make() -> App:
        return make_desk(tmp_path, weights)

    requests = REQUESTS["a sample"], REQUESTS["a GET"], post("/nowhere")
    answers = same_outcome(make, *requests, root_path="/shop")
    assert [line.split()[-2:] for line in answers["access"][1:]] == [
        ["/sign", "200"],
        ["/constant", "200"],
        ["/shop/nowhere", "404"],
    ]

    async def ask(connect: Callable[[], Client]) -> None:
        client = connect()
        client.protocol.data_received(REQUESTS["a sample"])
        assert not client.server.tasks

    served(make(), ask, root_path="/shop")


def test_the_access_log_has_the_client_of_a_proxy(desk: App) -> None:
    lines = outcome(desk, [REQUESTS["a proxy"]], is_direct=True)["access"]
    assert lines[-1] == "9.8.7.6 - POST /sign 200"


def test_requests_of_several_connections_share_a_run(desk: App) -> None:
    async def ask(connect: Callable[[], Client]) -> None:
        clients = [connect() for _ in range(5)]
        batches: list[int] = []
        model = desk.models["sign"]
        batcher = model._parts().joined._batcher
        batcher._current.of(asyncio.get_running_loop()).coalesces = True
        run = batcher._run

        def counted(items: Any) -> Any:
            batches.append(len(items))
            return run(items)

        batcher._run = counted
        for number, client in enumerate(clients):
            client.protocol.data_received(post("/sign", b"[%d, 0]" % (number - 2)))
        sent = [await settle(client) for client in clients]
        labels = [each.partition(b'"label":"')[2][:2] for each in sent]
        assert labels[:2] + labels[3:] == [b"do", b"do", b"up", b"up"]
        assert batches == [5]

    served(desk, ask)


def test_a_client_that_leaves_takes_its_call_along(desk: App) -> None:
    async def leave(connect: Callable[[], Client]) -> None:
        (state,) = desk._lives.states
        calls = desk.models["sign"].shared.calls
        client = connect()
        batcher = desk.models["sign"]._parts().joined._batcher
        batcher._current.of(asyncio.get_running_loop()).coalesces = True
        client.protocol.data_received(post("/sign"))
        client.wire.closed = True
        client.protocol.connection_lost(None)
        await asyncio.sleep(0)
        assert client.wire.sent == b""
        assert desk.models["sign"].shared.calls == calls
        assert state.requests["POST", "/sign", 499] == 1
        assert state.in_flight == 0

    served(desk, leave)


def test_a_variable_that_a_handler_sets_stays_in_its_request(desk: App) -> None:
    async def ask(connect: Callable[[], Client]) -> None:
        client = connect()
        for _ in range(2):
            client.protocol.data_received(post("/counts", b"1"))
        assert (await settle(client)).count(b"\r\n\r\n0") == 2

    served(desk, ask)


def test_pipelined_requests_are_answered_in_order(desk: App) -> None:
    async def ask(connect: Callable[[], Client]) -> None:
        client = connect()
        bodies = [post("/same", b'"one"'), post("/sign"), post("/same", b'"three"')]
        client.protocol.data_received(b"".join(bodies))
        sent = await settle(client)
        places = [sent.index(each) for each in (b'"one"', b'"label"', b'"three"')]
        assert places == sorted(places)

    served(desk, ask)


@pytest.mark.parametrize("cut", [-1, -5, 40])
def test_a_request_in_two_parts_is_answered(desk: App, cut: int) -> None:
    async def ask(connect: Callable[[], Client]) -> None:
        client, whole = connect(), post("/same", b'"in two parts"')
        client.protocol.data_received(whole[:cut])
        await asyncio.sleep(0)
        client.protocol.data_received(whole[cut:])
        assert (await settle(client)).endswith(b'\r\n\r\n"in two parts"')

    served(desk, ask)


def test_a_full_server_lets_a_request_wait_for_its_turn(tmp_path: Path, weights: Path) -> None:
    limits = Limits(concurrent_requests=1, queued_requests=1)
    app = App("desk", root=tmp_path, trace="errors", limits=limits)
    app.ml_endpoint("/sign", model=weights)(lambda body: body)

    async def ask(connect: Callable[[], Client]) -> None:
        (state,) = app._lives.states
        state.slots.taken = 1  # by another request
        first, second = connect(), connect()
        for client in (first, second):
            client.protocol.data_received(post("/sign"))
        assert (await settle(second))[9:12] == b"429"
        assert first.wire.sent == b""
        state.slots.release()
        assert (await settle(first))[9:12] == b"200"
        assert state.slots.taken == 0

    served(app, ask)


def test_one_of_64_calls_is_traced_whether_direct_or_not(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path, trace="sample")
    app.post("/same")(lambda body: body)

    async def ask(connect: Callable[[], Client]) -> None:
        clients = [connect() for _ in range(64)]
        traced = []
        for _ in range(4):
            for client in clients:
                client.protocol.data_received(post("/same", b"1"))
            traced.append(sum(len(client.server.tasks) for client in clients))
            for client in clients:
                await settle(client)
        assert traced == [17, 1, 1, 1]  # those of a task, of which the first 16 are traced too

    served(app, ask)


async def in_parts(client: Client, parts: Sequence[bytes], wait: float) -> tuple[bytes, int]:
    """Send parts of a request, each in its own read; return the answer and the tasks it took."""
    most = 0
    for part in parts:
        client.protocol.data_received(part)
        await asyncio.sleep(wait)
        most = max(most, len(client.server.tasks))
    return await settle(client), most


@pytest.mark.parametrize(
    ("more", "wait", "tasks"),
    [
        pytest.param("", 0, 0, id="soon"),
        pytest.param("", 2 * BODY_WAIT_SECONDS, 1, id="late"),
        pytest.param("expect: 100-continue", 0, 1, id="asked for"),
    ],
)
def test_a_short_body_in_a_read_of_its_own_is_waited_for(
    more: str, wait: float, tasks: int, desk: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not wait:
        monkeypatch.setattr(http_protocol, "BODY_WAIT_SECONDS", SECONDS)
    head, _, body = post("/same", b'["a", 1]', JSON, *([more] if more else [])).rpartition(b"\r\n")

    async def work(connect: Callable[[], Client]) -> None:
        sent, most = await in_parts(connect(), [head + b"\r\n", body[:3], body[3:]], wait)
        assert sent.endswith(b'\r\n\r\n["a",1]')
        assert most == tasks

    served(desk, work)


def test_a_client_that_leaves_before_its_body_starts_nothing(desk: App) -> None:
    head, _, _ = post("/same").rpartition(b"\r\n")

    async def work(connect: Callable[[], Client]) -> None:
        client = connect()
        client.protocol.data_received(head + b"\r\n")
        client.protocol.connection_lost(None)
        await asyncio.sleep(2 * BODY_WAIT_SECONDS)
        assert not client.server.tasks
        assert client.wire.sent == b""

    served(desk, work)
