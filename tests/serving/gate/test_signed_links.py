"""Links with the rights of a key: they hold for one page, end, and need the link secret."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from conduit_lab import App, Key, Lab, Rag, new_key
from conduit_lab.core.errors import EndpointError
from conduit_lab.export.templates import app_options
from conduit_lab.serving.app_options import PUBLIC_URL_VARIABLE
from conduit_lab.serving.gate import signed_links
from conduit_lab.serving.gate.signed_links import (
    LINK_DAYS,
    LINK_SECRET_VARIABLE,
    share_link_secret,
    signed_caller,
    signed_query,
)
from tests.serving.conftest import Ask
from tests.serving.faces.language.desks import PASSAGE, QUESTION, Quoter

PATH = "/sources/" + "0" * 32
SECRET, ANN = new_key("ann", tenant="red")
BOB = new_key("bob")[1]
DAY = 86400
NOON = 20_000 * DAY + DAY / 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [NOON]
    monkeypatch.setattr(signed_links, "time", lambda: now[0])
    monkeypatch.delenv(LINK_SECRET_VARIABLE, raising=False)
    yield now


def query_of(key: Key, path: str = PATH, /, **changes: Any) -> bytes:
    fields = {
        name: values[0] for name, values in parse_qs(signed_query(key, path).strip("?")).items()
    }
    return urlencode({**fields, **changes}).encode()


def test_a_link_has_the_rights_of_its_key_until_it_ends(clock: list[float]) -> None:
    query = query_of(ANN)
    assert signed_caller([BOB, ANN], PATH, query) is ANN
    clock[0] += LINK_DAYS * DAY
    assert signed_caller([ANN], PATH, query) is ANN
    clock[0] += DAY / 2  # the end of the last day
    assert signed_caller([ANN], PATH, query) is None


def test_the_same_link_is_given_all_day(clock: list[float]) -> None:
    first = signed_query(ANN, PATH)
    clock[0] += DAY / 2 - 1
    assert signed_query(ANN, PATH) == first
    clock[0] += 1
    assert signed_query(ANN, PATH) != first


CHANGES: list[dict[str, Any]] = [
    {"key": "bob"},
    {"key": ""},
    {"expires": int(NOON) + 400 * DAY},
    {"expires": "9" * 300},
    {"expires": "١٢٣٤٥٦٧٨٩٠"},
    {"expires": "-1"},
    {"expires": "1e12"},
    {"expires": ""},
    {"signature": ""},
    {"signature": "0" * 32},
    {"signature": "é" * 32},
]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_changed_link_is_none(changes: dict[str, Any]) -> None:
    assert signed_caller([ANN, BOB], PATH, query_of(ANN, **changes)) is None


@pytest.mark.usefixtures("clock")
def test_a_link_is_for_one_page_of_a_key_as_it_was() -> None:
    query = query_of(ANN)
    for path in (PATH[:-1] + "1", "/v1/usage", "/sources", f"/x{PATH}"):
        assert signed_caller([ANN], path, query) is None
    for changed in (replace(ANN, tenant="blue"), replace(ANN, hash=BOB.hash), BOB):
        assert signed_caller([changed], PATH, query) is None
    assert signed_caller([ANN], PATH, b"") is None
    assert signed_caller([ANN], PATH, query + b"&x=" + b"y" * 600) is None
    assert signed_query(None, PATH) == ""


@pytest.mark.usefixtures("clock")
def test_the_hash_of_a_key_forges_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    expires = (int(NOON) // DAY + 1 + LINK_DAYS) * DAY
    signed = "\n".join((ANN.name, ANN.hash, "red", str(expires), PATH))
    for known in (ANN.hash, ANN.line(), ""):
        for text in (PATH, signed):
            forged = hmac.new(known.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]
            assert signed_caller([ANN], PATH, query_of(ANN, signature=forged)) is None
    secret = "s" * 32  # the link secret alone does
    monkeypatch.setenv(LINK_SECRET_VARIABLE, secret)
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()[:32]
    assert signed_caller([ANN], PATH, query_of(ANN, signature=signature)) is ANN


@pytest.mark.usefixtures("clock")
def test_a_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def watched(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return compare(a, b)

    query = query_of(ANN)
    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert signed_caller([ANN], PATH, query) is ANN
    assert signed_caller([ANN], PATH, query_of(ANN, signature="0" * 32)) is None
    assert len(compared) == 2


@pytest.mark.usefixtures("clock")
def test_workers_share_the_secret_of_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    query = query_of(ANN)
    monkeypatch.setenv(LINK_SECRET_VARIABLE, "")  # set back after the test
    share_link_secret()
    shared = os.environ[LINK_SECRET_VARIABLE]
    assert len(shared) >= 32
    monkeypatch.setattr(signed_links, "_process_secret", "that of another process")
    assert signed_caller([ANN], PATH, query) is ANN
    share_link_secret()
    assert os.environ[LINK_SECRET_VARIABLE] == shared
    monkeypatch.delenv(LINK_SECRET_VARIABLE)
    assert signed_caller([ANN], PATH, query) is None


def test_a_secret_that_can_be_guessed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LINK_SECRET_VARIABLE, "hunter2")
    with pytest.raises(EndpointError, match="at least 32 random characters, got 7") as refused:
        App("desk", root=tmp_path)
    assert "hunter2" not in str(refused.value)


# The public URL


def cited(app: App, asking: Ask, host: str) -> str:
    store = app.vector_store("notes", dimension=2)
    store.add("a", [1, 0], {}, PASSAGE)
    app.rag("/ask", Rag(store, Quoter(), mode="lexical"))
    body = {"model": "ask", "messages": [{"role": "user", "content": QUESTION}]}
    headers = {"host": host, "x-forwarded-host": "evil.example"}
    answer = asking(app).post("/v1/chat/completions", json=body, headers=headers).json()
    url: str = answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
    store.close()
    return url


def test_links_begin_with_the_public_url_and_not_with_the_host(tmp_path: Path, asking: Ask) -> None:
    app = App(
        "desk", root=tmp_path, protocols=["openai"], public_url="https://desk.example.org/app/"
    )
    assert cited(app, asking, "evil.example").startswith("https://desk.example.org/app/sources/")


def test_the_environment_replaces_it_and_an_export_keeps_it(
    tmp_path: Path, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUBLIC_URL_VARIABLE, "https://other.example.org")
    app = App("desk", root=tmp_path, protocols=["openai"], public_url="https://desk.example.org")
    assert cited(app, asking, "10.0.0.1").startswith("https://other.example.org/sources/")
    lab = Lab("desk", root=tmp_path, public_url="https://desk.example.org")
    assert app_options(lab) == ", public_url='https://desk.example.org'"


WRONG = [
    "desk.example.org",
    "ftp://desk.example.org",
    "https://",
    "https://desk.example.org/?a=1",
    "https://desk.example.org/#a",
    "https://ann:secret@desk.example.org",
    "https://desk.example.org:port",
    "https://desk.example.org/a b",
    "javascript://desk.example.org/%0aalert(1)",
    "https://desk.example.org/\n",
]


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(EndpointError, match="public_url= expects the address"):
        App("desk", root=tmp_path, public_url=url)
