"""Dispatch: which route answers a request, and its template and ID in the request context."""

from __future__ import annotations

import os

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import Message, Scope, Send

from conduit_lab import App
from conduit_lab.serving.gate import gate
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.server_state import ServerState
from tests.serving.conftest import Ask


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[RequestContext]:
    """The contexts of the requests that the gate gets from now on."""
    kept: list[RequestContext] = []

    class Kept(RequestContext):
        __slots__ = ()

        def __init__(self, app: App, server: object, scope: Scope, send: Send) -> None:
            super().__init__(app, app.server_of(scope), scope, send)
            kept.append(self)

    monkeypatch.setattr(gate, "RequestContext", Kept)
    return kept


def test_a_path_without_parameters_precedes_one_that_matches_it_too(app: App, asking: Ask) -> None:
    app.get("/items/{name}")(lambda name: f"item {name}")
    app.get("/items/all")(lambda: "all")
    client = asking(app)
    assert client.get("/items/all").json() == "all"
    assert client.get("/items/one").json() == "item one"


def test_a_context_has_the_template_of_its_route(
    app: App, asking: Ask, contexts: list[RequestContext]
) -> None:
    app.get("/items/{name}")(lambda name: name)
    app.get("/items")(lambda: "all")
    app.get("/fails")(lambda: 1 / 0)
    client = asking(app)
    for path in ("/items", "/items/secret", "/nope", "/fails", "/healthz"):
        client.get(path)
    client.post("/items")
    found = [(each.template, each.status) for each in contexts]
    assert found[:5] == [
        ("/items", 200),
        ("/items/{name}", 200),
        ("", 404),
        ("/fails", 500),
        ("/healthz", 200),
    ]
    assert found[5] == ("", 405)


def test_an_app_below_another_answers_too(app: App, contexts: list[RequestContext]) -> None:
    app.get("/items")(lambda: "all")
    client = TestClient(Starlette(routes=[Mount("/desk", app)]))
    assert client.get("/desk/items").json() == "all"
    assert client.get("/items").status_code == 404
    assert [each.template for each in contexts] == ["/items"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_worker_makes_other_ids(app: App) -> None:
    async def send(message: Message) -> None: ...

    async def receive() -> Message:
        return {}

    def ids() -> str:
        scope: Scope = {"type": "http", "state": {}}
        return RequestContext(app, ServerState(), scope, send).id

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, ids().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 64).decode()
    os.close(reader)
    os.close(writer)
    ours = ids()
    assert len(ours) == len(theirs) == 16
    assert ours[:8] != theirs[:8]
