"""A body of a JSON type that an untyped handler cannot index is a 400; the handler's bugs are 500.

Case 14: null, a list and a text as the body of the endpoints that the README shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from conduit_lab import App
from tests.serving.conftest import Ask

NOT_OBJECTS: list[Any] = [None, [], ["x"], "x", 7, 1.5, True, [[1]]]


@pytest.mark.usefixtures("headers_wait")
@pytest.mark.parametrize("body", NOT_OBJECTS)
def test_a_body_that_the_handler_indexes_must_be_an_object(
    app: App, asking: Ask, body: Any
) -> None:
    app.post("/item")(lambda body: {"length": len(body["text"])})
    app.post("/get")(lambda body: body.get("text"))

    @app.post("/async")
    async def answer(body: Any) -> Any:
        return body["text"]

    @app.ml_stream("/stream")
    def stream(body: Any) -> Iterator[str]:
        yield body["text"]

    client = asking(app)
    for path in ("/item", "/get", "/async", "/stream"):
        answer_ = post(client, path, body)
        assert answer_.status_code == 400, path
        assert "the body expects an object" in answer_.json()["error"]["message"]


def test_the_message_names_the_key_and_the_type_of_the_body(app: App, asking: Ask) -> None:
    app.post("/item")(lambda body: body["text"])
    error = post(asking(app), "/item", [1]).json()["error"]
    assert error["message"] == "the body expects an object with 'text', got a JSON list"


def test_a_model_endpoint_and_its_body(app: App, asking: Ask, weights: Any) -> None:
    app.ml_endpoint("/predict", model="sign.npz")(lambda body: body["features"])
    client = asking(app)
    for body in NOT_OBJECTS:
        assert post(client, "/predict", body).status_code == 400
    assert post(client, "/predict", {"features": [1, 2]}).status_code == 200


def test_an_item_of_the_body_counts_too(app: App, asking: Ask) -> None:
    app.post("/name")(lambda body: body["user"]["name"])
    client = asking(app)
    assert post(client, "/name", {"user": {"name": "Ada"}}).json() == "Ada"
    for user in NOT_OBJECTS:
        answer = post(client, "/name", {"user": user})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("the body['user'] expects an object")


def test_a_handler_that_expects_a_list_or_a_text_says_so(app: App, asking: Ask) -> None:
    app.post("/first")(lambda body: body[0])
    app.post("/strip")(lambda body: body.strip())
    client = asking(app)
    assert post(client, "/first", ["a"]).json() == "a"
    answer = post(client, "/first", 7)
    assert (answer.status_code, "expects a list" in answer.text) == (400, True)
    assert post(client, "/strip", " a ").json() == "a"
    answer = post(client, "/strip", [1])
    assert (answer.status_code, "expects a string" in answer.text) == (400, True)


def test_the_handlers_own_bugs_stay_faults(app: App, asking: Ask) -> None:
    """None of these is about the body itself: whatever the body, each is a 500."""
    nothing: Any = None

    def other_value(body: Any) -> Any:
        return nothing["text"]

    def a_local(body: Any) -> Any:
        found = None
        return found["text"]  # type: ignore[index]

    def rebound(body: Any) -> Any:
        body = None
        return body["text"]

    def item_put_there(body: Any) -> Any:
        body = {"user": None} if not isinstance(body, dict) else body
        return body["user"]["name"]

    def changed_item(body: Any) -> Any:
        if isinstance(body, dict):
            body["user"] = None
            return body["user"]["name"]
        return nothing["x"]

    def raised(body: Any) -> Any:
        raise TypeError("'NoneType' object is not subscriptable")

    def in_a_call(body: Any) -> Any:
        return _subscript(None)

    def misspelt(body: Any) -> Any:
        return body.gett("text")

    def wrong_arguments(body: Any) -> Any:
        return len(body, 1)  # type: ignore[call-arg]

    def result_of_the_body(body: Any) -> Any:
        return str(body).nothing  # type: ignore[attr-defined]

    handlers = [
        *(other_value, a_local, rebound, item_put_there, changed_item, raised),
        *(in_a_call, misspelt, wrong_arguments, result_of_the_body),
    ]
    for handler in handlers:
        app.post(f"/{handler.__name__}")(handler)
    client = asking(app)
    for handler in handlers:
        for body in (*NOT_OBJECTS, {"user": {"name": "Ada"}}, {}):
            status = post(client, f"/{handler.__name__}", body).status_code
            if handler is item_put_there and body == {"user": {"name": "Ada"}}:
                assert status == 200
            elif handler is item_put_there and body == {}:
                assert status == 400  # the body has no 'user'
            else:
                assert status == 500, (handler.__name__, body)


def post(client: TestClient, path: str, body: Any) -> Any:
    """Send a JSON body; `json=None` would send none."""
    return client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def _subscript(value: Any) -> Any:
    return value["text"]
