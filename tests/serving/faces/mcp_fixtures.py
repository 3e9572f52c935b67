"""The app for MCP's public conformance suite: its tools, prompts and resources by name.

What an app of this package can say is written with its own API; the rest, such as prompts and
questions back to the client, with the server object of the package `mcp` that it exposes.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import mcp.types as types
import numpy as np
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

from conduit_lab import App
from conduit_lab.core.streams.media import png, wav
from conduit_lab.serving.faces.mcp import mcp_server
from conduit_lab.serving.faces.mcp_server import AppServer
from conduit_lab.serving.faces.mcp_tasks import Tasks

PIXEL = b64encode(png(np.zeros((1, 1, 3), np.uint8))).decode()
SILENCE = b64encode(wav(np.zeros(8, np.float32), 8000)).decode()

TEXT = "A fixture of the conformance suite."  # every tool and prompt has a description

Answers = list[UserMessage] | types.InputRequiredResult
Ctx = Context[Any, Any]


def make_app(root: Path) -> App:
    """The app, whose fixtures are those of the suite's list."""
    app = App("conformance", root=root, protocols=["mcp"])
    _add_own_tools(app)
    server = mcp_server(app)
    for add in (
        *(_add_contents, _add_schemas, _add_questions, _add_rounds, _add_task_questions),
        *(_add_changes, _add_resources),
    ):
        add(server)
    _add_prompts(server)
    return app


