"""The recorded calls of a lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_lab import Lab
from conduit_lab.core.errors import UnknownName
from conduit_lab.serving.examples import Examples
from conduit_lab.serving.recorded import Example


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab("desk", root=tmp_path)

    @lab.post("/echo")
    def echo(text: str) -> str:
        return text

    @lab.ml_stream("/count")
    def count(n: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        yield from range(n)

    echo("<a>"), echo("b")
    count(2).wait()
    return lab


def test_those_of_a_path_are_found(lab: Lab) -> None:
    assert [each.answer for each in lab.examples["/echo"]] == ["<a>", "b"]
    assert lab.examples[0].answer == "<a>"
    assert lab.examples._ipython_key_completions_() == ["/echo", "/count"]
    with pytest.raises(UnknownName) as caught:
        lab.examples["/eco"]
    assert str(caught.value) == (
        "no call of '/eco'; there are /echo, /count. Did you mean '/echo'?"
    )


def test_the_newest_come_first(lab: Lab) -> None:
    head, columns, *rows = repr(lab.examples).splitlines()
    assert head == "Examples · 3 · recorded calls of 2 endpoints, the newest first"
    assert columns.split() == ["call", "request", "answer"]
    assert rows[0].split("  ")[-1].strip() == "2 chunks: [0, 1]"
    assert rows[2].startswith('POST /echo   {"text": "<a>"}')
    assert "&lt;a&gt;" in lab.examples._repr_mimebundle_()["text/html"]
    assert repr(Examples()) == "Examples · 0"


def test_many_are_counted_and_writes_are_named() -> None:
    many = [Example("POST", "/a", "value", n, n, writes=n == 29) for n in range(30)]
    lines = repr(Examples(many)).splitlines()
    assert lines[1].split() == ["call", "request", "answer", "writes"]
    assert len(lines) == 2 + 20 + 1
    assert lines[-1] == "10 more rows"


def test_a_card_has_the_request_and_the_answer_beside_each_other(lab: Lab) -> None:
    (count,) = lab.examples["/count"]
    assert repr(count).splitlines() == [
        "Example 'POST /count' · 2 chunks",
        "request",
        "    {",
        '      "n": 2',
        "    }",
        "answer",
        "    0",
        "    1",
    ]


def test_a_large_answer_is_cut() -> None:
    example = Example("POST", "/a", "value", {"text": "x" * 10_000}, list(range(100_000)))
    lines = repr(example).splitlines()
    assert len(lines) < 30
    assert lines[-1].strip() == "…"
    assert max(map(len, lines)) < 700
