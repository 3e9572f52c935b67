"""Slots, quotas, tenants and usage: who is answered now, later, or not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from conduit_lab import App, Limits
from conduit_lab.cli import main
from conduit_lab.core.errors import EndpointError
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces import protocols
from conduit_lab.serving.faces.exchange import Exchange, protocol_route
from conduit_lab.serving.gate.context import context_of
from conduit_lab.serving.gate.hosts import Hosts
from conduit_lab.serving.gate.keys import Key, Keys, new_key
from conduit_lab.serving.gate.metering import DAY_SECONDS, Metering
from conduit_lab.serving.gate.origins import Origins, page
from conduit_lab.serving.gate.slots import Slots
from conduit_lab.serving.gate.tenants import visible_stores
from conduit_lab.serving.run.thread import Server
from tests.export.session import Session
from tests.serving.asgi import ask
from tests.serving.conftest import SECONDS, Ask, until
from tests.serving.faults.raw import connect, read_answer, request


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_a_full_server_queues_then_answers_429_and_health_is_answered(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path, limits=Limits(concurrent_requests=2, queued_requests=3))
    go, entered = threading.Event(), []

    @app.post("/slow")
    def slow(n: int) -> int:
        entered.append(n)
        assert go.wait(SECONDS)
        return n

    with Server(app, port=0) as server, ThreadPoolExecutor(5) as pool:
        (state,) = app._lives.states

        def post(n: int) -> httpx.Response:
            return httpx.post(f"{server.url}/slow", json={"n": n}, timeout=SECONDS)

        answers = [pool.submit(post, n) for n in range(5)]
        until(lambda: len(state.slots.waiting) == 3 and len(entered) == 2)
        rejected = post(9)
        assert rejected.status_code == 429
        assert rejected.json()["error"]["type"] == "too_busy"
        assert int(rejected.headers["retry-after"]) >= 1
        for path in ("/healthz", "/readyz"):
            assert httpx.get(f"{server.url}{path}").status_code == 200
        go.set()
        assert sorted(each.result().json() for each in answers) == [0, 1, 2, 3, 4]
        until(lambda: state.slots.taken == 0)
    assert 9 not in entered


def test_a_client_that_leaves_while_it_waits_is_not_answered(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path, limits=Limits(concurrent_requests=1))
    go, ran = threading.Event(), []

    @app.post("/slow")
    def slow(n: int) -> None:
        ran.append(n)
        assert go.wait(SECONDS)

    with Server(app, port=0) as server:
        (state,) = app._lives.states
        with connect(server) as first, connect(server) as second:
            first.sendall(request("/slow", b'{"n": 1}'))
            until(lambda: ran)
            second.sendall(request("/slow", b'{"n": 2}'))
            until(lambda: len(state.slots.waiting) == 1)
            second.close()
            until(lambda: len(server._uvicorn.server_state.connections) == 1)
            go.set()
            assert read_answer(first).status == 200
            until(lambda: state.slots.taken == 0)
    assert ran == [1]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_slots_go_to_the_oldest_and_survive_cancelled_waiters(anyio_backend: str) -> None:
    slots, order = Slots(), []
    slots.taken = 1

    async def take(n: int) -> None:
        await slots.wait(8)
        order.append(n)

    tasks = [asyncio.create_task(take(n)) for n in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    slots.release()  # to 1
    slots.release()  # to 2, which is cancelled before it wakes: its slot goes to 3
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [1, 3]
    slots.release()
    slots.release()
    assert (slots.taken, len(slots.waiting)) == (-1, 0)  # one release more than was taken here
    with pytest.raises(HttpError, match="too many requests are waiting"):
        await slots.wait(0)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_slot_is_not_given_to_a_waiter_that_is_being_cancelled(anyio_backend: str) -> None:
    slots = Slots()
    slots.taken = 1
    first, second = (asyncio.create_task(slots.wait(8)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    slots.release()
    await asyncio.wait_for(second, SECONDS)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (slots.taken, len(slots.waiting)) == (1, 0)


def test_a_failed_and_a_refused_request_free_their_slot(app: App, asking: Ask) -> None:
    app.limits = Limits(concurrent_requests=1, queued_requests=0, deadline=SECONDS)
    app.get("/fail")(lambda: 1 / 0)
    client = asking(app)
    for _ in range(3):
        assert client.get("/fail").status_code == 500
        assert client.get("/nope").status_code == 404


def test_streams_have_a_limit_of_their_own(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)
    app.limits = Limits(concurrent_streams=2, concurrent_requests=1, queued_requests=0)
    go = threading.Event()

    @app.ml_stream("/wait")
    def wait() -> Iterator[int]:
        yield 1
        assert go.wait(SECONDS)

    app.get("/read")(lambda: 1)
    with Server(app, port=0) as server, httpx.Client(base_url=server.url) as client:
        with client.stream("GET", "/wait"), client.stream("GET", "/wait"):
            until(lambda: len(app.open_streams) == 2)
            rejected = client.get("/wait")
            assert (rejected.status_code, rejected.headers["retry-after"]) == (429, "1")
            assert client.get("/read").json() == 1  # a stream holds no slot of a request
        go.set()
        until(lambda: not app.open_streams)
        assert client.get("/wait").status_code == 200


def test_a_request_waits_for_its_slot_within_the_deadline(app: App, asking: Ask) -> None:
    app.limits = Limits(concurrent_requests=1, deadline=0.1)
    app.get("/read")(lambda: 1)
    client = asking(app)
    (state,) = app._lives.states
    state.slots.taken = 1
    assert client.get("/read").status_code == 504
    assert len(state.slots.waiting) == 0
    state.slots.taken = 0
    assert client.get("/read").status_code == 200


# Keys


def test_a_key_is_made_and_read_again_from_its_line() -> None:
    secret, key = new_key("ann", tenant="acme", requests_per_minute=5)
    assert Key.from_line(key.line()) == key
    assert secret not in key.line() + repr(key)
    assert Keys.from_environment({"CONDUIT_LAB_KEYS": f" {key.line()},\n"}).find(secret.encode())
    assert len(Keys.from_environment({})) == 0
    assert new_key("ann")[0] != new_key("ann")[0]


@pytest.mark.parametrize(
    "line",
    [
        "ann",
        "ann:12",
        ":",
        "a b:" + "0" * 64,
        "ann:" + "0" * 64 + ";rpm=5",
        "ann:" + "0" * 64 + ";requests_per_minute=²",
        "ann:secret",
        "clk_secret",
        "secret;tenant=acme",
    ],
)
def test_a_line_that_is_no_key_is_refused_and_not_shown(line: str) -> None:
    with pytest.raises(EndpointError) as error:
        Keys.from_environment({"CONDUIT_LAB_KEYS": line})
    assert "secret" not in str(error.value)


def test_a_served_app_takes_the_keys_of_the_environment(
    tmp_path: Path, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = new_key("ann")
    monkeypatch.setenv("CONDUIT_LAB_KEYS", key.line())
    monkeypatch.setenv("CONDUIT_LAB_BODY_BYTES", "10")
    monkeypatch.setenv("CONDUIT_LAB_HOSTS", "desk.example.org, testserver")
    monkeypatch.setenv("CONDUIT_LAB_ORIGINS", "https://good.example")
    app = App("desk", root=tmp_path, hosts=["other.example"])
    app.post("/echo")(lambda value: value)
    assert app.hosts.names == ("desk.example.org", "testserver")
    client = asking(app)
    assert client.post("/echo", json=1).status_code == 401
    headers = {**bearer(secret), "origin": "https://good.example"}
    answer = client.post("/echo", json=1, headers=headers)
    assert (answer.status_code, answer.headers["vary"]) == (200, "Origin")
    assert client.post("/echo", json="a" * 10, headers=bearer(secret)).status_code == 413


def test_open_paths_need_no_key(tmp_path: Path, asking: Ask) -> None:
    app = App("desk", root=tmp_path, keys=Keys([new_key("ann")[1]], open_paths=["/read"]))
    app.get("/read")(lambda: 1)
    app.get("/other")(lambda: 1)
    client = asking(app)
    assert [client.get(path).status_code for path in ("/read", "/other")] == [200, 401]


def test_a_key_names_the_endpoints_of_a_404(tmp_path: Path, asking: Ask) -> None:
    secret, key = new_key("ann")
    app = App("desk", root=tmp_path, keys=[key])
    app.get("/read")(lambda: 1)
    answer = asking(app).get("/nope", headers=bearer(secret))
    assert "GET /read" in answer.json()["error"]["message"]


def test_the_command_prints_a_key_once_and_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "ann", "--tenant", "acme", "--requests-per-minute", "5"]) == 0
    lines = capsys.readouterr().out.split("\n")
    secret, entry = lines[1].strip(), lines[3].strip().removeprefix("CONDUIT_LAB_KEYS=")
    key = Keys.from_environment({"CONDUIT_LAB_KEYS": entry.strip("'")}).find(secret.encode())
    assert key is not None
    assert (key.name, key.tenant, key.requests_per_minute) == ("ann", "acme", 5)
    assert main(["key", "a b"]) == 1
    assert "a key's name expects" in capsys.readouterr().err


def test_an_export_has_hosts_and_origins_and_no_keys(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.lab._set_options(
        hosts=["desk.example"], origins=["https://a.example"], keys=[new_key("ann")[1]]
    )
    session.run('@lab.post("/echo")\ndef echo(n: int): return n', "echo(1)")
    source = session.source()
    assert 'hosts=["desk.example"], origins=["https://a.example"])' in source
    assert "ann" not in source


# Quota and usage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_quota_is_a_429_until_its_window_ends() -> None:
    clock = Clock()
    metering = Metering(clock)
    key = new_key("ann", requests_per_minute=2)[1]
    for _ in range(2):
        metering.begin(key, Limits())
    clock.now += 20
    with pytest.raises(HttpError) as refused:
        metering.begin(key, Limits())
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "40"})
    clock.now += 40
    metering.begin(key, Limits())
    assert metering.usage(key)["requests"] == 3


def test_tokens_count_towards_the_day_of_their_key() -> None:
    clock = Clock()
    metering, limits = Metering(clock), Limits(tokens_per_day=100)
    ann, bob = new_key("ann")[1], new_key("bob", tokens_per_day=1000)[1]
    for key in (ann, bob):
        metering.begin(key, limits)
        metering.count(key, 70, 40)
    with pytest.raises(HttpError, match="100 tokens per day"):
        metering.begin(ann, limits)
    metering.begin(bob, limits)
    clock.now += DAY_SECONDS
    metering.begin(ann, limits)


def _protocol(app: EndpointHost) -> list[Any]:
    async def spend(exchange: Exchange) -> None:
        exchange.context.count_tokens(30, 12)
        await exchange.send({"stores": sorted(visible_stores(exchange.context))})

    def shouted(error: HttpError, request_id: str) -> bytes:
        return b'"%d!"' % error.status

    return [protocol_route(app, "spend", "/spend/{n}", spend, error_body=shouted)]


def test_a_tenant_sees_its_own_stores_and_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "protocol_routes", _protocol)
    monkeypatch.setattr("conduit_lab.serving.routes.protocol_routes", _protocol)
    made = {
        "ann": new_key("ann", tenant="acme"),
        "abe": new_key("abe", tenant="acme", requests_per_minute=1),
        "bob": new_key("bob", tenant="other"),
        "boss": new_key("boss"),
    }
    app = App("desk", root=tmp_path, keys=[key for _, key in made.values()])
    for name, tenant in (("notes", "acme"), ("plans", "other"), ("shared", None)):
        app.vector_store(name, dimension=2, tenant=tenant)
    with TestClient(app) as client:

        def ask_as(name: str, method: str, path: str) -> Any:
            return client.request(method, path, headers=bearer(made[name][0]))

        seen = {name: ask_as(name, "POST", "/spend/1").json()["stores"] for name in made}
        assert seen == {
            "ann": ["notes", "shared"],
            "abe": ["notes", "shared"],
            "bob": ["plans", "shared"],
            "boss": ["notes", "plans", "shared"],
        }
        refused = ask_as("abe", "POST", "/spend/1")
        assert (refused.status_code, refused.text) == (429, '"429!"')
        assert client.post("/spend/1").text == '"401!"'  # in the form of the protocol
        evil = {"origin": "https://evil.example", **bearer(made["ann"][0])}
        assert client.post("/spend/1", headers=evil).text == '"403!"'
        usage = ask_as("ann", "GET", "/v1/usage").json()
        assert usage["tenant"] == "acme"
        assert (usage["prompt_tokens"], usage["generated_tokens"]) == (60, 24)
        assert usage["requests_by_key"] == {"ann": 2, "abe": 1}
        assert ask_as("boss", "GET", "/v1/usage").json()["requests"] == 2
    for store in app.stores.values():
        store.close()


def test_the_name_of_a_store_belongs_to_one_tenant(app: App) -> None:
    store = app.vector_store("notes", dimension=2, tenant="acme")
    assert app.vector_store("notes", tenant="acme") is store
    with pytest.raises(EndpointError, match="'other-notes'"):
        app.vector_store("notes", tenant="other")
    store.close()


def test_the_repr_of_an_app_shows_its_limits_and_counts_its_keys(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path, limits=Limits(body_bytes=9), keys=[new_key("ann")[1]])
    assert "1 key · Limits(body_bytes=9)" in repr(app)


def test_an_app_without_keys_has_no_usage(app: App, asking: Ask) -> None:
    assert asking(app).get("/v1/usage").status_code == 404


# Pages


def test_every_origin_may_be_allowed_and_null_is_none() -> None:
    origins = Origins(["*"])
    assert origins.check({b"origin": b"https://a.example"}, bool) == b"https://a.example"
    with pytest.raises(HttpError, match="another site"):
        origins.check({b"origin": b"null"}, bool)
    for wrong in ("a.example", "https://a.example/", "https://A.example", ""):
        with pytest.raises(EndpointError, match="origins= expects"):
            Origins([wrong])


@pytest.mark.parametrize(
    "wrong", ["http://a.example", "a.example:80", "a.example/x", "", "*.", "a b"]
)
def test_a_host_that_is_no_name_is_refused(wrong: str) -> None:
    with pytest.raises(EndpointError, match="hosts= expects names"):
        Hosts([wrong])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("path", ["/spend/{n}", "/spend"])
async def test_a_link_of_another_site_opens_a_page(
    app: App, anyio_backend: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def routes(app: EndpointHost) -> list[Any]:
        async def show(exchange: Exchange) -> None:
            await exchange.send(context_of(exchange._scope).id)

        made = protocol_route(app, "show", path, show, methods=["GET"], error_body=lambda *_: b"")
        return [page(made)]

    monkeypatch.setattr("conduit_lab.serving.routes.protocol_routes", routes)
    link = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-dest", b"document")]
    target = path.replace("{n}", "1")
    (answer, _) = await ask(app, target, method="GET", headers=link)
    assert answer["status"] == 200
    frame = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-dest", b"iframe")]
    (answer, _) = await ask(app, target, method="GET", headers=frame)
    assert answer["status"] == 403
