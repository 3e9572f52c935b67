"""MCP tools of an app: its endpoints, and a search and a map per store."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Protocol

import anyio
import numpy as np
from mcp import types
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, TextContent, ToolAnnotations

from conduit_lab.core.streams.media import media
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.text import clip, one_line
from conduit_lab.core.weight import PLAIN, weight
from conduit_lab.serving import codec
from conduit_lab.serving.body_mistakes import body_mistake
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.errors import HttpError, drop_tracebacks, http_error
from conduit_lab.serving.faces.binding import INLINE_BODY_BYTES
from conduit_lab.serving.faces.mcp_apps import STREAM_PAGE, shown_on
from conduit_lab.serving.faces.mcp_caller import (
    endpoints_of_caller,
    no_disconnect,
    stores_of_caller,
)
from conduit_lab.serving.faces.mcp_explore import ExploreTool, Maps
from conduit_lab.serving.faces.mcp_schema import object_schema
from conduit_lab.serving.faces.mcp_search import SearchTool
from conduit_lab.serving.faces.mcp_tasks import progress_of_call
from conduit_lab.serving.paced_calls import PacedCalls
from conduit_lab.serving.plan import serve_call
from conduit_lab.serving.tool import MAX_TOOL_NAME_CHARACTERS, Tool, as_object

MAX_ANSWER_CHUNKS = 10_000
MAX_ANSWER_BYTES = 2**20  # of all chunks in one answer
_MAX_PROGRESS_CHARACTERS = 200
_MAX_DESCRIPTION_CHARACTERS = 4000

_log = logging.getLogger("conduit_lab")


class AppTool(Protocol):
    """A tool provided by an app itself."""

    name: str

    def described(self) -> types.Tool:
        """Return its name, description and schemas."""

    async def call(
        self, arguments: dict[str, Any], context: Context[Any, Any] | None
    ) -> CallToolResult:
        """Return the result of one call; raise the handler's errors."""


class AppTools:
    """The current tools of an app by name."""

    def __init__(self, app: EndpointHost) -> None:
        self._app = app
        self._maps: Maps = {}
        self._paced = PacedCalls(app.handler_threads)

    def listed(self) -> list[types.Tool]:
        """Return the descriptions of all tools."""
        return [tool.described() for tool in self._by_name().values()]

    def get(self, name: str) -> AppTool | None:
        """Return a tool, or None for an unknown name."""
        return self._by_name().get(name)

    def _by_name(self) -> dict[str, AppTool]:
        app = self._app
        endpoints = [*endpoints_of_caller(app), *app.session_tools()]
        tools: dict[str, AppTool] = {
            name: EndpointTool(name, endpoint, app)
            for name, endpoint in zip(tool_names(endpoints), endpoints, strict=True)
        }
        for store in stores_of_caller(app).values():
            if store.embedder is not None:
                paced = self._paced
                for tool in (SearchTool(store, paced), ExploreTool(store, self._maps, paced)):
                    tools.setdefault(tool.name, tool)
        return tools


def tool_names(endpoints: Sequence[Endpoint[..., Any]]) -> list[str]:
    """Return a name per endpoint: its function's name, or if that is shared, one from its path.

    A tool keeps its own name.
    """
    own = [each.path if isinstance(each, Tool) else _named(each.name) for each in endpoints]
    names: list[str] = []
    for each, name in zip(endpoints, own, strict=True):
        if own.count(name) > 1:
            name = _named(each.path)
        number, first = 2, name
        while name in names:
            name, number = f"{first}_{number}", number + 1
        names.append(name)
    return names


