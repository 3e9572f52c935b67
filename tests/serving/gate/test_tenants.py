"""Callers and tenants: code knows its caller, and uses only that tenant's stores."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from conduit_lab import (
    App,
    Cached,
    Caller,
    Function,
    Rag,
    Request,
    Stream,
    VectorStore,
    current_caller,
    new_key,
)
from conduit_lab.core.caller import called_by
from conduit_lab.core.errors import TenantError
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import SECONDS
from tests.serving.faces.language.desks import PASSAGE, QUESTION, Quoter

SECRETS, KEYS = {}, []
for name, tenant in (("ann", "red"), ("bob", "blue"), ("eve", None)):
    SECRETS[name], key = new_key(name, tenant=tenant)
    KEYS.append(key)
ANN, BOB, EVE = Caller("ann", "red"), Caller("bob", "blue"), Caller("eve")
CALLERS = {each.name: each for each in (ANN, BOB, EVE)}


def shown(caller: Caller | None) -> list[str | None]:
    return [] if caller is None else [caller.name, caller.tenant]


class Desk(App):
    """An app whose endpoints say who calls them, and whose stores have tenants."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            "desk",
            root=root,
            keys=KEYS,
            protocols=["openai", "aisdk", "agui", "mcp", "stores"],
            trace="always",
        )
        self.together = threading.Barrier(2)
        self._add_who()
        for tenant in ("red", "blue"):
            store = self.vector_store(f"{tenant}-notes", dimension=2, tenant=tenant)
            store.add("a", [1, 0], {}, f"{PASSAGE} Only for {tenant}.")
            self.rag(f"/{tenant}", Rag(store, Quoter(), mode="lexical"))

        @self.post("/find")
        def find(store: str) -> list[str]:
            return [hit.id for hit in self.stores[store].search("refund", mode="lexical")]

        @self.ml_stream("/find-later")
        def find_later(store: str) -> Iterator[Any]:
            yield "first"
            yield len(self.stores[store])

        @self.ml_stream("/kept", resume=SECONDS)
        def kept() -> Iterator[int]:
            yield from range(3)

    def _add_who(self) -> None:
        @self.post("/request")
        def of_request(request: Request) -> Any:
            return shown(request.caller)

        @self.post("/sync")
        def sync() -> Any:
            self.together.wait(SECONDS)  # on a thread, beside the other tenant's call
            return shown(current_caller())

        @self.post("/async")
        async def waiting() -> Any:
            await asyncio.sleep(0)
            there = await anyio.to_thread.run_sync(current_caller)
            return shown(current_caller()) if there == current_caller() else "another"

        @self.ml_stream("/stream")
        def stream() -> Iterator[Any]:
            for _ in range(3):
                self.together.wait(SECONDS)
                yield shown(current_caller())

        @self.ml_stream("/astream")
        async def astream() -> AsyncIterator[Any]:
            for _ in range(3):
                await anyio.sleep(0.002)
                yield shown(current_caller())

        @self.ml_stream("/nested")
        def nested() -> Iterator[Any]:
            yield from Stream(shown(current_caller()) for _ in range(3))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Desk(tmp_path_factory.mktemp("desk")), port=0) as server:
        yield server


def client_of(server: Server, name: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {SECRETS[name]}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=SECONDS)


def data(text: str) -> list[Any]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("path", ["/request", "/sync", "/async", "/stream", "/astream", "/nested"])
def test_each_of_two_tenants_at_once_is_its_own_caller(server: Server, path: str) -> None:
    def ask(name: str) -> None:
        with client_of(server, name) as client:
            for _ in range(4):
                answer = client.post(path, json={})
                assert answer.status_code == 200, answer.text
                expected = shown(CALLERS[name])
                if "stream" in path or path == "/nested":
                    assert data(answer.text)[:3] == [expected] * 3
                else:
                    assert answer.json() == expected

    with ThreadPoolExecutor(2) as pool:
        for asked in [pool.submit(ask, name) for name in ("ann", "bob")]:
            asked.result(SECONDS)


