"""The traces that a lab keeps of each endpoint, and running them again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conduit_lab import App, Function, Lab, VectorStore
from conduit_lab.core.errors import TraceError
from conduit_lab.core.trace.call_record import Values
from conduit_lab.serving.endpoint import MAX_TRACES
from conduit_lab.serving.request import Request
from tests.serving.asgi import ask


class Stages:
    """A pipeline of three stages in plain Python, which counts their runs."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.double = self.stage("double", lambda value: value * 2)
        self.plus = self.stage("plus", lambda value: value + 1)
        self.text = self.stage("text", str)

    def stage(self, name: str, function: Any) -> Function:
        def run(value: Any) -> Any:
            self.runs[name] += 1
            return function(value)

        return Function(run, name)


def test_history_keeps_the_newest_calls_with_their_parameters(lab: Lab) -> None:
    @lab.post("/plus")
    def plus(a: int, b: int = 1) -> int:
        return a + b

    for n in range(MAX_TRACES + 5):
        plus(n)
    assert len(plus.history) == MAX_TRACES
    assert [trace.parameters for trace in plus.history[-2:]] == [{"a": 53}, {"a": 54}]
    assert plus.trace is not None
    assert plus.trace.root is plus.history[-1].root
    assert len({trace.source_hash for trace in plus.history}) == 1
    assert len(plus.trace.source_hash) == 32


def test_a_failed_call_has_a_trace(lab: Lab) -> None:
    @lab.post("/fail")
    def fail(a: int) -> int:
        raise ZeroDivisionError("no power")

    with pytest.raises(ZeroDivisionError):
        fail(1)
    assert fail.trace is not None
    assert isinstance(fail.trace.root.error, ZeroDivisionError)


def test_an_app_keeps_no_traces(tmp_path: Path) -> None:
    app = App("desk", root=tmp_path)

    @app.post("/same")
    def same(value: Any) -> Any:
        return value

    same(1)
    assert (same.trace, same.history) == (None, [])
    assert app.statistics["same"].calls == 1


def test_a_pipeline_runs_again_from_the_changed_stage(lab: Lab) -> None:
    stages = Stages()

    @lab.ml_pipeline("/run")
    def run(input_data: dict[str, Any]) -> str:
        doubled = stages.double(input_data["n"])
        if doubled > 100:
            return "large"
        return str(stages.text(stages.plus(doubled)))

    assert run({"n": 2}) == "5"
    stages.runs.clear()
    assert run.trace is not None
    other = stages.stage("minus", lambda value: value - 1)
    again = run.trace.rerun(changed={"plus": other})
    assert again.root.output == "3"
    assert stages.runs == Counter({"minus": 1, "text": 1})
    assert len(run.history) == 1  # a rerun is no call of its own
    assert again.rerun().root.output == "5"


def test_a_rerun_of_an_upstream_stage_takes_another_way(lab: Lab) -> None:
    stages = Stages()

    @lab.ml_pipeline("/run")
    def run(input_data: dict[str, Any]) -> str:
        doubled = stages.double(input_data["n"])
        return "large" if doubled > 100 else str(stages.text(doubled))

    run({"n": 2})
    stages.runs.clear()
    assert run.trace is not None
    again = run.trace.rerun(changed={"double": lambda value: 1000})
    assert (again.root.output, stages.runs) == ("large", Counter())


def test_a_request_with_path_and_query_runs_again(lab: Lab) -> None:
    stages = Stages()

    @lab.get("/items/{item}")
    def items(item: int, size: int = 1) -> int:
        return int(stages.double(item)) * size

    asyncio.run(ask(lab, "/items/3", method="GET", query=b"size=4"))
    assert items.trace is not None
    assert items.trace.root.output == 24
    assert items.trace.rerun(changed={"double": lambda value: value}).root.output == 12


def test_a_handler_of_the_request_runs_again(lab: Lab) -> None:
    stages = Stages()

    @lab.post("/raw")
    def raw(request: Request) -> Any:
        return stages.double(request.parse_json()["n"])

    asyncio.run(ask(lab, "/raw", b'{"n": 4}'))
    assert raw.trace is not None
    assert raw.trace.rerun(changed={"double": str}).root.output == "4"


