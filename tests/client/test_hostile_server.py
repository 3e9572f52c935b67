"""The views of a served app hold nothing of a hostile server but text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from conduit_lab import RemoteApp, connect
from tests.test_hostile_views import ATTRIBUTES, EVIL, MAX_CHARACTERS, TAGS, Page

MANY = 300
SECONDS = 20.0


def described() -> bytes:
    """Return a description of an app whose every text is hostile."""
    parameters = [{"name": "x", "in": "query", "schema": {"type": "string", "default": EVIL}}]
    paths = {
        f"/p{n}{EVIL}": {
            "get": {
                "summary": EVIL,
                "description": EVIL,
                "parameters": parameters,
                "x-conduit-endpoint": {"name": f"f{n}", "shape": "value", "method": "GET"},
            }
        }
        for n in range(MANY)
    }
    stores = [
        {"name": f"{n}{EVIL}", "entries": n, "dimension": 3, "metric": EVIL} for n in range(MANY)
    ]
    models = [{"name": f"{n}{EVIL}", "kind": EVIL, "device": EVIL} for n in range(MANY)]
    info = {"title": EVIL, "x-conduit-lab": {"version": EVIL}}
    return json.dumps({"info": info, "paths": paths, "stores": stores, "models": models}).encode()


@pytest.fixture
def remote() -> Iterator[RemoteApp]:
    body = described()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answering = threading.Thread(target=server.serve_forever, args=(0.01,))
        answering.start()
        try:
            with connect(f"http://127.0.0.1:{server.server_port}") as remote:
                yield remote
        finally:
            server.shutdown()
            answering.join(SECONDS)


def test_every_view_of_a_hostile_server_holds_only_text(remote: RemoteApp) -> None:
    assert len(remote.endpoints) == MANY
    store = next(iter(remote.stores.values()))
    for shown in (
        remote,
        remote.endpoints,
        remote.endpoints[0],
        remote.models,
        remote.stores,
        store,
    ):
        html = shown._repr_mimebundle_()["text/html"]
        seen = Page(html)
        assert seen.tags <= TAGS
        assert seen.attributes <= ATTRIBUTES
        assert seen.unbroken == []
        assert len(html) < MAX_CHARACTERS, type(shown)