def test_a_get_knows_the_caller_too(server: Server) -> None:
    with client_of(server, "bob") as client:
        assert data(client.get("/astream").text)[0] == ["bob", "blue"]


def agent(server: Server, name: str, use: Callable[[Client], Awaitable[Any]], mode: Any) -> Any:
    async def run() -> Any:
        headers = {"authorization": f"Bearer {SECRETS[name]}"}
        async with create_mcp_http_client(headers=headers) as http:
            transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await use(client)

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_of_an_agent_are_those_of_its_tenant(server: Server, mode: str) -> None:
    async def use(client: Client) -> tuple[Any, list[str], str]:
        who = (await client.call_tool("of_request", {})).structured_content
        tools = [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("red", {"question": QUESTION})
        return who, [name for name in tools if name in ("red", "blue")], str(answer.content)

    who, tools, answer = agent(server, "bob", use, mode)
    assert (who, tools) == ({"result": ["bob", "blue"]}, ["blue"])
    assert "refund takes" not in answer
    who, tools, answer = agent(server, "ann", use, mode)
    assert (who, tools) == ({"result": ["ann", "red"]}, ["red"])
    assert "refund takes" in answer


def test_a_caller_cannot_be_changed_and_holds_no_secret() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ANN.tenant = "blue"  # type: ignore[misc]
    assert [field.name for field in dataclasses.fields(Caller)] == ["name", "tenant"]


def test_without_keys_and_after_a_request_nobody_calls(tmp_path: Path) -> None:
    app = App("open", root=tmp_path)
    app.post("/who")(lambda request: [shown(request.caller), shown(current_caller())])
    with Server(app, port=0) as server:
        assert httpx.post(f"{server.url}/who", json=1, timeout=SECONDS).json() == [[], []]
    assert Request().caller is None
    with called_by(ANN):
        assert Request().caller == ANN
    assert Request(caller=BOB).caller == BOB
    assert current_caller() is None


# Stores and Rags


CHAT = [{"id": "1", "role": "user", "content": QUESTION}]
PARTS = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}]
RAG: dict[str, tuple[str, Any]] = {
    "value": ("/red", {"question": QUESTION}),
    "stream": ("/red/stream", {"question": QUESTION}),
    "aisdk": ("/aisdk/red", {"messages": PARTS}),
    "agui": ("/agui/red", {"threadId": "t", "runId": "r", "messages": CHAT}),
    "openai": ("/v1/chat/completions", {"model": "red", "messages": CHAT}),
}


@pytest.mark.usefixtures("headers_wait")
@pytest.mark.parametrize("face", RAG)
def test_a_rag_answers_its_own_tenant_alone(server: Server, face: str) -> None:
    path, body = RAG[face]
    statuses = {}
    for name in CALLERS:
        with client_of(server, name) as client:
            answer = client.post(path, json=body)
        statuses[name] = answer.status_code
        assert ("refund takes" in answer.text) == (answer.status_code == 200)
        assert answer.status_code == 200 or "red-notes" not in answer.text
    assert statuses == {"ann": 200, "bob": 404, "eve": 200}


def test_lists_hide_the_rags_of_other_tenants(server: Server) -> None:
    seen = {}
    for name in ("ann", "bob", "eve", "ann"):
        with client_of(server, name) as client:
            paths = client.get("/openapi.json").json()["paths"]
            info = [each["path"] for each in client.get("/v1/info").json()["endpoints"]]
        for known in (paths, info):
            seen[name] = [tenant for tenant in ("red", "blue") if f"/{tenant}/stream" in known]
        assert "/find" in paths
    assert seen == {"ann": ["red"], "bob": ["blue"], "eve": ["red", "blue"]}


