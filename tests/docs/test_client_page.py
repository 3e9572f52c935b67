"""The code of docs/client.md runs against its own app and gives the values on the page."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import Prediction
from conduit_lab.core.errors import RemoteInputError
from conduit_lab.serving.run.thread import Server

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"

Names = dict[str, Any]


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Names]]:
    """The page's app on a free port, and the names of its code."""
    names: Names = {}
    monkeypatch.chdir(tmp_path)  # the root of the app: it is not inside a project
    (code,) = blocks("python server")
    exec(compile(code, "client.md", "exec"), names)
    names["handbook"].add_many(["a", "b", "c"], [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    with Server(names["app"], port=0) as server:
        yield server, names
    names["handbook"].close()


def test_the_cells_show_what_the_page_says(served: tuple[Server, Names]) -> None:
    server, _ = served
    names: Names = {}
    values = []
    for block in blocks("python"):
        code = ast.parse(block.replace(ADDRESS, server.url))
        last = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
        exec(compile(code, "client.md", "exec"), names)
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), "client.md", "eval"), names))
    with names["desk"] as desk:
        card, prediction, text, hits, answer = values
        assert card is desk
        assert prediction == Prediction("returns", 0.9, {"returns": 0.9, "warranty": 0.1})
        assert [chunk["chunk"] for chunk in text] == [f"Hello {n}. " for n in range(5)]
        assert [hit.id for hit in hits] == ["a", "b"]
        assert answer == {"number": 7, "detail": True}
        with pytest.raises(RemoteInputError) as caught:
            desk.order("seven")
        assert (caught.value.status, caught.value.kind) == (400, "bad_input")
        assert re.fullmatch(r"[0-9a-f]{16}", caught.value.request_id)


def test_curl(served: tuple[Server, Names]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    (command,) = blocks("sh")
    done = subprocess.run(
        ["sh", "-e"],
        input=command.replace(ADDRESS, served[0].url),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [hit["id"] for hit in json.loads(done.stdout)["hits"]] == ["a", "b"]
