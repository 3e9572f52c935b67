"""Tool: a function that agents call over MCP, without an HTTP path."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from conduit_lab.core.errors import EndpointError
from conduit_lab.core.version import __version__
from conduit_lab.serving import codec
from conduit_lab.serving.endpoint import Endpoint, EndpointHost

TOOL_METHOD = "TOOL"  # instead of an HTTP method
MCP_PATH = "/mcp"
MCP_REVISION = "2026-07-28"
RESULT = "result"  # the key of structured content that is not an object
MAX_TOOL_NAME_CHARACTERS = 64  # accepted by every client

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TOOL_NAME_CHARACTERS}}}")
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Tool(Endpoint[_P, _R]):
    """A function for agents: called, traced, recorded and exported like an endpoint.

    `path` is the tool name shown to agents, and arguments are always passed by name.
    """

    def __init__(
        self, function: Callable[..., Any], tool_name: str, description: str, app: EndpointHost
    ) -> None:
        if not _NAME.fullmatch(tool_name):
            raise EndpointError(
                f"a tool's name expects 1 to {MAX_TOOL_NAME_CHARACTERS} letters, digits, - and _, "
                f"got {tool_name!r}"
            )
        super().__init__(function, tool_name, TOOL_METHOD, "tool", app)
        if self.signature.request is not None:
            raise EndpointError(
                f"the tool {tool_name} takes a request: a tool takes only arguments"
            )
        self.description = description or inspect.cleandoc(function.__doc__ or "")
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(
            function
        )


def tool_request(name: str, arguments: Any) -> tuple[str, dict[str, str], bytes]:
    """Return the path, headers and body of a tool call in MCP revision 2026-07-28."""
    prefix = "io.modelcontextprotocol/"
    meta = {
        f"{prefix}protocolVersion": MCP_REVISION,
        f"{prefix}clientInfo": {"name": "conduit-lab", "version": __version__},
        f"{prefix}clientCapabilities": {},
    }
    params = {"name": name, "arguments": arguments, "_meta": meta}
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MCP_REVISION,
        "mcp-method": "tools/call",
        "mcp-name": name,
    }
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return MCP_PATH, headers, codec.dumps(request)


def tool_answer(content: bytes) -> tuple[Any, str]:
    """Return the structured content of a tool call's response, and its error message or ""."""
    lines = content.decode("utf-8").split("\n")
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    message = codec.loads((events[-1] if events else content.decode("utf-8")).encode())
    if "error" in message:
        return None, str(message["error"].get("message"))
    result = message["result"]
    text = next((each["text"] for each in result["content"] if each["type"] == "text"), "")
    return result.get("structuredContent"), text if result.get("isError") else ""


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object unchanged, any other value under the key `result`.

    MCP's revisions before 2026-07-28 require structured content to be an object.
    """
    return value if isinstance(value, dict) else {RESULT: value}