def _named(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")[:MAX_TOOL_NAME_CHARACTERS]
    return name or "endpoint"


class EndpointTool:
    """An endpoint as a tool, with schemas derived from its signature."""

    def __init__(self, name: str, endpoint: Endpoint[..., Any], app: EndpointHost) -> None:
        self.name = name
        self.endpoint = endpoint
        self._app = app

    def described(self) -> types.Tool:
        """Return its name, description and schemas; a stream's result is an object with chunks."""
        endpoint = self.endpoint
        signature = endpoint.signature
        answer = signature.answer_schema()
        if answer is not None and answer.get("format") in ("binary", "base64"):
            answer = None  # files are returned as media content
        if endpoint.shape == "stream":
            answer = None if answer is None else _chunks_schema(answer)
        given = {"type": "object"} if signature.request is not None else signature.schema()
        return types.Tool(
            name=self.name,
            title=endpoint.name,
            description=clip(self._description(), _MAX_DESCRIPTION_CHARACTERS),
            input_schema={"type": "object", **given},
            output_schema=None if answer is None else object_schema(answer),
            annotations=ToolAnnotations(read_only_hint=True) if endpoint.method == "GET" else None,
            _meta=shown_on(STREAM_PAGE) if endpoint.shape == "stream" else None,
        )

    def _description(self) -> str:
        endpoint = self.endpoint
        return (
            endpoint.description if isinstance(endpoint, Tool) else inspect.getdoc(endpoint) or ""
        )

    async def call(
        self, arguments: dict[str, Any], context: Context[Any, Any] | None
    ) -> CallToolResult:
        """Run the endpoint as for a request to its path.

        The app's deadline applies unless the client supports tasks.
        """
        size, bind = weight(arguments), self.endpoint.signature.from_fields
        if size > INLINE_BODY_BYTES:
            call = await self._app.handler_threads.run(bind, arguments, size)
        else:
            call = bind(arguments, size)
        seconds = self._app.limits.deadline if progress_of_call.get() is None else None
        with anyio.move_on_after(seconds) as scope:
            answer, small = await serve_call(self._app, self.endpoint, call, size, no_disconnect)
            if not isinstance(answer, Stream):
                if small:
                    return result_of(answer)
                return await self._app.handler_threads.run(result_of, answer)
        if scope.cancelled_caught:
            raise HttpError(504, "deadline_exceeded", f"the tool took longer than {seconds:g} s")
        try:
            return result_of(await _collect(answer, context))
        finally:
            answer.cancel()


def failed_result(error: Exception, tool: AppTool) -> CallToolResult:
    """Return the error result of a tool call; log the error if it is a server fault."""
    endpoints = [tool.endpoint] if isinstance(tool, EndpointTool) else []
    answer = http_error(body_mistake(error, endpoints) or error)
    if answer is None or answer.status >= 500:
        identity = token_hex(8)
        _log.error("call %s of the tool %s failed", identity, tool.name, exc_info=error)
        reason = answer.message if answer is not None else "the tool failed"
        text = f"{reason}; the server's log has the reason under the ID {identity}"
    else:
        text = answer.message
    drop_tracebacks(error)
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


async def _collect(stream: Stream[Any], context: Context[Any, Any] | None) -> dict[str, Any]:
    """Return the chunks of a stream, up to a limit, and report each as progress."""
    chunks: list[Any] = []
    size = 0
    async for chunk in stream:
        value = codec.loads(codec.dumps(chunk))
        chunks.append(value)
        size += weight(value)
        await _report(context, len(chunks), one_line(_text(value), _MAX_PROGRESS_CHARACTERS))
        if len(chunks) >= MAX_ANSWER_CHUNKS or size >= MAX_ANSWER_BYTES:
            return {"chunks": chunks, "cut": True}
    return {"chunks": chunks}


async def _report(context: Context[Any, Any] | None, count: int, message: str) -> None:
    progress = progress_of_call.get()
    if progress is not None:
        progress.message = message
    if context is not None and (progress is None or not progress.is_task):
        await context.report_progress(count, None, message)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else codec.preview(value, _MAX_PROGRESS_CHARACTERS)


def result_of(answer: Any) -> CallToolResult:
    """Return an answer as text and structured content, or a file, such as an image, as media."""
    if (found := _media(answer)) is not None:
        return CallToolResult(content=[found])
    value = codec.loads(codec.dumps(answer))
    text = value if isinstance(value, str) else codec.dumps(value).decode()
    shown = TextContent(type="text", text=text)
    return CallToolResult(content=[shown], structured_content=as_object(value))


def _media(answer: Any) -> types.ContentBlock | None:
    """Return encoded bytes, or an object with a PNG form, as media content; None for others."""
    if type(answer) in PLAIN or isinstance(answer, np.ndarray):
        return None
    found = media(answer)
    if found is None:
        return None
    kind = found.type.partition("/")[0]
    if kind == "image":
        return types.ImageContent(type="image", data=found.base64, mime_type=found.type)
    if kind == "audio":
        return types.AudioContent(type="audio", data=found.base64, mime_type=found.type)
    blob = types.BlobResourceContents(
        uri=f"file:///{token_hex(8)}", mime_type=found.type, blob=found.base64
    )
    return types.EmbeddedResource(type="resource", resource=blob)


def _chunks_schema(chunk: dict[str, Any]) -> dict[str, Any]:
    definitions = {"$defs": chunk["$defs"]} if "$defs" in chunk else {}
    items = {key: value for key, value in chunk.items() if key != "$defs"}
    return {
        **definitions,
        "type": "object",
        "properties": {
            "chunks": {"type": "array", "items": items},
            "cut": {"type": "boolean", "description": "whether more chunks followed"},
        },
        "required": ["chunks"],
    }
