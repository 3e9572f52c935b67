"""A lab records what was tried, and no more than it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest
from starlette.testclient import TestClient

from conduit_lab import Lab, Rag, VectorStore
from conduit_lab.core.errors import EndpointError
from conduit_lab.notebook import history
from conduit_lab.serving.endpoint import Endpoint
from conduit_lab.serving.recorded import MAX_EXAMPLES


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("desk", root=tmp_path)


def test_each_request_is_kept_once_with_its_newest_answer(lab: Lab) -> None:
    answers = iter(range(10))

    @lab.post("/a")
    def a(n: int) -> int:
        return next(answers)

    a(1), a(2), a(1)
    assert [(e.payload, e.answer) for e in lab.examples] == [({"n": 2}, 1), ({"n": 1}, 2)]


def test_only_the_newest_are_kept(lab: Lab) -> None:
    @lab.post("/a")
    def a(n: int) -> int:
        return n

    @lab.get("/b")
    def b() -> int:
        return 0

    b()
    for n in range(3 * MAX_EXAMPLES):
        a(n)
    assert [e.answer for e in lab.examples if e.path == "/a"] == list(
        range(2 * MAX_EXAMPLES, 3 * MAX_EXAMPLES)
    )
    assert [e.answer for e in lab.examples if e.path == "/b"] == [0]


def test_a_stream_counts_once_it_has_ended_well(lab: Lab) -> None:
    go = Event()

    @lab.ml_stream("/s")
    def s(n: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        go.wait(10)
        while n < 0:  # until it is cancelled
            yield n
        yield from range(n)

    stream = s(2)
    assert lab.examples == []
    go.set()
    stream.wait(10)
    s(-1).cancel()
    assert [e.answer for e in lab.examples] == [[0, 1]]


def test_a_call_that_fails_is_no_example(lab: Lab) -> None:
    @lab.post("/a")
    def a(n: int) -> float:
        return 1 / n

    with pytest.raises(ZeroDivisionError):
        a(0)
    assert lab.examples == []


def test_a_function_of_the_same_name_replaces_its_endpoint_and_forgets_its_calls(lab: Lab) -> None:
    def register(factor: int) -> Endpoint[[int], int]:
        @lab.post("/a")
        def a(n: int) -> int:
            return factor * n

        return a

    register(1)(1)
    assert [e.answer for e in lab.examples] == [1]
    newer = register(2)
    assert lab.endpoints == [newer]
    assert lab.examples == []
    newer(2)
    assert [(e.payload, e.answer) for e in lab.examples] == [({"n": 2}, 4)]


def test_a_removed_endpoint_takes_its_calls_with_it(lab: Lab) -> None:
    @lab.post("/a")
    def a(n: int) -> int:
        return n

    @lab.get("/a")
    def read() -> int:
        return 0

    @lab.post("/b")
    def b(n: int) -> int:
        return n

    a(1), read(), b(2)
    with TestClient(lab) as client:
        assert client.post("/a", json={"n": 1}).status_code == 200
        lab.remove("/a")
        assert client.post("/a", json={"n": 1}).status_code == 404
        assert client.post("/b", json={"n": 1}).json() == 1
    assert [endpoint.path for endpoint in lab.endpoints] == ["/b"]
    assert {example.path for example in lab.examples} == {"/b"}
    assert list(lab._recorder._kept) == [("POST", "/b")]  # nothing of it stays in memory

    @lab.post("/a")
    def other(n: int) -> int:
        return -n

    assert "/a" not in {example.path for example in lab.examples}
    assert other(1) == -1


def test_a_call_that_ends_after_the_removal_is_no_example(lab: Lab) -> None:
    go = Event()

    @lab.ml_stream("/s")
    def s(n: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        go.wait(10)
        yield n

    stream = s(2)
    lab.remove("/s")
    go.set()
    stream.result(10)
    assert lab.examples == []


@pytest.mark.parametrize("path", ["/ask", "/ask/stream"])
def test_both_endpoints_of_a_rag_are_removed(lab: Lab, path: str) -> None:
    class Echo:
        def generate(self, *, query: str, context: Sequence[str]) -> str:
            return query

    with VectorStore(2) as store:
        lab.rag("/ask", Rag(store, Echo(), mode="lexical"))
        lab.remove(path)
        assert lab.endpoints == []


def test_a_path_without_an_endpoint_is_not_removed(lab: Lab) -> None:
    with pytest.raises(EndpointError, match="no endpoint at '/b' to remove: there are none"):
        lab.remove("/b")

    @lab.post("/answers")
    def answers(n: int) -> int:
        return n

    with pytest.raises(EndpointError, match=r"there are /answers\. Did you mean '/answers'\?"):
        lab.remove("/answer")


def test_the_last_call_is_traced(lab: Lab) -> None:
    @lab.post("/a")
    def a(n: int) -> int:
        return n + 1

    a(1)
    assert a.trace is not None
    assert (a.trace.root.input, a.trace.root.output) == ({"n": 1}, 2)


def test_there_are_no_cells_outside_of_ipython() -> None:
    assert history.cells() is None
