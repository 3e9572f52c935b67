"""Answers of MCP sessions that go on at another connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import httpx
import mcp.types as types
import pytest
from mcp import Client
from mcp.server.mcpserver import Context
from mcp.server.streamable_http import EventMessage

from conduit_lab import App
from conduit_lab.serving.faces import mcp_journal
from conduit_lab.serving.faces.mcp import mcp_server
from conduit_lab.serving.faces.mcp_journal import Journal, SessionJournal
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server

SECONDS = 20.0
RESUMABLE, OLDER = "2025-11-25", "2025-06-18"


class Desk:
    """An app whose stream stops after its first chunk until `go` is set."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.app = App("desk", root=folder, protocols=["mcp"], **options)
        self.go = threading.Event()

        @self.app.ml_stream("/count")
        def count(n: int) -> Iterator[int]:
            yield 0
            assert self.go.wait(SECONDS)
            yield from range(1, n)

        @mcp_server(self.app).tool()
        async def leave_and_return(ctx: Context[Any, Any]) -> str:
            await anyio.sleep(0.1)  # its client has the first event
            await ctx.close_sse_stream()
            await anyio.sleep(0.1)
            return "done"


class Session:
    """A session of the handshake, message by message."""

    def __init__(self, server: Server, revision: str, key: str = "") -> None:
        headers = {"accept": "application/json, text/event-stream"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=server.url, headers=headers, timeout=SECONDS)
        client = {"name": "test", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": client}
        with self.asking("initialize", params) as answer:
            answer.read()
            self.http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        self.http.headers["mcp-protocol-version"] = revision
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.http.post("/mcp", json=body).status_code == 202

    def asking(self, method: str, params: Any) -> Any:
        """Return the stream of the answer to a request, as a context manager."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.http.stream("POST", "/mcp", json=body)

    def counting(self) -> Any:
        """Return the stream of the answer to a call that reports each chunk."""
        meta = {"progressToken": "p"}
        params = {"name": "count", "arguments": {"n": 3}, "_meta": meta}
        return self.asking("tools/call", params)

    def resuming(self, last_event_id: str) -> Any:
        """Return the stream of the events after one, as a context manager."""
        return self.http.stream("GET", "/mcp", headers={"last-event-id": last_event_id})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.go.set()


Begin = Callable[..., Session]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """`Session`, whose connections are closed after the test."""
    with ExitStack() as stack:

        def begin(server: Server, revision: str = RESUMABLE, key: str = "") -> Session:
            session = Session(server, revision, key)
            stack.callback(session.http.close)
            return session

        yield begin


@pytest.fixture
def server(desk: Desk) -> Iterator[Server]:
    with Server(desk.app, port=0) as server:
        yield server
        desk.go.set()


def events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Yield the fields of each event, up to the end of the answer."""
    fields: dict[str, str] = {}
    deadline = monotonic() + SECONDS
    for line in answer.iter_lines():
        assert monotonic() < deadline, "the answer has no end"
        if line.startswith(":"):  # also each 15 s
            continue
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        elif fields:
            yield fields
            fields = {}


def kind(event: dict[str, str]) -> Any:
    """Return the progress that an event reports, or its result."""
    message = json.loads(event["data"])
    if "method" in message:
        return message["params"]["progress"]
    return message["result"]["structuredContent"]["chunks"]


def begun(session: Session) -> tuple[dict[str, str], dict[str, str]]:
    """Return the first two events of a call whose connection is closed after them."""
    with session.counting() as answer:
        coming = events(answer)
        return next(coming), next(coming)


def test_an_answer_begins_with_an_id_and_a_retry(server: Server, begin: Begin) -> None:
    first, second = begun(begin(server))
    assert (first["data"], first["retry"]) == ("", "1000")
    assert first["id"] != second["id"]
    assert kind(second) == 1


@pytest.mark.parametrize("finished", [True, False], ids=["kept", "to come"])
def test_the_rest_of_an_answer_comes_at_a_second_connection(
    desk: Desk, server: Server, begin: Begin, finished: bool
) -> None:
    session = begin(server)
    first, second = begun(session)
    if finished:
        desk.go.set()
    with session.resuming(second["id"]) as answer:
        desk.go.set()
        assert [kind(event) for event in events(answer)] == [2, 3, [0, 1, 2]]
    with session.resuming(first["id"]) as answer:  # again, and from the first message on
        assert [kind(event) for event in events(answer)] == [1, 2, 3, [0, 1, 2]]


def test_a_client_of_an_older_revision_gets_no_ids(
    desk: Desk, server: Server, begin: Begin
) -> None:
    desk.go.set()
    with begin(server, OLDER).counting() as answer:
        every = list(events(answer))
    assert [kind(event) for event in every] == [1, 2, 3, [0, 1, 2]]
    assert all("id" not in event and "retry" not in event for event in every)


@pytest.mark.parametrize("change", ["{}x", "x{}", "0:0", ":", "{}" + 5000 * "9"])
def test_an_unknown_event_gives_nothing(
    desk: Desk, server: Server, begin: Begin, change: str
) -> None:
    session = begin(server)
    _, second = begun(session)
    desk.go.set()
    with session.resuming(change.format(second["id"])) as answer:
        assert list(events(answer)) == []


def test_an_answer_is_of_one_session_and_one_key(tmp_path: Path, begin: Begin) -> None:
    (ours, key), (theirs, other) = new_key("ours"), new_key("theirs")
    desk = Desk(tmp_path, keys=[key, other])
    desk.go.set()
    with Server(desk.app, port=0) as server:
        session = begin(server, RESUMABLE, ours)
        _, second = begun(session)
        with begin(server, RESUMABLE, ours).resuming(second["id"]) as answer:
            assert list(events(answer)) == []
        session.http.headers["authorization"] = f"Bearer {theirs}"
        with session.resuming(second["id"]) as answer:
            assert list(events(answer)) == []
        session.http.headers["authorization"] = f"Bearer {ours}"
        with session.resuming(second["id"]) as answer:
            assert [kind(event) for event in events(answer)] == [2, 3, [0, 1, 2]]


def test_the_end_of_a_session_ends_the_connections_that_wait(server: Server, begin: Begin) -> None:
    session = begin(server)
    _, second = begun(session)
    with session.resuming(second["id"]) as answer:
        assert session.http.delete("/mcp").status_code == 200
        assert list(events(answer)) == []


def test_a_tool_may_send_its_client_away(server: Server) -> None:
    async def call() -> Any:
        async with Client(f"{server.url}/mcp", mode="legacy") as client:
            assert client.protocol_version == RESUMABLE
            with anyio.fail_after(SECONDS):
                return await client.call_tool("leave_and_return", {})

    assert anyio.run(call).structured_content == {"result": "done"}


def test_the_journal_drops_the_answers_that_stopped_growing_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp_journal, "MAX_JOURNAL_BYTES", 10_000)

    async def replayed(session: SessionJournal, event_id: str) -> list[Any]:
        found: list[Any] = []

        async def send(event: EventMessage) -> None:
            found.append(getattr(event.message, "result", None))

        with anyio.fail_after(SECONDS):
            await session.replay_events_after(event_id, send)
        return found

    async def run() -> None:
        session = SessionJournal(Journal())
        first, second, third = [await session.store_event(name, None) for name in "123"]
        for name, size in (("2", 3000), ("1", 3000), ("3", 3000)):
            result = {"text": size * "x"}
            await session.store_event(
                name, types.JSONRPCResponse(jsonrpc="2.0", id=name, result=result)
            )
        assert await replayed(session, second) == []
        assert [len(each["text"]) for each in await replayed(session, first)] == [3000]
        large = types.JSONRPCResponse(jsonrpc="2.0", id="4", result={"text": 20_000 * "x"})
        fourth = await session.store_event("4", None)
        await session.store_event("4", large)
        assert await replayed(session, fourth) == [large.result]  # the newest one is kept
        assert await replayed(session, first) == await replayed(session, third) == []

    anyio.run(run)
