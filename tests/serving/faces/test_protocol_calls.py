"""Calls by a protocol run as a request to an endpoint does: traced, paced, cancelled, counted."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import App, Generator, Lab, Limits, VectorStore
from conduit_lab.core.trace.span import Span, current
from conduit_lab.flow.fallback import Fallback
from conduit_lab.serving import handler_threads, trace_sampling
from conduit_lab.serving.faces import rerank
from conduit_lab.serving.gate import departure
from conduit_lab.serving.handler_pace import FIRST_SHORT_CALLS
from conduit_lab.serving.tool import tool_answer, tool_request
from conduit_lab.serving.trace_sampling import FIRST_TRACED_CALLS
from tests.models.generation.writers import DECODERS
from tests.models.text import rerankers
from tests.serving.conftest import SECONDS, Ask
from tests.serving.faces.inference import linear_request, make_app
from tests.serving.gate.test_departure import Client, until

CHAT = {"messages": [{"role": "user", "content": "hello"}], "model": "chat", "max_tokens": 3}
CALLS = FIRST_TRACED_CALLS + 4


class Tree:
    """An observer that keeps the names of each root span and of the spans below it."""

    def __init__(self) -> None:
        self.roots: list[list[str]] = []
        self._open: set[int] = set()

    def span_started(self, span: Span) -> None:
        if span._parent is None:
            self._open.add(id(span))

    def span_ended(self, span: Span) -> None:
        if id(span) in self._open:
            self._open.remove(id(span))
            self.roots.append([each.name for _, each in span.walk()])


def post(client: Any, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer


def call_tool(client: Any, name: str, arguments: Any) -> Any:
    path, headers, body = tool_request(name, arguments)
    answer = client.post(path, headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    found, problem = tool_answer(answer.content)
    return problem or found


def make_desk(root: Path, **options: Any) -> App:
    """Return an app that speaks every protocol, with an endpoint of each shape."""
    spoken = ["openai", "anthropic", "rerank", "aisdk", "agui", "inference", "mcp", "stores"]
    app = App("desk", root=root, protocols=spoken, **options)
    app.load_model(DECODERS / "llama", name="chat", device="cpu")
    app.load_model(rerankers.folder(root / "overlap"), name="overlap", device="cpu")
    store = app.stores["notes"] = VectorStore(2, name="notes")
    store.add("a", [1, 0], {}, "kettle")

    def fails(value: Any) -> None:
        raise OSError("broken")

    either = Fallback(fails, lambda value: value + 1, name="either")

    @app.post("/double")
    def double(value: int) -> int:
        return 2 * int(either(value)) - 2

    @app.ml_stream("/count")
    def count(text: str) -> Iterator[str]:
        yield from text

    return app


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[App]:
    app = make_desk(tmp_path)
    yield app
    unload(app)


def unload(app: App) -> None:
    for model in app.models:
        if isinstance(model, Generator):
            model.unload()


USER = {"role": "user", "content": "ab", "parts": [{"type": "text", "text": "ab"}]}
# (root span, spans below it, path, body) per protocol
BY_HTTP: list[tuple[str, list[str], str, Any]] = [
    ("openai /v1/chat/completions", ["chat"], "/v1/chat/completions", CHAT),
    ("openai /v1/chat/completions", ["chat"], "/v1/chat/completions", {**CHAT, "stream": True}),
    ("openai /v1/completions", ["chat"], "/v1/completions", {"model": "chat", "prompt": "a"}),
    ("anthropic /v1/messages", ["chat"], "/v1/messages", CHAT),
    ("anthropic /v1/messages/count_tokens", [], "/v1/messages/count_tokens", CHAT),
    ("aisdk /aisdk/chat", ["chat"], "/aisdk/chat", {"messages": [USER]}),
    ("aisdk /aisdk/count", ["count"], "/aisdk/count", {"messages": [USER]}),
    ("agui /agui/count", ["count"], "/agui/count", {"messages": [USER]}),
    (
        "rerank /v1/rerank",
        ["overlap"],
        "/v1/rerank",
        {"query": "a kettle", "documents": ["a kettle", "no"]},
    ),
    (
        "stores /v1/stores/{name}/search",
        ["notes"],
        "/v1/stores/notes/search",
        {"query": [1, 0]},
    ),
]


def test_a_call_is_one_root_span_with_its_stages_below(desk: App, asking: Ask) -> None:
    tree = Tree()
    desk.observers.append(tree)
    client = asking(desk)
    for root, below, path, body in BY_HTTP:
        post(client, path, body)
        assert tree.roots.pop() == [root, *below]
        assert not tree.roots
    assert call_tool(client, "double", {"value": 4}) == {"result": 8}
    assert call_tool(client, "count", {"text": "ab"}) == {"chunks": ["a", "b"]}
    [names, streamed] = tree.roots
    assert names[:2] == ["mcp tools/call", "double"]
    assert "either" in names
    assert streamed == ["mcp tools/call", "count"]
    assert "inference /v2/models/{model}/infer" not in desk.statistics


def test_every_call_counts_once_however_it_is_traced(
    tmp_path: Path, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_sampling, "FIRST_TRACED_CALLS", 1)
    monkeypatch.setattr(trace_sampling, "SAMPLE_EVERY", 3)
    counts, calls = {}, 4
    for mode in ("always", "sample", "errors"):
        app = make_desk(tmp_path / mode, trace=mode)
        client = asking(app)
        tree = Tree()
        if mode == "errors":
            app.observers.append(tree)
        for _ in range(calls):
            for _, _, path, body in BY_HTTP:
                post(client, path, body)
            call_tool(client, "double", {"value": 4})
        assert tree.roots == []
        assert client.post("/v1/rerank", json={"query": ""}).status_code == 400
        assert "Field required" in call_tool(client, "double", {"number": 4})
        counts[mode] = {name: (each.calls, each.errors) for name, each in app.statistics.items()}
        if mode == "errors":
            assert tree.roots == [["rerank /v1/rerank"], ["mcp tools/call"]]
        unload(app)
    assert counts["always"] == counts["sample"] == counts["errors"]
    assert counts["sample"]["openai /v1/chat/completions"] == (2 * calls, 0)
    assert counts["sample"]["chat"] == (5 * calls, 0)
    assert counts["sample"]["rerank /v1/rerank"] == (calls + 1, 1)
    assert counts["sample"]["mcp tools/call"] == (calls + 1, 1)


@pytest.mark.parametrize(
    ("mode", "traced"), [("always", CALLS), ("sample", FIRST_TRACED_CALLS), ("errors", 0)]
)
def test_a_served_stream_is_traced_as_the_app_says(
    tmp_path: Path, asking: Ask, mode: Any, traced: int
) -> None:
    app = App("desk", root=tmp_path, trace=mode)
    seen: list[bool] = []

    @app.ml_stream("/parts")
    def parts(n: int) -> Iterator[float]:
        seen.append(current() is not None)
        yield 1.0
        yield 1 / n

    client = asking(app)
    for _ in range(CALLS):
        assert client.post("/parts", json={"n": 1}).text.count("data:") == 2
    assert seen.count(True) == traced
    tree = Tree()
    app.observers.append(tree)
    assert "error" in client.post("/parts", json={"n": 0}).text
    assert tree.roots == [["parts"]]
    assert (app.statistics["parts"].calls, app.statistics["parts"].errors) == (CALLS + 1, 1)


def test_a_fallback_is_told_in_every_answer_of_a_protocol(desk: App, asking: Ask) -> None:
    @desk.ml_stream("/either")
    def either(text: str) -> Iterator[str]:
        return iter([text])

    broken = desk.endpoints["double"]

    @desk.ml_stream("/spared")
    def spared(text: str) -> Any:
        broken(1)
        return iter([text])

    client = asking(desk)
    for path in ("/spared", "/aisdk/spared", "/agui/spared"):
        for _ in range(CALLS):
            body = {"text": "a"} if path == "/spared" else {"messages": [USER]}
            headers = post(client, path, body).headers
            assert headers["x-conduit-fallback"]
    assert "x-conduit-fallback" not in post(client, "/aisdk/either", {"messages": [USER]}).headers


def test_short_work_of_a_protocol_moves_to_the_event_loop(
    desk: App, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def score(model: Any, query: str, texts: list[str]) -> Any:
        threads.append(threading.get_ident())
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # as on a thread
        return np.ones(len(texts), np.float32), 0

    monkeypatch.setattr(rerank, "_score", score)
    handler: list[int] = []

    @desk.post("/where")
    def where(value: int) -> int:
        handler.append(threading.get_ident())
        return value

    client = asking(desk)
    loops: list[int] = []

    @desk.get("/loop")
    async def loop() -> int:
        loops.append(threading.get_ident())
        return 1

    client.get("/loop")
    for _ in range(40 * FIRST_SHORT_CALLS):
        post(client, "/v1/rerank", {"query": "a", "documents": ["a"]})
        call_tool(client, "where", {"value": 1})
        if threads[-1] == handler[-1] == loops[0]:
            break
    assert threads[0] != loops[0]
    assert handler[0] != loops[0]
    assert threads[-1] == handler[-1] == loops[0]


@pytest.mark.parametrize("path", ["/v1/rerank", "/mcp", "/aisdk/stuck"])
def test_a_call_whose_client_leaves_is_abandoned_within_the_bound(
    desk: App, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(handler_threads, "MAX_ABANDONED_THREADS", 2)
    go, began = threading.Event(), []

    def stuck(*args: Any) -> Any:
        began.append(args)
        assert go.wait(SECONDS)
        return np.ones(1, np.float32), 0

    monkeypatch.setattr(rerank, "_score", stuck)

    @desk.post("/held")
    def held(value: int) -> str:
        stuck(value)
        return "held"

    @desk.ml_stream("/stuck")
    def handler(text: str) -> Any:
        stuck(text)
        return iter("ab")

    bodies: dict[str, Any] = {
        "/v1/rerank": {"query": "a", "documents": ["a"]},
        "/aisdk/stuck": {"messages": [USER]},
    }

    async def main() -> None:
        async with desk.lifespan() as state:
            clients = [asked(desk, path, bodies.get(path), state) for _ in range(2)]
            await until(lambda: len(began) == 2)
            for client in clients:
                await client.leave()
            assert desk.handler_threads.abandoned == 2
            refused = asked(desk, path, bodies.get(path), state)
            await refused.task
            told = b"".join(each.get("body", b"") for each in refused.messages)
            assert b"too many calls are still running" in told
            go.set()
            await until(lambda: desk.handler_threads.abandoned == 0)
            again = asked(desk, path, bodies.get(path), state)
            await again.task
            assert again.messages[0]["status"] == 200

    asyncio.run(main())


def asked(app: App, path: str, body: Any, state: Any) -> Client:
    """Return one request to a protocol, whose client can disconnect."""
    headers: dict[str, str] = {"content-type": "application/json"}
    content = json.dumps(body).encode()
    if path == "/mcp":
        _, headers, content = tool_request("held", {"value": 1})
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Client(app, path, content, headers=pairs, state=dict(state), scheme="http")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/aisdk/chat"])
def test_generations_of_a_client_that_leaves_end_running_and_queued(
    desk: App, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.01)
    monkeypatch.setattr("conduit_lab.serving.faces.transport.PRELUDE_SECONDS", 0.01)
    writer = desk.models["chat"]
    held = threading.Event()
    scheduler = writer._parts().scheduler
    decode = scheduler._batch.decode

    def stopped() -> None:
        assert held.wait(SECONDS)
        decode()

    monkeypatch.setattr(scheduler._batch, "decode", stopped)
    body = {"messages": [USER]} if path.startswith("/aisdk") else {**CHAT, "max_tokens": 200}

    async def main() -> None:
        async with desk.lifespan() as state:
            rows = scheduler.decoder.rows
            clients = [asked(desk, path, body, state) for _ in range(rows + 2)]
            await until(lambda: scheduler.running + scheduler.waiting == rows + 2)
            for client in clients:
                await client.leave()
            held.set()
            await until(lambda: scheduler.running + scheduler.waiting == 0)
            assert desk.statistics["chat"].calls == rows + 2

    asyncio.run(main())


def test_infer_ends_when_its_client_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.01)
    app = make_app(tmp_path)
    cancelled: list[bool] = []

    async def infer(self: Any, arrays: Any) -> Any:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    monkeypatch.setattr("conduit_lab.serving.faces.inference.InferenceModel.infer", infer)

    async def main() -> None:
        async with app.lifespan() as state:
            client = asked(app, "/v2/models/linear/infer", linear_request(), state)
            await asyncio.sleep(0)
            await client.leave()
            assert cancelled == [True]

    asyncio.run(main())


def test_the_deadline_of_the_app_bounds_a_tool(tmp_path: Path, asking: Ask) -> None:
    app = App("desk", root=tmp_path, protocols=["mcp"], limits=Limits(deadline=0.2))
    go = threading.Event()

    @app.post("/slow")
    def slow(value: int) -> int:
        go.wait(SECONDS)
        return value

    client = asking(app)
    path, headers, body = tool_request("slow", {"value": 1})
    answer = client.post(path, headers=headers, content=body)
    go.set()
    assert "0.2 s" in answer.text
    assert app.statistics["mcp tools/call"].errors == 1


def test_a_full_server_begins_no_stream(tmp_path: Path, asking: Ask) -> None:
    app = make_desk(tmp_path, limits=Limits(concurrent_streams=1))
    began: list[str] = []

    @app.ml_stream("/begun")
    def begun(text: str) -> Any:
        began.append(text)
        return iter(text)

    client = asking(app)
    [state] = app._lives.states
    state.slots.streams = 1
    for path, body in (
        ("/aisdk/begun", {"messages": [USER]}),
        ("/aisdk/chat", {"messages": [USER]}),
        ("/v1/chat/completions", {**CHAT, "stream": True}),
    ):
        assert client.post(path, json=body).status_code == 429
    assert began == []
    assert "chat" not in app.statistics
    unload(app)


def test_a_lab_keeps_the_trace_of_an_endpoint_that_a_protocol_called(lab: Lab, asking: Ask) -> None:
    @lab.tool("shout", "Shout.")
    def shout(text: str) -> str:
        return text.upper()

    client = asking(lab)
    assert call_tool(client, "shout", {"text": "a"}) == {"result": "A"}
    assert shout.trace is not None
    assert shout.trace.root.output == "A"
    assert lab.proof(shout) == "missing"  # what clients send is not recorded
    assert lab.statistics["mcp tools/call"].calls == 1