def _add_own_tools(app: App) -> None:
    @app.tool("test_simple_text", "Give a text.")
    def simple_text() -> str:
        return "This is a simple text response for testing."

    @app.tool("test_image_content", "Give an image.")
    def image() -> bytes:
        return b64decode(PIXEL)

    @app.tool("test_audio_content", "Give a sound.")
    def sound() -> bytes:
        return b64decode(SILENCE)

    @app.tool("test_error_handling", "Fail.")
    def failing() -> str:
        raise RuntimeError("This tool intentionally returns an error for testing")

    @app.tool("greet", "Greet somebody.")
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @app.tool("slow_compute", "Take some seconds.")
    async def slow(seconds: float, label: str = "") -> str:
        await anyio.sleep(seconds)
        return f"{label} took {seconds} s"

    @app.tool("labelled", "Give a label that the header of a request repeats.")
    def labelled(label: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Label"})]) -> str:
        return label

    @app.ml_stream("/progress")
    def test_tool_with_progress() -> Iterator[str]:
        """Report three steps as progress."""
        for step in (0, 50, 100):
            yield f"Completed step {step} of 100"


def _add_contents(server: AppServer) -> None:
    resource = types.TextResourceContents(
        uri="test://embedded-resource",
        mime_type="text/plain",
        text="This is an embedded resource content.",
    )
    embedded = types.EmbeddedResource(type="resource", resource=resource)

    @server.tool(description=TEXT)
    def test_embedded_resource() -> list[types.EmbeddedResource]:
        return [embedded]

    @server.tool(description=TEXT)
    def test_multiple_content_types() -> list[
        types.TextContent | types.ImageContent | types.EmbeddedResource
    ]:
        return [
            types.TextContent(type="text", text="Multiple content types test:"),
            types.ImageContent(type="image", data=PIXEL, mime_type="image/png"),
            embedded,
        ]

    @server.tool(description=TEXT)
    async def test_tool_with_logging(ctx: Ctx) -> str:
        for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(text)
            await anyio.sleep(0.05)
        return "logged"

    @server.tool(description=TEXT)
    async def test_reconnection(ctx: Ctx) -> str:
        await anyio.sleep(0.1)  # its client has the first event
        await ctx.close_sse_stream()
        await anyio.sleep(0.1)
        return "The client came back."


# the schema that the suite looks for, keyword by keyword
_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _add_schemas(server: AppServer) -> None:
    def contact() -> str:
        return "contacted"

    tool = Tool.from_function(contact, name="json_schema_2020_12_tool", description=TEXT)
    server._tool_manager._tools[tool.name] = tool.model_copy(update={"parameters": _SCHEMA})


class _Reply(BaseModel):
    response: str = Field(description="User's response")


class _Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field("active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


_LEVELS = [{"const": each, "title": f"{each.title()} level"} for each in ("low", "medium", "high")]
_KINDS = [{"const": each, "title": each.title()} for each in ("feature", "bug", "docs")]
_OPTIONS: list[Any] = ["one", "two", "three"]


class _Choices(BaseModel):
    untitledSingle: str = Field(json_schema_extra={"enum": _OPTIONS})
    titledSingle: str = Field(json_schema_extra={"oneOf": _LEVELS})  # type: ignore[dict-item]
    untitledMulti: list[str] = Field(
        json_schema_extra={"items": {"type": "string", "enum": _OPTIONS}}
    )
    titledMulti: list[str] = Field(json_schema_extra={"items": {"anyOf": _KINDS}})  # type: ignore[dict-item]
    legacyEnum: str = Field(
        json_schema_extra={"enum": _OPTIONS, "enumNames": ["One", "Two", "Three"]}
    )


def _add_questions(server: AppServer) -> None:
    @server.tool(description=TEXT)
    async def test_sampling(prompt: str, ctx: Ctx) -> str:
        text = types.TextContent(type="text", text=prompt)
        answer = await ctx.session.create_message(
            messages=[types.SamplingMessage(role="user", content=text)],
            max_tokens=100,
            related_request_id=ctx.request_id,
        )
        return f"LLM response: {getattr(answer.content, 'text', '')}"

    async def ask(ctx: Ctx, message: str, schema: type[BaseModel]) -> str:
        answer = await ctx.elicit(message=message, schema=schema)
        content = answer.data.model_dump_json() if answer.action == "accept" else "{}"
        return f"action={answer.action}, content={content}"

    @server.tool(description=TEXT)
    async def test_elicitation(message: str, ctx: Ctx) -> str:
        return f"User response: {await ask(ctx, message, _Reply)}"

    @server.tool(description=TEXT)
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        return f"Elicitation completed: {await ask(ctx, 'Your details', _Defaults)}"

    @server.tool(description=TEXT)
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        return f"Elicitation completed: {await ask(ctx, 'Your choices', _Choices)}"

    @server.tool(description=TEXT)
    async def protocol_error_job() -> str:
        await anyio.sleep(2)
        raise MCPError(code=types.INTERNAL_ERROR, message="this tool is a fault of the server")

    @server.tool(description=TEXT)
    async def test_missing_capability(ctx: Ctx) -> str:
        known = ctx.session.client_capabilities
        if known is None or known.sampling is None:
            raise MCPError(
                code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="this tool needs the client's sampling",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return "sampling is there"


def _form(message: str, **fields: str) -> types.ElicitRequest:
    properties = {name: {"type": kind} for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def _sample(question: str) -> types.CreateMessageRequest:
    content = types.TextContent(type="text", text=question)
    message = types.SamplingMessage(role="user", content=content)
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=50)
    )


def _requires(state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def _field(ctx: Ctx, key: str, field: str) -> Any:
    answer = (ctx.input_responses or {}).get(key)
    return (getattr(answer, "content", None) or {}).get(field)


def _add_rounds(server: AppServer) -> None:
    prefix = "test_input_required_result_"

    @server.tool(prefix + "elicitation", description=TEXT)
    async def elicitation(ctx: Ctx) -> str | types.InputRequiredResult:
        name = _field(ctx, "user_name", "name")
        return (
            f"Hello, {name}!" if name else _requires(user_name=_form("Your name?", name="string"))
        )

    @server.tool(prefix + "sampling", description=TEXT)
    async def sampling(ctx: Ctx) -> str | types.InputRequiredResult:
        answer: Any = (ctx.input_responses or {}).get("capital_question")
        if answer is None:
            return _requires(capital_question=_sample("What is the capital of France?"))
        return f"Model said: {answer.content.text}"

    @server.tool(prefix + "list_roots", description=TEXT)
    async def list_roots(ctx: Ctx) -> str | types.InputRequiredResult:
        answer: Any = (ctx.input_responses or {}).get("client_roots")
        if answer is None:
            return _requires(client_roots=types.ListRootsRequest())
        return f"Roots: {', '.join(str(root.uri) for root in answer.roots)}"

    @server.tool(prefix + "request_state", description=TEXT)
    async def request_state(ctx: Ctx) -> str | types.InputRequiredResult:
        if ctx.input_responses and ctx.request_state == "first":
            return "state-ok: confirmation received"
        return _requires("first", confirm=_form("Please confirm", ok="boolean"))

    @server.tool(prefix + "tampered_state", description=TEXT)
    async def tampered_state(ctx: Ctx) -> str | types.InputRequiredResult:
        if ctx.request_state is None:
            return _requires("first", confirm=_form("Please confirm", ok="boolean"))
        return f"state-ok: {ctx.request_state}"

    @server.tool(prefix + "multiple_inputs", description=TEXT)
    async def multiple_inputs(ctx: Ctx) -> str | types.InputRequiredResult:
        requests = {
            "user_name": _form("Your name?", name="string"),
            "greeting": _sample("Write a greeting"),
            "client_roots": types.ListRootsRequest(),
        }
        if requests.keys() <= (ctx.input_responses or {}).keys():
            return "All inputs received."
        return _requires("first", **requests)

    @server.tool(prefix + "multi_round", description=TEXT)
    async def multi_round(ctx: Ctx) -> str | types.InputRequiredResult:
        state = json.loads(ctx.request_state or "{}")
        if color := _field(ctx, "step2", "color"):
            return f"{state.get('name')} likes {color}."
        if name := _field(ctx, "step1", "name"):
            return _requires(
                json.dumps({"round": 2, "name": name}), step2=_form("Your color?", color="string")
            )
        return _requires(json.dumps({"round": 1}), step1=_form("Your name?", name="string"))

    @server.tool(prefix + "capabilities", description=TEXT)
    async def capabilities(ctx: Ctx) -> types.InputRequiredResult:
        known = ctx.client_capabilities
        requests: dict[str, Any] = {}
        if known is None or known.sampling is not None:
            requests["sample"] = _sample("Say hello")
        if known is None or known.elicitation is not None:
            requests["ask"] = _form("Your name?", name="string")
        return _requires("first", **requests)


def _add_task_questions(server: AppServer) -> None:
    """Tools that take long enough to become a task before they ask, or after."""

    @server.tool(description=TEXT)
    async def confirm_delete(filename: str, ctx: Ctx) -> str | types.InputRequiredResult:
        await anyio.sleep(1.5)
        if _field(ctx, "confirm", "confirm") is None:
            return _requires(confirm=_form(f"Delete {filename}?", confirm="boolean"))
        return f"deleted {filename}"

    @server.tool(description=TEXT)
    async def multi_input(ctx: Ctx) -> str | types.InputRequiredResult:
        await anyio.sleep(1.5)
        if not ctx.input_responses:
            form = _form("Your name?", name="string")
            return _requires(first=form, second=form)
        return f"{_field(ctx, 'first', 'name')} and {_field(ctx, 'second', 'name')}"

    @server.tool(description=TEXT)
    async def test_tool_with_task(ctx: Ctx) -> str | types.InputRequiredResult:
        name = _field(ctx, "user_name", "name")
        if name is None:
            return _requires("first", user_name=_form("Your name?", name="string"))
        await anyio.sleep(1.5)
        return f"Hello, {name}!"

    @server.tool(description=TEXT)
    async def failing_job(ctx: Ctx) -> str:
        known = ctx.session.client_capabilities
        if known is None or Tasks.identifier not in (known.extensions or ()):
            raise MCPError(
                code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="this tool takes long: it needs the client's tasks",
                data={"requiredCapabilities": {"extensions": {Tasks.identifier: {}}}},
            )
        await anyio.sleep(2)
        raise RuntimeError("This tool intentionally returns an error for testing")


def _add_changes(server: AppServer) -> None:
    def later() -> str:
        return "later"

    @server.tool(description=TEXT)
    async def test_trigger_tool_change(ctx: Ctx) -> str:
        server.add_tool(later, name="later")
        server.remove_tool("later")
        await ctx.notify_tools_changed()
        return "changed"

    @server.tool(description=TEXT)
    async def test_trigger_prompt_change(ctx: Ctx) -> str:
        server.add_prompt(Prompt.from_function(later, name="later", description="later"))
        server.remove_prompt("later")
        await ctx.notify_prompts_changed()
        return "changed"


def _add_resources(server: AppServer) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return b64decode(PIXEL)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource")
    def watched() -> str:
        return "watched"

    async def nothing(ctx: Any, params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    for method, params in (
        ("logging/setLevel", types.SetLevelRequestParams),
        ("resources/subscribe", types.SubscribeRequestParams),
        ("resources/unsubscribe", types.UnsubscribeRequestParams),
    ):
        server.lowlevel.add_request_handler(method, params, nothing)

    @server.completion()  # type: ignore[no-untyped-call,untyped-decorator]  # of that package
    async def complete(ref: Any, argument: Any, context: Any) -> types.Completion:
        return types.Completion(values=[], total=0, has_more=False)


def _user(content: Any) -> UserMessage:
    return UserMessage(role="user", content=content)


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _add_prompts(server: AppServer) -> None:
    @server.prompt(description=TEXT)
    def test_simple_prompt() -> list[UserMessage]:
        return [_user(_text("This is a simple prompt for testing."))]

    @server.prompt(description=TEXT)
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        return [_user(_text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt(description=TEXT)
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        resource = types.TextResourceContents(
            uri=resourceUri, mime_type="text/plain", text="Embedded resource content for testing."
        )
        embedded = types.EmbeddedResource(type="resource", resource=resource)
        return [_user(embedded), _user(_text("Please process the embedded resource above."))]

    @server.prompt(description=TEXT)
    def test_prompt_with_image() -> list[UserMessage]:
        pixel = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [_user(pixel), _user(_text("Please analyze the image above."))]

    @server.prompt(description=TEXT)
    async def test_input_required_result_prompt(ctx: Ctx) -> Answers:
        context = _field(ctx, "user_context", "context")
        if not context:
            return _requires(user_context=_form("Which context?", context="string"))
        return [_user(_text(f"Use the following context: {context}"))]


def main() -> None:
    """Serve the app on a free port, print its URL, and stop at the end of the input."""
    from conduit_lab.serving.run.thread import Server

    with Server(make_app(Path(sys.argv[1])), port=0) as server:
        print(f"{server.url}/mcp", flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main()
