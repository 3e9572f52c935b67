"""ExploreTool: the map of a store as an MCP tool, with a page that shows it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, TextContent, Tool, ToolAnnotations

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import clip
from conduit_lab.core.views import figures
from conduit_lab.serving import codec
from conduit_lab.serving.faces.mcp_apps import EXPLORER_PAGE, shown_on
from conduit_lab.serving.faces.mcp_caller import no_disconnect
from conduit_lab.serving.faces.mcp_search import MAX_TOOL_QUERY_CHARACTERS, entry_uri
from conduit_lab.serving.paced_calls import PacedCalls
from conduit_lab.vectors.explore.explorer import Explorer
from conduit_lab.vectors.explore.explorer_card import map_facts
from conduit_lab.vectors.explore.map_picture import (
    PICTURE_HEIGHT,
    PICTURE_WIDTH,
    frame_of,
    label_places,
)
from conduit_lab.vectors.store import VectorStore

MAX_POINTS = 1500
MAX_FOUND = 10
_MAX_CONTENT_CHARACTERS = 1000

Maps = dict[str, tuple[VectorStore, int, Explorer]]  # by store name, with the store and its version


class ExploreTool:
    """The map of one store: its clusters, and the positions of search hits.

    `maps` caches an app's maps until their stores change, since a map takes longer than a search.
    """

    def __init__(self, store: VectorStore, maps: Maps, paced: PacedCalls) -> None:
        self._store = store
        self._maps = maps
        self._paced = paced
        self.name = f"explore_{re.sub(r'[^A-Za-z0-9_-]', '_', store.name)}"

    def described(self) -> Tool:
        """Return its name, description, schemas and page."""
        query = {"type": "string", "minLength": 1, "maxLength": MAX_TOOL_QUERY_CHARACTERS}
        return Tool(
            name=self.name,
            title=f"Explore {self._store.name}",
            description=(
                f"Show a map of the store {self._store.name!r}: its entries in named clusters, "
                "and with a query the most similar ones."
            ),
            input_schema={
                "type": "object",
                "properties": {"query": query},
                "additionalProperties": False,
            },
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
            _meta=shown_on(EXPLORER_PAGE),
        )

    async def call(
        self, arguments: dict[str, Any], context: Context[Any, Any] | None
    ) -> CallToolResult:
        """Return the map as structured content, and its clusters and hits as text."""
        query = arguments.get("query")
        fits = isinstance(query, str) and 0 < len(query) <= MAX_TOOL_QUERY_CHARACTERS
        if set(arguments) - {"query"} or not (query is None or fits):
            raise InputError(f"expects a query of 1 to {MAX_TOOL_QUERY_CHARACTERS} characters")
        size = len(query or "")
        return await self._paced.run(self.name, size, no_disconnect, self._shown, query)

    def _shown(self, query: str | None) -> CallToolResult:
        data = self._map(query)
        text = TextContent(type="text", text=_text(data))
        return CallToolResult(content=[text], structured_content=codec.loads(codec.dumps(data)))

    def _map(self, query: str | None) -> dict[str, Any]:
        explorer = self._explorer()
        coloring, xy = explorer.coloring, explorer.map.xy
        frame = frame_of(xy)
        clusters = [
            {"label": each.label, "color": each.color, "entries": each.entries, "at": place}
            for each, place in zip(
                coloring.categories, label_places(xy, coloring, frame), strict=True
            )
        ]
        hits: list[dict[str, Any]] = []
        if query is not None and len(xy):
            found = explorer.locate(query, MAX_FOUND, None, "dense")
            for hit, place in zip(found.hits, _parts(frame(found.xy)), strict=True):
                content = clip(hit.content or "", _MAX_CONTENT_CHARACTERS)
                facts = {"id": hit.id, "score": hit.score, "content": content, "at": place}
                hits.append({**facts, "uri": entry_uri(self._store.name, hit.id)})
        places = zip(_parts(frame(xy)), coloring.codes.tolist(), strict=True)
        return {
            "tool": self.name,
            "name": self._store.name,
            "facts": map_facts(explorer),
            "clusters": clusters,
            "ratio": PICTURE_WIDTH / PICTURE_HEIGHT,
            "points": [[*place, code] for place, code in places],
            "hits": hits,
        }

    def _explorer(self) -> Explorer:
        store = self._store
        kept = self._maps.get(store.name)
        if kept is None or kept[:2] != (store, store.version):
            kept = self._maps[store.name] = store, store.version, store.explore(limit=MAX_POINTS)
        return kept[2]


def _parts(places: Any) -> list[list[float]]:
    """Return positions from 0 to 1, from the upper left corner, rounded."""
    parts: list[list[float]] = np.round(places, 4).tolist()
    return parts


def _text(data: dict[str, Any]) -> str:
    lines = [" · ".join([f"Map of {data['name']}", *data["facts"]])]
    lines += [
        f"- {each['label']}: {figures.plural(each['entries'], 'entry')}"
        for each in data["clusters"]
    ]
    lines += [f"{hit['score']:.3f} {hit['id']}: {hit['content']}" for hit in data["hits"]]
    return "\n".join(lines)