def test_an_async_pipeline_runs_again(lab: Lab) -> None:
    stages = Stages()

    @lab.post("/later")
    async def later(n: int) -> Any:
        return await stages.plus.acall(await stages.double.acall(n))

    asyncio.run(ask(lab, "/later", b'{"n": 4}'))
    stages.runs.clear()
    assert later.trace is not None
    again = later.trace.rerun(changed={"plus": stages.stage("ten", lambda value: value + 10)})
    assert again.root.output == 18
    assert stages.runs == Counter({"ten": 1})


def test_a_stream_runs_again(lab: Lab) -> None:
    stages = Stages()

    @lab.ml_stream("/count")
    def count(n: int) -> Iterator[Any]:
        yield from range(int(stages.double(n)))

    assert count(2).result(20) == [0, 1, 2, 3]
    assert count.trace is not None
    again = count.trace.rerun(changed={"double": lambda value: value})
    assert again.root.output.result(20) == [0, 1]


def test_a_search_is_kept_with_its_arguments(lab: Lab) -> None:
    store = lab.vector_store("notes", dimension=2)
    store.add("a", [1.0, 0.0])
    store.add("b", [0.0, 1.0])
    label = Stages().stage("label", lambda hits: [hit.id for hit in hits])

    @lab.ml_pipeline("/find")
    def find(input_data: Any) -> Any:
        near = store.search(np.array([1.0, 0.1], np.float32), top_k=1)
        both = store.search(np.array([1.0, 0.1], np.float32), top_k=2)
        return [label(near), label(both)]

    assert find(0) == [["a"], ["a", "b"]]
    store.delete("a")
    assert find.trace is not None
    again = find.trace.rerun(changed={"label": len})
    assert again.root.output == [1, 2]
    assert [span.attributes.get("kept") for span in again if span.kind == "search"] == [True, True]
    assert list(again.record.read.values()) == [store]
    with pytest.raises(TraceError, match="'notes' is a VectorStore, which cannot be replaced"):
        find.trace.rerun(changed={"notes": VectorStore(2)})


def test_a_cell_run_again_keeps_the_history_and_marks_it_stale(lab: Lab) -> None:
    def same() -> None:
        @lab.post("/f")
        def f(n: int) -> int:
            return n + 1

    def other() -> None:
        @lab.post("/f")
        def f(n: int) -> int:
            return n + 2

    same()
    (endpoint,) = lab.endpoints
    assert endpoint(1) == 2
    same()
    (endpoint,) = lab.endpoints
    assert [trace.stale for trace in endpoint.history] == [[]]
    other()
    (endpoint,) = lab.endpoints
    assert [trace.stale for trace in endpoint.history] == [["f"]]
    assert endpoint.history[0].rerun().root.output == 3


def test_a_swapped_model_makes_a_trace_stale(lab: Lab, tmp_path: Path) -> None:
    for name, sign in (("a.npz", 1.0), ("b.npz", -1.0)):
        np.savez(tmp_path / name, W=np.full((2, 1), sign, np.float32))
    model = lab.load_model("a.npz")
    text = Stages().text

    @lab.ml_pipeline("/p")
    def p(input_data: Any) -> Any:
        return text(model.predict(np.ones(2, np.float32)).tolist())

    p(0)
    assert p.trace is not None
    assert p.trace.stale == []
    model.swap(tmp_path / "b.npz")
    assert p.trace.stale == ["a"]
    again = p.trace.rerun()
    assert again.root.output == "[-2.0]"


def test_an_endpoint_that_calls_itself_without_end_says_so(lab: Lab) -> None:
    @lab.post("/loop")
    def loop(n: int) -> Any:
        return loop(n + 1)

    with pytest.raises(RecursionError, match=r"loop\(\) calls itself without an end"):
        loop(0)


def test_an_endpoint_may_call_itself(lab: Lab) -> None:
    @lab.post("/sum")
    def total(n: int) -> Any:
        return 0 if n == 0 else n + total(n - 1)

    assert total(20) == 210


def test_the_chunks_of_kept_streams_count(lab: Lab) -> None:
    lab.values = Values(500_000)

    @lab.ml_stream("/text")
    def text(n: int) -> Iterator[str]:
        yield "x" * 100_000

    for n in range(20):
        text(n).result(20)
    kept = [trace.root.output is not None for trace in text.history]
    assert kept[-1]
    assert sum(kept) < 10
