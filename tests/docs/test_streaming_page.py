"""The code of docs/streaming.md runs unchanged; its clients read the page's own endpoint."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core import paths
from conduit_lab.serving import codec
from conduit_lab.serving.run.thread import Server

PAGE = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"
TEXT = "".join(f"Hello {number}. " for number in range(5))
SECONDS = 60

Names = dict[str, Any]


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    """The names of the page's server code; its server takes a free port."""
    folder = tmp_path_factory.mktemp("page")
    names: Names = {}
    with pytest.MonkeyPatch.context() as patch, paths.use_root(folder):
        patch.chdir(folder)
        for block in blocks("python"):
            exec(
                compile(block.replace("lab.serve()", "lab.serve(port=0)"), "streaming.md", "exec"),
                names,
            )
        with names["server"]:
            yield names


def run(server: Server, command: list[str], code: str) -> str:
    """Run a program with `code`, which asks this server, as its input; return its output."""
    done = subprocess.run(
        command,
        input=code.replace(ADDRESS, server.url),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(program: str) -> str:
    """Return the path of a program; skip the test if it is missing, except in CI."""
    place = shutil.which(program)
    if place is None:
        reason = f"no {program} on this machine"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return place


def test_what_the_comments_say_is_so(page: Names) -> None:
    assert page["stream"].result() == "0 1 2 "
    assert list(page["stream"]) == ["0 ", "1 ", "2 "]
    assert page["stream"].statistics.chunks == 3


def test_curl(page: Names) -> None:
    found("curl")
    (commands,) = blocks("sh")
    output = run(page["server"], ["sh", "-e"], commands)
    ids = re.findall(r"^id: ([\w-]+):(\d+)$", output, re.MULTILINE)
    assert [int(number) for _, number in ids] == [*range(6), *range(3)]
    assert len({stream for stream, _ in ids}) == 2
    assert 'data: {"chunk":"Hello 1. ","complete":false}' in output


def test_sse_starlette_both_ways(page: Names) -> None:
    import httpx
    from starlette.testclient import TestClient

    text = httpx.post(f"{page['server'].url}/steps", json={"prompt": "hello"}).text
    assert "event: step\ndata: reading\n\n" in text
    assert 'data: {"chunk":"HELLO","complete":true}' in text
    client = TestClient(page["other"])
    first = client.get("/count", params={"name": "a"}).text
    assert re.findall(r'^data: "(\d) "', first, re.MULTILINE) == ["0", "1", "2"]
    rest = client.get("/count", headers={"last-event-id": "a:0"}).text
    assert re.findall(r'^data: "(\d) "', rest, re.MULTILINE) == ["1", "2"]


def test_python(page: Names) -> None:
    (code,) = blocks("python client")
    assert run(page["server"], [sys.executable, "-"], code) == TEXT + "\n"


def test_python_comes_back_where_the_connection_broke(
    page: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    import httpx_sse

    (code,) = blocks("python client")
    names: Names = {}
    exec(code.partition("\nfor chunk")[0], names)
    whole = httpx_sse.EventSource.iter_sse
    breaks = [2, 1]

    def broken(source: httpx_sse.EventSource) -> Iterator[httpx_sse.ServerSentEvent]:
        left = breaks.pop() if breaks else 100
        for event in whole(source):
            if left == 0:
                raise httpx.ReadError("the cable was pulled")
            left -= 1
            yield event

    monkeypatch.setattr(httpx_sse.EventSource, "iter_sse", broken)
    monkeypatch.setitem(names, "sleep", lambda seconds: None)
    chunks = names["read"](f"{page['server'].url}/write", {"prompt": "Hello"})
    assert "".join(chunk["chunk"] for chunk in chunks) == TEXT
    assert breaks == []


def test_node(page: Names) -> None:
    (code,) = blocks("js")
    assert run(page["server"], [found("node"), "--input-type=module", "-"], code) == TEXT + "\n"


@pytest.mark.browser
def test_browser_page(page: Names) -> None:
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import CHROMIUM_FLAGS

    chromium = found("chromium")
    (code,) = blocks("html")
    url = page["server"].url
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        opened = browser.new_page()
        opened.route(
            f"{url}/page", lambda route: route.fulfill(body=code, content_type="text/html")
        )
        opened.goto(f"{url}/page")
        for place in ("source", "fetch"):
            opened.wait_for_function(
                "([id, text]) => document.getElementById(id).textContent === text",
                arg=[place, TEXT],
            )
        browser.close()


@pytest.mark.browser
def test_a_browser_that_comes_back_after_the_end_stops(page: Names) -> None:
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import CHROMIUM_FLAGS

    chromium = found("chromium")
    url = page["server"].url
    script = """() => new Promise((resolve) => {
      const source = new EventSource("/write?prompt=Hello"), got = [];
      source.onmessage = (event) => got.push(JSON.parse(event.data).chunk);
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) resolve(got.join(""));
      };
    })"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        opened = browser.new_page()
        opened.route(f"{url}/page", lambda route: route.fulfill(body="", content_type="text/html"))
        opened.goto(f"{url}/page")
        assert opened.evaluate(script) == TEXT
        browser.close()


def test_audio_plays_by_itself(page: Names) -> None:
    for sound in page["hum"](1):
        with wave.open(BytesIO(sound)) as heard:
            assert (heard.getframerate(), heard.getnframes()) == (16_000, 16_000)


def test_images_and_audio_arrive_as_files_of_their_kind(page: Names) -> None:
    import httpx

    for path, kind, begin in (("sharpen", "image/png", b"\x89PNG"), ("hum", "audio/wav", b"RIFF")):
        text = httpx.get(f"{page['server'].url}/{path}", timeout=SECONDS).text
        lines = [
            line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")
        ]
        for line in lines:
            chunk = codec.loads(line.encode())
            chunk = chunk.get("image", chunk)
            assert chunk["type"] == kind
            assert base64.b64decode(chunk["base64"]).startswith(begin)
        assert lines
