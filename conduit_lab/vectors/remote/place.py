"""Place: the parts of a Qdrant URL."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import unquote

from conduit_lab.core.errors import StoreError

API_KEY_VARIABLE = "QDRANT_API_KEY"
REQUEST_TIMEOUT_SECONDS = 60

_DEFAULT_PORT = 6333
_URL = re.compile(
    r"(qdrants?)://(?:(:memory:|[\w.-]+(?::\d+)?|\[[\da-fA-F:]+\](?::\d+)?)|(/.+?))(?:/([^/]*))?"
)
_NAME = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]*")


class Place(NamedTuple):
    """The client's settings, the collection, whether local mode is used, and a display name."""

    settings: dict[str, Any]
    collection: str
    local: bool
    name: str


def read_place(url: str, name: str) -> Place:
    """Parse a URL; the display name contains no secret."""
    if "@" in url:
        raise StoreError(
            f"expected a Qdrant URL without user and key: set {API_KEY_VARIABLE}, and use qdrants://"
        )
    match = _URL.fullmatch(url)
    if match is None:
        raise StoreError(
            "expected a Qdrant URL, qdrant://host:6333/collection or qdrant:///folder/collection, "
            f"got {url!r}"
        )
    scheme, server, folder, last = match.groups()
    collection = last or name
    if not _NAME.fullmatch(collection):
        raise StoreError(
            f"a collection's name consists of letters, digits, . _ and -, got {collection!r}"
        )
    place = server or unquote(folder)
    shown = f"{scheme}://{place} collection {collection!r}"
    if place == ":memory:":
        return Place({"location": place}, collection, True, shown)
    if not server:
        return Place({"path": place}, collection, True, shown)
    secure = scheme == "qdrants"
    settings = {
        "url": f"{'https' if secure else 'http'}://{place}",
        "port": _DEFAULT_PORT,
        "timeout": REQUEST_TIMEOUT_SECONDS,
    }
    settings |= {
        "api_key": os.environ.get(API_KEY_VARIABLE) if secure else None,
        "check_compatibility": False,
    }
    return Place(settings, collection, False, shown)
