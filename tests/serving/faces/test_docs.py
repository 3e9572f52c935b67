"""The page of an app as sent: one file, with a policy that forbids loading anything else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from conduit_lab import App
from tests.serving.conftest import Ask
from tests.serving.faces.described_app import described_app

BROWSER = {"accept": "text/html,application/xhtml+xml"}


def test_the_page_is_one_file_that_loads_nothing_else(tmp_path: Path, asking: Ask) -> None:
    answer = asking(described_app(tmp_path)).get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", answer.text)
    assert not re.search(r"^(import|export) ", answer.text, re.MULTILINE)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        inner = re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert inner is not None
        digest = base64.b64encode(hashlib.sha256(inner[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_says_nothing_about_the_app(tmp_path: Path, asking: Ask) -> None:
    described = asking(described_app(tmp_path)).get("/docs")
    assert described.content == asking(App("other", root=tmp_path)).get("/docs").content


def test_a_browser_gets_the_page_at_the_front_and_a_program_a_404(
    tmp_path: Path, asking: Ask
) -> None:
    client = asking(described_app(tmp_path))
    assert client.get("/", headers=BROWSER).content == client.get("/docs").content
    assert client.get("/").status_code == 404
    assert client.head("/docs").content == b""
    assert client.post("/docs").status_code == 405


def test_an_endpoint_of_the_user_at_the_front_answers_first(app: App, asking: Ask) -> None:
    @app.get("/")
    def own() -> str:
        return "mine"

    assert asking(app).get("/", headers=BROWSER).json() == "mine"


def test_a_mounted_app_has_its_page_below_the_prefix(tmp_path: Path) -> None:
    outer = Starlette(routes=[Mount("/below", described_app(tmp_path))])
    with TestClient(outer) as client:
        assert client.get("/below/docs").status_code == 200
