"""SearchTool: the search of a store as an MCP tool."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ResourceLink, TextContent, Tool, ToolAnnotations

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import one_line
from conduit_lab.serving import codec
from conduit_lab.serving.faces.mcp_caller import no_disconnect
from conduit_lab.serving.paced_calls import PacedCalls
from conduit_lab.vectors.store import VectorStore

STORE_SCHEME = "store://"
MAX_TOOL_QUERY_CHARACTERS = 8192
MAX_TOOL_HITS = 50
DEFAULT_HITS = 5
_MAX_TITLE_CHARACTERS = 80

_OUTPUT = {
    "type": "object",
    "properties": {
        "hits": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "score": {"type": "number"},
                    "content": {"type": ["string", "null"]},
                    "metadata": {"type": "object"},
                    "uri": {"type": "string", "description": "the entry's resource"},
                },
                "required": ["id", "score", "content", "metadata", "uri"],
            },
        }
    },
    "required": ["hits"],
}


def entry_uri(store: str, entry: str) -> str:
    """Return the resource URI of an entry."""
    return f"{STORE_SCHEME}{store}/{quote(entry, safe='')}"


class SearchTool:
    """Semantic search of one store."""

    def __init__(self, store: VectorStore, paced: PacedCalls) -> None:
        self._store = store
        self._paced = paced
        self.name = f"search_{re.sub(r'[^A-Za-z0-9_-]', '_', store.name)}"

    def described(self) -> Tool:
        """Return its name, description and schemas."""
        query = {"type": "string", "minLength": 1, "maxLength": MAX_TOOL_QUERY_CHARACTERS}
        count = {"type": "integer", "minimum": 1, "maximum": MAX_TOOL_HITS, "default": DEFAULT_HITS}
        where = {
            "type": "object",
            "description": 'a metadata filter, such as {"section": {"$in": ["returns"]}}',
        }
        return Tool(
            name=self.name,
            title=f"Search {self._store.name}",
            description=(
                f"Search the store {self._store.name!r} by meaning. Returns the most similar "
                "entries, best first, each with its score, text, metadata and resource."
            ),
            input_schema={
                "type": "object",
                "properties": {"query": query, "top_k": count, "where": where},
                "required": ["query"],
                "additionalProperties": False,
            },
            output_schema=_OUTPUT,
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        )

    async def call(
        self, arguments: dict[str, Any], context: Context[Any, Any] | None
    ) -> CallToolResult:
        """Search the store; raise `InputError` for an invalid argument."""
        query, top_k, where = _checked(arguments)
        return await self._paced.run(
            self.name, len(query), no_disconnect, self._found, query, top_k, where
        )

    def _found(self, query: str, top_k: int, where: Any) -> CallToolResult:
        hits: Any = self._store.search(query, top_k=top_k, where=where)
        found = [{**hit, "uri": entry_uri(self._store.name, hit["id"])} for hit in hits]
        value = codec.loads(codec.dumps({"hits": found}))
        text = TextContent(type="text", text=codec.dumps(value).decode())
        links = [_link(hit) for hit in value["hits"]]
        return CallToolResult(content=[text, *links], structured_content=value)


def _checked(arguments: dict[str, Any]) -> tuple[str, int, Any]:
    query, top_k = arguments.get("query"), arguments.get("top_k", DEFAULT_HITS)
    if not isinstance(query, str) or not 0 < len(query) <= MAX_TOOL_QUERY_CHARACTERS:
        raise InputError(f"query expects a string of 1 to {MAX_TOOL_QUERY_CHARACTERS} characters")
    if type(top_k) is not int or not 0 < top_k <= MAX_TOOL_HITS:
        raise InputError(f"top_k expects an integer from 1 to {MAX_TOOL_HITS}")
    where = arguments.get("where")
    if where is not None and not isinstance(where, dict):
        raise InputError("where expects an object")
    if unknown := sorted(set(arguments) - {"query", "top_k", "where"}):
        raise InputError(f"unknown arguments {', '.join(unknown)[:200]}")
    return query, top_k, where


def _link(hit: dict[str, Any]) -> ResourceLink:
    title = one_line(hit["content"] or hit["id"], _MAX_TITLE_CHARACTERS)
    return ResourceLink(type="resource_link", uri=hit["uri"], name=hit["id"], title=title)