def test_a_wrong_path_lists_the_endpoints_of_its_tenant_alone(server: Server) -> None:
    seen = {}
    for name in CALLERS:
        with client_of(server, name) as client:
            text = client.get("/nothing").json()["error"]["message"]
        seen[name] = [tenant for tenant in ("red", "blue") if f"POST /{tenant}," in text]
    assert seen == {"ann": ["red"], "bob": ["blue"], "eve": ["red", "blue"]}


def test_the_metrics_of_all_tenants_are_for_keys_without_one(server: Server) -> None:
    statuses = {}
    for name in CALLERS:
        with client_of(server, name) as client:
            answer = client.get("/metrics")
        statuses[name] = answer.status_code
        assert ("conduit_requests_total" in answer.text) == (answer.status_code == 200)
    assert statuses == {"ann": 403, "bob": 403, "eve": 200}


INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "agent", "version": "1"},
}


def test_a_session_of_an_agent_is_for_its_key_alone(server: Server) -> None:
    headers = {"accept": "application/json, text/event-stream"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    with client_of(server, "ann") as ann, client_of(server, "bob") as bob:
        begun = ann.post("/mcp", json=message, headers=headers)
        headers |= {
            "mcp-session-id": begun.headers["mcp-session-id"],
            "mcp-protocol-version": "2025-06-18",
        }
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert bob.post("/mcp", json=ping, headers=headers).status_code == 404
        assert bob.get("/mcp", headers=headers).status_code == 404
        assert bob.delete("/mcp", headers=headers).status_code == 404
        assert ann.post("/mcp", json=ping, headers=headers).status_code == 200
        assert ann.delete("/mcp", headers=headers).status_code == 200


def test_own_code_does_not_reach_the_store_of_another_tenant(server: Server) -> None:
    with client_of(server, "bob") as client:
        assert client.post("/find", json={"store": "blue-notes"}).json() == ["a"]
        refused = client.post("/find", json={"store": "red-notes"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found")
        assert "red" not in refused.text
        later = data(client.post("/find-later", json={"store": "red-notes"}).text)
        assert later[0] == "first"
        assert later[-1]["type"] == "not_found"
    with client_of(server, "eve") as client:
        assert client.post("/find", json={"store": "red-notes"}).json() == ["a"]


def test_a_stream_is_resumed_by_the_key_that_began_it(server: Server) -> None:
    with client_of(server, "ann") as client:
        text = client.post("/kept", json={}).text
    first = next(line[4:] for line in text.splitlines() if line.startswith("id: "))
    again = {"last-event-id": first}
    with client_of(server, "bob") as client:
        assert client.post("/kept", json={}, headers=again).status_code == 410
    with client_of(server, "ann") as client:
        assert data(client.post("/kept", json={}, headers=again).text)[:2] == [1, 2]


def test_every_use_of_a_store_asks_for_the_tenant() -> None:
    with VectorStore(2, name="notes") as store:
        store.add("a", [1, 0])
        store.tenant = "red"
        uses: list[Callable[[], object]] = [
            lambda: store.search([1, 0]),
            lambda: store.get("a"),
            lambda: store.add("b", [0, 1]),
            lambda: store.delete("a"),
            lambda: list(store.entries()),
            lambda: "a" in store,
            lambda: len(store),
        ]
        with called_by(BOB):
            for use in uses:
                with pytest.raises(TenantError, match=r"'notes' belongs to tenant 'red'.*bob"):
                    use()
        for caller in (ANN, EVE, None):
            with called_by(caller):
                assert len(store) == 1


def test_a_kept_result_is_that_of_the_same_tenant() -> None:
    ran: list[Caller | None] = []

    def note(text: str) -> str:
        ran.append(current_caller())
        return text

    cached = Cached(Function(note))
    for caller in (ANN, BOB, Caller("al", "red"), BOB, EVE, None):
        with called_by(caller):
            cached("x")
    assert ran == [ANN, BOB, EVE]
