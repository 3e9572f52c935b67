"""A tenant sees only its own stores: as models, as answers and as pages of passages."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from conduit_lab import App, Rag
from conduit_lab.serving.faces.passage_links import citation_url
from conduit_lab.serving.gate.keys import Key
from conduit_lab.serving.gate.signed_links import signed_query
from tests.serving.conftest import Ask
from tests.serving.faces.language.desks import PASSAGE, QUESTION, Quoter

HOSTS = ("testserver",)


def desk(root: Path) -> App:
    tenants = {"red": "red", "blue": "blue", "all": None}
    keys = [
        Key(name, sha256(name.encode()).hexdigest(), tenant) for name, tenant in tenants.items()
    ]
    app = App("desk", root=root, protocols=["openai"], keys=keys, hosts=HOSTS)
    for tenant in ("red", "blue"):
        store = app.vector_store(f"{tenant}-notes", dimension=2)
        store.tenant = tenant
        store.add("a", [1, 0], {}, f"{PASSAGE} Only for {tenant}.")
        app.rag(f"/{tenant}", Rag(store, Quoter(), mode="lexical"))
    return app


def ask(client: TestClient, key: str, model: str) -> Any:
    messages = [{"role": "user", "content": QUESTION}]
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": model, "messages": messages}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def test_a_tenant_sees_no_other(tmp_path: Path, asking: Ask) -> None:
    client = asking(desk(tmp_path))
    page = citation_url("", {"text": f"{PASSAGE} Only for red."}).partition("#")[0]
    seen = {}
    for key in ("red", "blue", "all"):
        headers = {"authorization": f"Bearer {key}"}
        models = client.get("/v1/models", headers=headers).json()["data"]
        seen[key] = (
            [model["id"] for model in models],
            client.get(page, headers=headers).status_code,
            ask(client, key, "red").status_code,
        )
    assert seen == {
        "red": (["red"], 200, 200),
        "blue": (["blue"], 404, 404),
        "all": (["red", "blue"], 200, 200),
    }


def test_a_browser_follows_a_signed_link_and_no_other(tmp_path: Path, asking: Ask) -> None:
    app = desk(tmp_path)
    client = asking(app)
    [annotation] = ask(client, "red", "red").json()["choices"][0]["message"]["annotations"]
    url = annotation["url_citation"]["url"].removeprefix("http://testserver").partition("#")[0]
    page = client.get(url)
    assert page.status_code == 200
    assert "Only for red." in page.text
    path, _, query = url.partition("?")
    other = citation_url("", {"text": f"{PASSAGE} Only for blue."}).partition("#")[0]
    forged = signed_query(Key("red", sha256(b"another").hexdigest()), path)
    flipped = query[:-1] + ("0" if query[-1] == "1" else "1")
    for refused in (path, f"{path}?{flipped}", f"{other}?{query}", path + forged):
        assert client.get(refused).status_code == 401
    assert client.get(f"/v1/models?{query}").status_code == 401
    assert client.post(url).status_code == 401
    # a signature does not lead to the stores of another tenant
    wrong = other + signed_query(app.keys[0], other)
    assert client.get(wrong).status_code == 404
