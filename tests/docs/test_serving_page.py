"""The app of docs/serving.md answers as the page says."""

from __future__ import annotations

import io
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of the page's app, in a folder with the orders that it counts."""
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "orders.sqlite")) as orders, orders:
        orders.execute("create table orders (id)")
        orders.execute("insert into orders values (1), (2)")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    names: dict[str, object] = {}
    exec(compile(code, "serving.md", "exec", dont_inherit=True), names)
    with TestClient(names["app"], base_url="http://localhost") as client:  # type: ignore[arg-type]
        yield client


def test_the_types_validate(client: TestClient) -> None:
    rows = [[1.0] * 64]
    assert client.post("/score", json={"features": rows, "mode": "max"}).json() == {"score": 1.0}
    wrong = client.post("/score", json={"features": [[1.0] * 63], "mode": "min", "top_k": 0})
    message = wrong.json()["error"]["message"]
    assert wrong.status_code == 400
    assert "expected float32 [n, 64], got float32 [1, 63]" in message
    assert "mode" in message
    assert "top_k" in message
    assert client.post("/score", json={"features": rows, "top_k": "3"}).status_code == 400
    assert client.post("/score?mode=max", json={"features": rows}).json() == {"score": 1.0}


def test_a_resource_is_built_at_the_first_call(client: TestClient) -> None:
    assert client.get("/orders/count").json() == 2


def test_a_file_comes_as_a_form(client: TestClient) -> None:
    assert client.post("/scan", files={"page": ("a.txt", b"abc")}).json() == {"bytes": 3}


def test_another_body_is_refused(client: TestClient) -> None:
    packed = io.BytesIO()
    np.save(packed, np.ones((2, 64), np.float32))
    npy = {"content-type": "application/x-npy"}
    answer = client.post("/score", content=packed.getvalue(), headers=npy)
    assert answer.status_code == 400  # three parameters, and one array
    assert "got an array" in answer.json()["error"]["message"]
    plain = {"content-type": "text/plain"}
    assert client.post("/score", content=b"{}", headers=plain).status_code == 415


def test_the_server_s_own_pages(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {"/score", "/scan", "/orders/count"}
    assert "text/html" in client.get("/docs").headers["content-type"]
    assert "# TYPE" in client.get("/metrics").text
    assert client.get("/v1/info").json()["name"] == "desk"
