"""MCP over HTTP with its own client: tools, schemas, stores, errors, and what an agent may see."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import httpx
import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import TextResourceContents
from pydantic import BaseModel, Field

from conduit_lab import App, Lab, Limits
from conduit_lab.core.errors import EndpointError
from conduit_lab.core.streams.media import png
from conduit_lab.serving.faces import mcp, mcp_tools
from conduit_lab.serving.faces.mcp import mcp_server
from conduit_lab.serving.faces.mcp_apps import EXPLORER_PAGE, STREAM_PAGE
from conduit_lab.serving.gate.keys import new_key
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import Ask

Mode = Literal["auto", "legacy"]


class Order(BaseModel):
    id: str
    count: int = 1


class Letters:
    """An embedder that counts letters."""

    dimension = 26

    def encode(self, texts: str | Sequence[str]) -> Any:
        rows = [
            [text.count(chr(97 + n)) for n in range(26)]
            for text in ([texts] if isinstance(texts, str) else texts)
        ]
        vectors = np.array(rows, np.float32)
        return vectors[0] if isinstance(texts, str) else vectors


class Status(BaseModel):
    order: str
    total: float


@pytest.fixture
def app(tmp_path: Path) -> App:
    app = App("desk", root=tmp_path, protocols=["mcp"])

    @app.post("/total")
    def total(order: Order, price: float) -> Status:
        """Return the total of an order."""
        return Status(order=order.id, total=order.count * price)

    @app.post("/double")
    async def double(value: int) -> int:
        return 2 * value

    @app.ml_pipeline("/analyze")
    def analyze(input_data: Any) -> Any:
        return {"length": len(input_data["text"])}

    @app.get("/items/{id}")
    def item(id: str, detail: bool = False) -> dict[str, Any]:
        return {"id": id, "detail": detail}

    @app.post("/picture")
    def picture() -> bytes:
        return png(np.zeros((2, 2, 3), np.uint8))

    @app.post("/fails")
    def fails() -> None:
        raise RuntimeError("/secret/path is gone")

    @app.ml_stream("/count")
    def count(n: int) -> Iterator[dict[str, int]]:
        """Count up."""
        for number in range(n):
            yield {"number": number}

    @app.tool("order_status", "Look up an order.")
    def look_up(order: str) -> str:
        return f"{order} was shipped"

    return app


def talk(
    app: App,
    use: Callable[[Client], Awaitable[Any]],
    mode: Mode = "auto",
    headers: dict[str, str] | None = None,
) -> Any:
    """Serve `app`, connect a client, and return the value of `use`."""

    async def run(url: str) -> Any:
        async with create_mcp_http_client(headers=headers) as http:
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, mode=mode) as client:
                return await use(client)

    with Server(app, port=0) as server:
        return asyncio.run(run(f"{server.url}/mcp"))


@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_endpoints_and_tools_are_called_with_structured_answers(
    app: App, mode: Mode, revision: str
) -> None:
    async def use(client: Client) -> None:
        assert client.protocol_version == revision
        answers: dict[str, tuple[Any, Any]] = {
            "total": (
                {"order": {"id": "a", "count": 3}, "price": 2.5},
                {"order": "a", "total": 7.5},
            ),
            "double": ({"value": 4}, {"result": 8}),
            "analyze": ({"input_data": {"text": "kettle"}}, {"length": 6}),
            "item": ({"id": "a/b", "detail": True}, {"id": "a/b", "detail": True}),
            "order_status": ({"order": "A-1"}, {"result": "A-1 was shipped"}),
        }
        for name, (arguments, answer) in answers.items():
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            assert result.structured_content == answer

    talk(app, use, mode)


def test_tools_have_the_schemas_of_their_signatures(app: App) -> None:
    async def use(client: Client) -> Any:
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    tools = talk(app, use)
    assert list(tools) == [
        "total",
        "double",
        "analyze",
        "item",
        "picture",
        "fails",
        "count",
        "order_status",
    ]
    total = tools["total"]
    assert total.description == "Return the total of an order."
    assert set(total.input_schema["properties"]) == {"order", "price"}
    assert total.input_schema["required"] == ["order", "price"]
    assert set(total.output_schema["properties"]) == {"order", "total"}
    assert tools["double"].output_schema["properties"]["result"] == {"type": "integer"}
    assert tools["order_status"].description == "Look up an order."
    assert tools["item"].annotations.read_only_hint
    assert tools["analyze"].output_schema is None
    assert tools["picture"].output_schema is None


def test_a_stream_reports_each_chunk_and_answers_with_all(app: App) -> None:
    seen: list[tuple[float, str | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))

    async def use(client: Client) -> Any:
        return await client.call_tool("count", {"n": 3}, progress_callback=progress)

    result = talk(app, use)
    assert result.structured_content == {"chunks": [{"number": n} for n in range(3)]}
    assert seen == [(n + 1.0, f'{{"number": {n}}}') for n in range(3)]


def test_an_endless_stream_is_cut_and_stopped(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tools, "MAX_ANSWER_CHUNKS", 5)
    ended: list[bool] = []

    @app.ml_stream("/forever")
    def forever() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    result = talk(app, lambda client: client.call_tool("forever", {}))
    assert result.structured_content == {"chunks": [1] * 5, "cut": True}
    assert ended == [True]


def test_a_picture_is_an_image(app: App) -> None:
    (content,) = talk(app, lambda client: client.call_tool("picture", {})).content
    assert (content.type, content.mime_type) == ("image", "image/png")


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("double", {"value": "x"}, "value: expected a valid integer, got 'x'"),
        ("double", {}, "value"),
        ("double", {"value": 1, "more": 2}, "more"),
        ("analyze", {"input_data": {}}, "the body has no 'text'"),
        ("analyze", {"input_data": 7}, "object"),
        ("nope", {}, "Unknown tool"),
    ],
)
def test_the_callers_mistakes_are_results_that_say_so(
    app: App, name: str, arguments: dict[str, Any], text: str
) -> None:
    result = talk(app, lambda client: client.call_tool(name, arguments))
    assert result.is_error
    assert text in result.content[0].text


def test_a_fault_of_the_server_stays_in_its_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    result = talk(app, lambda client: client.call_tool("fails", {}))
    text = result.content[0].text
    assert result.is_error
    assert "secret" not in text
    identity = text.rpartition(" ")[2]
    (record,) = [each for each in caplog.records if identity in each.getMessage()]
    assert record.exc_info is not None
    assert "/secret/path is gone" in str(record.exc_info[1])


def test_endpoints_and_tools_that_are_registered_later_are_live(app: App) -> None:
    async def use(client: Client) -> None:
        assert (await client.call_tool("later", {})).is_error

        @app.tool()
        def later() -> str:
            """Come later."""
            return "here"

        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "later" in names
        assert (await client.call_tool("later", {})).structured_content == {"result": "here"}

    talk(app, use)


def test_clients_that_listen_are_told_of_new_tools(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "_CHANGE_SECONDS", 0.02)

    async def use(client: Client) -> str:
        async with client.listen(tools_list_changed=True) as changes:

            @app.tool()
            def later() -> str:
                return "here"

            with anyio.fail_after(30):
                return type(await anext(aiter(changes))).__name__

    assert talk(app, use) == "ToolsListChanged"


def test_endpoints_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path, protocols=["mcp"])
    for path in ("/a/ask", "/b/ask"):

        @app.post(path)
        def ask(text: str) -> str:
            return text

    assert mcp_tools.tool_names(app.endpoints) == ["a_ask", "b_ask"]


def test_a_store_is_searched_and_its_entries_are_resources(app: App) -> None:
    store = app.vector_store("notes", embedder=Letters())
    store.add_texts(["a broken kettle", "the shipping cost"], ids=["k/1", "s"])

    async def use(client: Client) -> None:
        search = {"query": "broken kettle", "top_k": 1}
        result: Any = await client.call_tool("search_notes", search)
        (hit,) = result.structured_content["hits"]
        assert (hit["id"], hit["content"]) == ("k/1", "a broken kettle")
        assert result.content[1].uri == hit["uri"]
        entry: Any = await client.read_resource(hit["uri"])
        assert '"content":"a broken kettle"' in entry.contents[0].text
        listed = (await client.list_resources()).resources[-1]
        facts: Any = await client.read_resource(listed.uri)
        assert json.loads(facts.contents[0].text) == {
            "name": "notes",
            "entries": 2,
            "dimension": store.dimension,
            "metric": "cosine",
        }
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "store://notes/{id}"
        for uri in ("store://notes/none", "store://nope", "other://x"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)
        for wrong in ({"query": ""}, {"query": "a", "top_k": 10**9}, {"query": "a", "x": 1}):
            assert (await client.call_tool("search_notes", wrong)).is_error

    talk(app, use)


def test_a_map_of_a_store_has_a_page_and_says_the_same_as_text(app: App) -> None:
    store = app.vector_store("notes", embedder=Letters())
    store.add_texts([f"{word} {number}" for word in ("kettle", "zoo") for number in range(20)])

    async def use(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name, uri in (("explore_notes", EXPLORER_PAGE), ("count", STREAM_PAGE)):
            meta = tools[name].meta
            assert meta is not None
            assert meta["ui"]["resourceUri"] == uri
            (content,) = (await client.read_resource(uri)).contents
            assert content.mime_type == "text/html;profile=mcp-app"
            assert isinstance(content, TextResourceContents)
            assert "/*" not in content.text.partition("<script>")[0]
            assert "http://" not in content.text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in content.text
        result: Any = await client.call_tool("explore_notes", {"query": "zoo"})
        data = result.structured_content
        assert len(data["points"]) == 40
        assert sum(each["entries"] for each in data["clusters"]) == 40
        assert {hit["content"][:3] for hit in data["hits"]} == {"zoo"}
        assert result.content[0].text.startswith("Map of notes · 40 entries")
        store.add("new", [1.0] * 26, content="new")  # the kept map is not of this version
        again: Any = await client.call_tool("explore_notes", {})
        assert len(again.structured_content["points"]) == 41
        for wrong in ({"query": ""}, {"query": 1}, {"x": 1}):
            assert (await client.call_tool("explore_notes", wrong)).is_error

    talk(app, use)


def test_a_tenant_sees_its_own_stores_and_those_of_none(tmp_path: Path) -> None:
    secret, key = new_key("team", tenant="blue")
    app = App("desk", root=tmp_path, protocols=["mcp"], keys=[key])
    for name, tenant in (("ours", "blue"), ("theirs", "red"), ("all", None)):
        app.vector_store(name, embedder=Letters(), tenant=tenant)

    async def use(client: Client) -> None:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["search_ours", "explore_ours", "search_all", "explore_all"]
        listed = (await client.list_resources()).resources
        resources = [each.name for each in listed if each.uri.startswith("store:")]
        assert resources == ["ours", "all"]
        assert (await client.call_tool("search_theirs", {"query": "a"})).is_error
        with pytest.raises(MCPError):
            await client.read_resource("store://theirs")

    talk(app, use, headers={"authorization": f"Bearer {secret}"})
    talk(app, use, "legacy", headers={"authorization": f"Bearer {secret}"})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_row_69_a_request_without_a_key_is_a_401(tmp_path: Path, asking: Ask, mode: Mode) -> None:
    _, key = new_key("team")
    app = App("desk", root=tmp_path, protocols=["mcp"], keys=[key])
    answer = asking(app).post("/mcp", json={})
    assert answer.status_code == 401
    assert answer.json()["jsonrpc"] == "2.0"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "elsewhere.example"}, 421),
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_rows_66_and_67_another_host_or_origin_is_refused(
    app: App, headers: dict[str, str], status: int, method: str
) -> None:
    with Server(app, port=0) as server:
        answer = httpx.request(method, f"{server.url}/mcp", headers=headers)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_row_68_a_body_that_needs_no_preflight_is_refused(app: App, asking: Ask) -> None:
    client = asking(app)
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/mcp", content=b"{}", headers={"content-type": kind})
        assert answer.status_code in (400, 406, 415), kind


def test_row_8_a_body_above_the_limit_is_a_413(tmp_path: Path, asking: Ask) -> None:
    app = App("desk", root=tmp_path, protocols=["mcp"], limits=Limits(body_bytes=1000))
    headers = {"content-type": "application/json"}
    answer = asking(app).post("/mcp", content=b" " * 1001, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("label", "status"),
    [("Tag", 200), ("=?base64?VGFn?=", 200), ("Other", 400), ("=?base64?VGF?=", 400), (None, 400)],
)
def test_a_header_that_repeats_an_argument_is_checked(
    app: App, asking: Ask, label: str | None, status: int
) -> None:
    @app.tool("tag", "Tag.")
    def tag(label: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Label"})]) -> str:
        return label

    prefix = "io.modelcontextprotocol/"
    meta = {
        f"{prefix}protocolVersion": "2026-07-28",
        f"{prefix}clientInfo": {"name": "test", "version": "1"},
        f"{prefix}clientCapabilities": {},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "tag",
        **({} if label is None else {"mcp-param-label": label}),
    }
    params = {"name": "tag", "arguments": {"label": "Tag"}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = asking(app).post("/mcp", json=body, headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["code"] == -32020


def test_listeners_take_no_slot_and_are_bounded(tmp_path: Path) -> None:
    limits = Limits(concurrent_requests=1, queued_requests=0, concurrent_streams=2)
    app = App("desk", root=tmp_path, protocols=["mcp"], limits=limits)

    def listeners() -> int:
        return sum(each.listeners for each in mcp._sessions.values())

    async def run(url: str) -> None:
        async with AsyncExitStack() as stack:
            for count in (1, 2, 2):  # each listens, with a GET
                client = await stack.enter_async_context(Client(url, mode="legacy"))
                with anyio.fail_after(30):
                    while listeners() != count:
                        await anyio.sleep(0.01)
                assert (await client.list_tools()).tools == []
        with anyio.fail_after(30):
            while listeners():
                await anyio.sleep(0.01)

    with Server(app, port=0) as server:
        asyncio.run(run(f"{server.url}/mcp"))


def test_prompts_are_added_to_the_server_object(app: App) -> None:
    server = mcp_server(app)

    @server.prompt(description="Answer a customer.")
    def reply(name: str) -> str:
        return f"Answer {name}."

    async def use(client: Client) -> Any:
        return await client.get_prompt("reply", {"name": "Ada"})

    assert talk(app, use).messages[0].content.text == "Answer Ada."


def test_the_root_logger_is_left_as_it_was(app: App) -> None:
    import logging

    root = logging.getLogger()
    before = root.handlers[:], root.level
    mcp_server(app)
    assert (root.handlers, root.level) == before


def test_a_tool_is_called_here_and_recorded(lab: Lab) -> None:
    @lab.tool("add", "Add two numbers.")
    def plus(a: int, b: int) -> int:
        return a + b

    assert plus(1, 2) == 3
    assert plus.trace is not None
    (example,) = lab.examples
    assert (example.method, example.path, example.payload, example.answer) == (
        "TOOL",
        "add",
        {"a": 1, "b": 2},
        3,
    )
    assert lab.endpoints["add"] is plus
    assert "TOOL add" in repr(plus)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65])
def test_a_name_that_agents_cannot_use_is_refused(lab: Lab, name: str) -> None:
    def tool() -> str:
        return ""

    tool.__name__ = ""
    with pytest.raises(EndpointError, match="a tool's name expects"):
        lab.tool(name)(tool)


def test_a_tool_takes_no_request(lab: Lab) -> None:
    def tool(request: Any) -> str:
        return ""

    with pytest.raises(EndpointError, match="takes a request"):
        lab.tool()(tool)


def test_a_tool_has_no_http_route(app: App, asking: Ask) -> None:
    client = asking(app)
    for path in ("/order_status", "order_status"):
        assert client.post(path, json={"order": "a"}).status_code == 404
    assert "order_status" not in client.get("/openapi.json").json()["paths"]


def test_the_facts_of_an_app_name_the_protocol_of_its_tools(lab: Lab, asking: Ask) -> None:
    @lab.tool()
    def later() -> str:
        return ""

    assert asking(lab).get("/v1/info").json()["protocols"] == ["mcp"]


def test_a_server_that_started_without_the_protocol_says_so(lab: Lab, asking: Ask) -> None:
    client = asking(lab)

    @lab.tool()
    def later() -> str:
        return ""

    answer = client.post("/mcp", json={})
    assert answer.status_code == 503
    assert "restart it" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_row_16_a_wrong_method_is_a_405(app: App, asking: Ask, method: str) -> None:
    client = asking(app)
    assert client.request(method, "/mcp").status_code == 405
    assert client.get("/nope").status_code == 404
    assert client.get("/double").status_code == 405


def test_two_servers_of_one_app_have_sessions_of_their_own(app: App) -> None:
    use = lambda client: client.call_tool("double", {"value": 1})  # noqa: E731
    with Server(app, port=0):
        assert talk(app, use, "legacy").structured_content == {"result": 2}
    assert talk(app, use, "legacy").structured_content == {"result": 2}


_COMMAND = "import sys; from conduit_lab.cli import main; main(['mcp', sys.argv[1]])"


def test_an_exported_folder_is_served_by_stdio(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from conduit_lab import App\n\nprint('starting')\napp = App('desk')\n\n\n"
        "@app.post('/double')\ndef double(value: int) -> int:\n    print('doubling')\n"
        "    return 2 * value\n"
    )
    command = StdioServerParameters(command=sys.executable, args=["-c", _COMMAND, str(tmp_path)])

    async def run() -> Any:
        async with Client(command) as client:
            return await client.call_tool("double", {"value": 21})

    assert asyncio.run(run()).structured_content == {"result": 42}
