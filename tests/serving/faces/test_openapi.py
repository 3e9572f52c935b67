"""The OpenAPI document: valid, whole, with the names that a client library needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from conduit_lab import App, Lab
from conduit_lab.core.npy import NPY_TYPE
from conduit_lab.serving.faces import openapi as face
from conduit_lab.serving.faces.openapi import openapi
from conduit_lab.serving.gate.keys import Keys, new_key
from conduit_lab.serving.recorded import Example
from tests.serving.conftest import Ask
from tests.serving.faces.described_app import described_app


def document(app: App) -> dict[str, Any]:
    made = openapi(app, app.endpoints)
    OpenAPIV31SpecValidator(made).validate()
    return made


def schema_at(made: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": made["components"]})


def test_the_document_is_valid_and_has_every_endpoint(tmp_path: Path, asking: Ask) -> None:
    app = described_app(tmp_path)
    made = document(app)
    operations = {(method.upper(), path) for path, item in made["paths"].items() for method in item}
    expected = {
        (method, each.path.replace(":int", "")) for each in app.endpoints for method in each.methods
    }
    assert operations == expected
    served = asking(app).get("/openapi.json")
    assert (served.status_code, served.json()) == (200, made)


def test_each_operation_names_its_endpoint(tmp_path: Path) -> None:
    made = document(described_app(tmp_path))
    count = made["paths"]["/count"]
    facts = {"name": "count", "shape": "stream", "method": "POST", "resume": 0.5}
    facts |= {"parameters": ["to"], "whole": None}
    assert count["post"]["x-conduit-endpoint"] == count["get"]["x-conduit-endpoint"] == facts
    order = made["paths"]["/order"]["post"]
    assert (order["summary"], order["description"]) == ("Take an order.", "It is not kept.")
    assert order["x-conduit-endpoint"]["resume"] is None
    assert "version" in made["info"]["x-conduit-lab"]


def test_operation_ids_are_unique(app: App) -> None:
    def same(value: Any) -> Any:
        return value

    def same_get() -> int:
        return 1

    app.post("/a")(same)
    app.post("/b")(same)
    app.ml_stream("/c")(same)
    app.get("/d")(same_get)
    paths = document(app)["paths"]
    ids = [each["operationId"] for item in paths.values() for each in item.values()]
    assert ids == ["same", "same_2", "same_3", "same_get", "same_get_2"]


def test_two_models_of_one_name_are_two_schemas(app: App) -> None:
    def model(field: str) -> Any:
        return type("Thing", (BaseModel,), {"__annotations__": {field: int}})

    def serve(path: str, kind: Any) -> None:
        def ask(thing: Any, n: int) -> None: ...

        ask.__annotations__["thing"] = list[kind]
        app.post(path)(ask)

    serve("/a", model("x"))
    serve("/b", model("y"))
    made = document(app)
    schemas = {
        path: made["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for path in ("/a", "/b")
    }
    assert schema_at(made, schemas["/a"]).is_valid({"thing": [{"x": 1}], "n": 1})
    assert not schema_at(made, schemas["/a"]).is_valid({"thing": [{"y": 1}], "n": 1})
    assert schema_at(made, schemas["/b"]).is_valid({"thing": [{"y": 1}], "n": 1})


def test_the_answers_validate_against_their_schemas(tmp_path: Path, asking: Ask) -> None:
    app = described_app(tmp_path)
    client, made = asking(app), document(app)
    for path, body in (
        ("/order", {"item": "pan", "n": 2, "at": {"x": 1}}),
        ("/words", {"text": "a"}),
        ("/sum", {"rows": [[1, 2, 3]]}),
        ("/reset", None),
    ):
        answer = client.post(path, json=body) if body else client.post(path)
        success = made["paths"][path]["post"]["responses"]["200"]
        validator = schema_at(made, success["content"]["application/json"]["schema"])
        assert validator.is_valid(answer.json()), answer.text
    refused = client.post("/order", json={})
    error = made["components"]["responses"]["Error"]["content"]["application/json"]["schema"]
    assert refused.status_code == 400
    assert schema_at(made, error).is_valid(refused.json())
    assert not schema_at(made, error).is_valid({"error": "text"})


def test_a_stream_answers_with_events_whose_data_is_a_chunk(tmp_path: Path) -> None:
    made = document(described_app(tmp_path))
    content = made["paths"]["/count"]["post"]["responses"]["200"]["content"]
    chunk = content["text/event-stream"]["schema"]["properties"]["data"]["contentSchema"]
    validator = schema_at(made, chunk)
    assert validator.is_valid(3)
    assert validator.is_valid({"type": "stream_failed", "message": "…"})
    assert not validator.is_valid("text")


def test_recorded_calls_are_examples(lab: Lab) -> None:
    @lab.post("/double/{by}")
    def double(by: int, n: int) -> int:
        return by * n

    @lab.post("/long")
    def long(text: str) -> int:
        return len(text)

    for n in range(face.MAX_DOCUMENT_EXAMPLES + 2):
        double(3, n)
    long("x" * face.MAX_EXAMPLE_CHARACTERS)
    paths = document(lab)["paths"]

    def examples(path: str) -> Any:
        operation = paths[path]["post"]
        body = operation["requestBody"]["content"]["application/json"].get("examples", {})
        calls = operation.get("x-conduit-examples", [])
        assert [each["value"] for each in body.values()] == [each["arguments"] for each in calls]
        return calls

    shown = examples("/double/{by}")
    assert [each["arguments"] for each in shown] == [{"n": n} for n in (6, 5, 4, 3, 2)]
    assert (shown[0]["path"], shown[0]["summary"]) == ({"by": 3}, '{"n": 6}')
    assert examples("/long") == []


def test_a_body_that_may_be_an_array_says_so(tmp_path: Path) -> None:
    posts = [
        (path, item["post"])
        for path, item in document(described_app(tmp_path))["paths"].items()
        if "post" in item
    ]
    bodies = {path: post.get("requestBody", {}).get("content", {}) for path, post in posts}
    assert {path for path, content in bodies.items() if NPY_TYPE in content} == {"/echo", "/sum"}


def test_the_recorded_calls_of_an_export_are_not_served(tmp_path: Path) -> None:
    example = Example("POST", "/echo", "value", {"name": "Ada Lovelace"}, {"name": "Ada Lovelace"})
    (tmp_path / "examples.jsonl").write_text(f"{example.to_json(tmp_path)}\n", "utf-8")
    assert "Ada" not in json.dumps(document(described_app(tmp_path)))


def test_an_app_served_below_a_prefix_says_so(tmp_path: Path) -> None:
    app = described_app(tmp_path)
    outer = Starlette(routes=[Mount("/below", app)])
    with TestClient(outer) as client:
        assert client.get("/below/openapi.json").json()["servers"] == [{"url": "/below"}]


def test_an_app_with_keys_declares_them(tmp_path: Path) -> None:
    app = described_app(tmp_path)
    assert "security" not in document(app)
    app.keys = Keys([new_key("desk")[1]])
    made = document(app)
    assert made["security"] == [{"key": []}]
    assert made["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_a_file_is_a_part_of_a_form_where_forms_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face, "BODY_TYPES", ("application/json", "multipart/form-data"))
    content = document(described_app(tmp_path))["paths"]["/upload"]["post"]["requestBody"][
        "content"
    ]
    photo = content["multipart/form-data"]["schema"]["properties"]["photo"]
    assert photo == {"type": "string", "contentMediaType": "application/octet-stream"}
    assert content["application/json"]["schema"]["properties"]["photo"]["required"] == ["data"]


def test_an_endpoint_that_is_registered_later_is_there(app: App, asking: Ask) -> None:
    client = asking(app)
    assert client.get("/openapi.json").json()["paths"] == {}

    @app.ml_stream("/a")
    def a() -> Iterator[int]:
        yield 1

    assert list(client.get("/openapi.json").json()["paths"]) == ["/a"]
    assert client.get("/openapi.json").content == client.get("/openapi.json").content
