"""The page of a cited passage: found by its text's hash, escaped, with the span marked."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from conduit_lab import App, Rag, VectorStore
from conduit_lab.serving.faces.passage_index import PassageIndex, passage_hash
from conduit_lab.serving.faces.passage_links import citation_url
from tests.serving.conftest import Ask

TEXT = "A refund takes five days. It goes to the card. Keep the <b>receipt</b>."


class Echo:
    """A generator with room for few words, so that passages are cut."""

    context = 10**6

    def generate(self, *, query: str, context: Sequence[str]) -> str:
        return f"{query}: {' | '.join(context)}"

    def count_tokens(
        self, prompt: str = "", *, query: str = "", context: list[str] | None = None
    ) -> int:
        return len("".join(context or []))


@pytest.fixture
def store() -> Iterator[VectorStore]:
    with VectorStore(2, name="handbook") as store:
        store.add("refunds#0", [1, 0], {"title": "Refunds & <i>", "page": 3}, TEXT)
        yield store


@pytest.fixture
def client(app: App, asking: Ask, store: VectorStore) -> TestClient:
    app.rag("/rag/query", Rag(store, Echo(), mode="lexical"))
    return asking(app)


def path(url: str) -> str:
    return url.partition("#")[0]


def test_a_cited_passage_has_a_page(client: TestClient, store: VectorStore) -> None:
    [source] = client.post("/rag/query", json={"question": "refund"}).json()["sources"]
    url = citation_url("", source, 0, 25)
    assert url == f"/sources/{passage_hash(TEXT)}#0-25"
    page = client.get(url)
    assert page.status_code == 200
    assert "Keep the &lt;b&gt;receipt&lt;/b&gt;." in page.text
    assert "<h1>Refunds &amp; &lt;i&gt;</h1>" in page.text
    assert "handbook · page: 3" in page.text


def test_its_policy_allows_its_own_script_and_style_alone(
    client: TestClient, store: VectorStore
) -> None:
    page = client.get(path(citation_url("", {"text": TEXT})))
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    inline = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page.text, re.DOTALL)
    assert len(inline) == 2
    for each in inline:
        assert f"'sha256-{b64encode(sha256(each.encode()).digest()).decode()}'" in policy
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("cut", [TEXT[:25], TEXT[:46], TEXT])
def test_a_passage_that_was_cut_at_a_sentence_is_found(client: TestClient, cut: str) -> None:
    assert client.get(path(citation_url("", {"text": cut}))).status_code == 200


@pytest.mark.parametrize(
    "name", [passage_hash(TEXT[:30]), "0" * 32, "f" * 31, "x" * 32, "..", "%00", "A" * 5000]
)
def test_anything_else_is_a_404(client: TestClient, name: str) -> None:
    answer = client.get(f"/sources/{name}")
    assert answer.status_code == 404
    assert "refund" not in answer.text


def test_an_entry_that_is_added_later_is_found_and_a_removed_one_is_not(
    client: TestClient, store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit_lab.serving.faces.passage_index._IDLE_PER_BUILD", 0.0)
    later = path(citation_url("", {"text": "A kettle."}))
    assert client.get(later).status_code == 404
    store.add("kettles#0", [0, 1], {}, "A kettle.")
    assert client.get(later).status_code == 200
    store.delete("kettles#0")
    assert client.get(later).status_code == 404


def test_a_link_works_after_a_restart(tmp_path: Path, asking: Ask) -> None:
    file = tmp_path / "indexes" / "handbook.sqlite"
    file.parent.mkdir()
    with VectorStore(2, path=file) as store:
        store.add("refunds#0", [1, 0], {}, TEXT)
    for _ in range(2):
        app = App("desk", root=tmp_path)
        app.rag("/ask", Rag(app.vector_store("handbook"), Echo(), mode="lexical"))
        assert asking(app).get(path(citation_url("", {"text": TEXT}))).status_code == 200
        app.stores["handbook"].close()


def test_only_stores_of_served_rags_are_shown(app: App, asking: Ask, store: VectorStore) -> None:
    app.rag("/ask", Rag(store, Echo(), mode="lexical"))
    with VectorStore(2, name="private") as private:
        private.add("salary", [1, 0], {}, "The salary.")
        app.stores["private"] = private
        assert asking(app).get(path(citation_url("", {"text": "The salary."}))).status_code == 404


def test_an_app_without_a_rag_has_no_such_path(app: App, asking: Ask) -> None:
    assert asking(app).get("/sources/" + "0" * 32).json()["error"]["type"] == "not_found"


def test_offsets_and_prefixes() -> None:
    assert citation_url("/desk/", {"text": "ab"}) == f"/desk/sources/{passage_hash('ab')}#0-2"
    assert passage_hash("\ud800") == passage_hash("?")


def test_an_index_lives_as_long_as_its_store() -> None:
    store = VectorStore(2)
    assert PassageIndex.of(store) is PassageIndex.of(store)
    other = VectorStore(2)
    assert PassageIndex.of(store) is not PassageIndex.of(other)
