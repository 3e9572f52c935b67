"""Place: where a Qdrant URL leads."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import unquote

from conduit_lab.core.errors import StoreError

API_KEY = "QDRANT_API_KEY"  # the environment's variable
TIMEOUT = 60  # seconds

_PORT = 6333  # where the URL has none
_URL = re.compile(
    r"(qdrants?)://(?:(:memory:|[\w.-]+(?::\d+)?|\[[\da-fA-F:]+\](?::\d+)?)|(/.+?))(?:/([^/]*))?"
)
_NAME = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]*")


class Place(NamedTuple):
    """What a URL says: the client's settings, the collection, whether it is local, and a name for people."""

    settings: dict[str, Any]
    collection: str
    local: bool
    name: str


def read_place(url: str, name: str) -> Place:
    """Read a URL; its name for people has no secret in it."""
    if "@" in url:
        raise StoreError(
            f"a Qdrant URL has no user and no key in it: put the key into {API_KEY}, and use qdrants://"
        )
    match = _URL.fullmatch(url)
    if match is None:
        raise StoreError(
            f"a Qdrant URL is qdrant://host:6333/collection or qdrant:///folder/collection, got {url!r}"
        )
    scheme, server, folder, last = match.groups()
    collection = last or name
    if not _NAME.fullmatch(collection):
        raise StoreError(
            f"a collection's name has letters, digits, . _ and - in it, got {collection!r}"
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
        "port": _PORT,
        "timeout": TIMEOUT,
    }
    settings |= {
        "api_key": os.environ.get(API_KEY) if secure else None,
        "check_compatibility": False,
    }
    return Place(settings, collection, False, shown)
