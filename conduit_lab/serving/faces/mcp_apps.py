"""MCP Apps: pages that a host shows with the result of a tool (SEP-1865).

Each page is a self-contained HTML document without external resources; clients that do not show
pages get the same result as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.server.extension import Extension, ResourceBinding
from mcp.server.mcpserver.resources import TextResource

EXPLORER_PAGE = "ui://conduit-lab/explorer.html"
STREAM_PAGE = "ui://conduit-lab/stream.html"

_FOLDER = files(__package__).joinpath("mcp_pages")  # inside the wheel during an export's proof
_PAGES = {EXPLORER_PAGE: "A map of a store's entries", STREAM_PAGE: "The text of a stream"}


class AppPages(Extension):
    """The pages of every app that serves MCP."""

    identifier = EXTENSION_ID

    def resources(self) -> Sequence[ResourceBinding]:
        """Return a resource per page."""
        return [
            ResourceBinding(
                TextResource(
                    uri=uri,
                    name=uri.rpartition("/")[2],
                    description=description,
                    mime_type=APP_MIME_TYPE,
                    text=page_html(uri),
                )
            )
            for uri, description in _PAGES.items()
        ]


@cache
def page_html(uri: str) -> str:
    """Return the HTML of a page, with its style and script inlined."""
    text = _FOLDER.joinpath(uri.rpartition("/")[2]).read_text("utf-8")
    for part in ("page.css", "bridge.js"):
        text = text.replace(f"/*{part}*/", _FOLDER.joinpath(part).read_text("utf-8"))
    return text


def shown_on(uri: str) -> dict[str, Any]:
    """Return the metadata of a tool whose results are shown on a page."""
    return {"ui": {"resourceUri": uri}}
