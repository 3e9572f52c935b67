"""Streams that answer the GET of a browser's EventSource."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.serving.request import Request
from tests.serving.conftest import Ask
from tests.serving.faces.counting import data


def test_a_get_takes_from_the_query_what_a_post_takes_from_the_body(app: App, asking: Ask) -> None:
    @app.ml_stream("/repeat")
    def repeat(word: str, times: int = 2, tags: list[str] | None = None) -> Iterator[Any]:
        yield from [word] * times
        yield tags

    client = asking(app)
    query = client.get("/repeat?word=a%20b&times=3&tags=x&tags=y").text
    body = client.post("/repeat", json={"word": "a b", "times": 3, "tags": ["x", "y"]}).text
    assert data(query) == data(body) == ["a b", "a b", "a b", ["x", "y"]]
    assert client.get("/repeat").status_code == 400
    assert client.get("/repeat?word=a&times=many").status_code == 400


def test_a_handler_of_the_request_gets_the_query_as_its_json(app: App, asking: Ask) -> None:
    @app.ml_stream("/echo")
    def echo(request: Request) -> Iterator[Any]:
        yield request.parse_json()["prompt"]

    assert data(asking(app).get("/echo?prompt=hello").text) == ["hello"]


@pytest.mark.usefixtures("headers_wait")
def test_an_empty_stream_gives_a_browser_an_id_to_come_back_with(app: App, asking: Ask) -> None:
    app.ml_stream("/none")(lambda: iter(()))
    client = asking(app)
    answer = client.get("/none")
    last = answer.text.split("id: ")[1].partition("\n")[0]
    assert last.endswith(":end")
    assert answer.text == f'retry: 1000\nid: {last}\nevent: end\ndata: {{"chunks":0}}\n\n'
    assert client.get("/none", headers={"last-event-id": last}).status_code == 204


def test_a_head_runs_nothing(app: App, asking: Ask) -> None:
    app.ml_stream("/never")(lambda: pytest.fail("it ran"))
    answer = asking(app).head("/never")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_get_endpoint_of_the_same_path_keeps_its_get(app: App, asking: Ask) -> None:
    app.ml_stream("/both")(lambda: iter([1]))
    app.get("/both")(lambda: "mine")
    client = asking(app)
    assert client.get("/both").json() == "mine"
    assert data(client.post("/both").text) == [1]
