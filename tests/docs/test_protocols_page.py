"""The clients of docs/protocols.md call the page's own app, with small models."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conduit_lab.core import paths
from conduit_lab.models.text.embedder import Embedder
from conduit_lab.serving.faces.protocols import protocol_routes
from conduit_lab.serving.run.thread import Server
from tests.models.generation.writers import DECODERS

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"
QUESTION = "How long does a refund take?"


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Iterator[dict[str, Any]]:
    """The names of the page's code, its server's and its clients'."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(minilm.path, folder / "data" / "models" / "minilm")
    shutil.copytree(DECODERS / "llama", folder / "data" / "models" / "chat")
    names: dict[str, Any] = {}
    with paths.use_root(folder), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "pyproject.toml").touch()
        for block in blocks("python"):
            exec(compile(block, "protocols.md", "exec"), names)
        with Server(names["app"], port=0) as server:
            names["server"] = server
            for block in blocks("python client"):
                code = block.replace(ADDRESS, server.url)
                exec(compile(code, "protocols.md", "exec"), names)
            yield names
            names["client"].close()
            names["anthropic"].close()
        names["chat"].unload()
        names["handbook"].close()


def test_a_stream_has_the_text_of_the_whole_answer(page: dict[str, Any]) -> None:
    assert page["streamed"] == page["text"]
    assert len(page["vectors"].data[0].embedding) == 64


def test_a_source_is_a_page(page: dict[str, Any]) -> None:
    url = page["source"].url_citation.url
    assert url.startswith(f"{page['server'].url}/sources/")
    assert "A refund takes five days." in httpx.get(url).text


def test_every_protocol_answers(page: dict[str, Any]) -> None:
    assert page["response"].status in ("completed", "incomplete")
    assert page["message"].stop_reason in ("end_turn", "max_tokens")


def test_the_table_names_every_path(page: dict[str, Any]) -> None:
    named = set(re.findall(r"`(/v1/[a-z_/]+)`", PAGE))
    served = {getattr(route, "path", "") for route in protocol_routes(page["app"])}
    assert {path for path in served if "{" not in path} <= named
