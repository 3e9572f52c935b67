"""A session at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from conduit_lab import App, Lab, Rag
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.running import Streams
from tests.runtime import graphs


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("desk", root=tmp_path)


def test_an_empty_session_says_so(lab: Lab) -> None:
    assert repr(lab) == "Lab 'desk' · nothing loaded yet"


def test_each_part_has_its_table_and_the_counts_agree_with_their_nouns(lab: Lab) -> None:
    graphs.linear(lab.root / "sum.onnx", np.ones((3, 1)))
    total = lab.load_model("sum.onnx")
    lab.load_model("sum.onnx", name="twin")
    lab.vector_store("docs", dimension=2).add("a", [1, 0])

    @lab.post("/sum")
    def add(value: list[float]) -> list[float]:
        return list(total.predict(value))

    lab.models["twin"].predict([1, 2, 3])
    add([1, 2, 3])
    lines = repr(lab).splitlines()
    assert lines[:2] == [
        "Lab 'desk' · 2 models · 1 store · 1 endpoint",
        "1 of 1 endpoint ready for an export",
    ]
    rows = {line.split("  ")[0]: line.split() for line in lines if line}
    assert rows["POST /sum"][2:5] == ["✓", "ready", "1"]
    assert rows["sum"][1:5] == ["cpu", "131", "B", "1"]
    assert rows["twin"][4:6] == ["2", "runs"]  # of the session that both share
    assert rows["twin"][-1] == "mean"
    assert rows["docs"][1] == "1"
    assert lines[-2:] == ["to export:", '    lab.export("desk")']
    lab.stores["docs"].close()


def test_missing_calls_are_code(lab: Lab) -> None:
    class Echo:
        def generate(self, *, query: str, context: object) -> str:
            return query

    store = lab.vector_store("docs", dimension=2)
    lab.rag("/ask", Rag(store, Echo(), mode="lexical"))

    @lab.ml_pipeline("/analyze")
    def analyze(message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return message

    lines = repr(lab).splitlines()
    assert lines[1] == "0 of 3 endpoints ready for an export"
    assert lines[-4:] == [
        "call once, to export:",
        '    lab.endpoints["/ask"]("…")',
        '    lab.endpoints["/ask"].stream("…")',
        "    analyze({...})",
    ]
    analyze({"a": 1})
    assert "analyze({...})" not in repr(lab)
    store.close()


def test_many_missing_calls_are_counted(lab: Lab) -> None:
    for n in range(30):

        def a(value: int) -> int:
            return value

        lab.post(f"/a{n}")(a)
    lines = repr(lab).splitlines()
    assert lines[-6] == "call once, to export (and 25 more):"
    assert "10 more rows" in lines


def test_running_streams_are_listed_and_their_endpoint_is_not_missing(lab: Lab) -> None:
    go = Event()

    @lab.ml_stream("/s")
    def s(n: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        go.wait(10)
        yield n

    stream = s(1)
    assert [*lab.streams] == [stream]
    assert lab.streams["s"] is stream
    shown = repr(lab)
    assert "1 running stream" in shown.splitlines()[0]
    assert "● running" in shown
    assert "s(1)" not in shown
    go.set()
    stream.wait(10)
    assert lab.examples[0].answer == [1]
    assert "running" not in repr(lab)


def test_the_server_has_its_address_while_it_runs(lab: Lab) -> None:
    with lab.serve(port=0) as server:
        assert f"● {server.url}" in repr(lab)
    assert server.url not in repr(lab)


def test_nothing_is_opened(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "sum.onnx", np.ones((3, 1)))
    app = App("desk", root=tmp_path)
    model = app.load_model("sum.onnx")
    store = app.vector_store("docs", dimension=2)
    shown = f"{app!r}{app.models!r}{app.stores!r}"
    assert shown.count("not opened") == 4
    assert model.held is None
    assert store._backend is None
    assert not store.path.exists()  # type: ignore[union-attr]


@pytest.fixture
def running() -> Iterator[list[Stream[int]]]:
    go = Event()

    def numbers() -> Iterator[int]:
        go.wait(10)
        yield 1

    streams = [Stream(numbers(), name=name) for name in ("first", "second", "first")]
    yield streams
    go.set()


def test_streams_are_found_by_name_the_newest_first(running: list[Stream[int]]) -> None:
    streams = Streams([*reversed(running), running[0]])
    assert [*streams] == running
    assert streams["first"] is running[2]
    assert streams._ipython_key_completions_() == ["first", "second"]
    with pytest.raises(KeyError, match=r"no running stream 'frst'; .* Did you mean 'first'\?"):
        streams["frst"]
    streams.cancel()
    assert [*Streams(running)] == []
