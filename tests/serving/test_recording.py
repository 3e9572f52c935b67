"""The record of a call of the session: complete however calls nest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from conduit_lab import App, Lab, VectorStore
from conduit_lab.core.stage import Function
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace.span import Span
from conduit_lab.flow.fallback import Fallback
from conduit_lab.serving.recorded import Recorder
from tests.models.generation.writers import DECODERS
from tests.runtime import fake_device
from tests.serving.conftest import SECONDS, Ask, until


@pytest.fixture
def store(lab: Lab) -> Iterator[VectorStore]:
    with lab.vector_store("notes", dimension=2) as store:
        store.add("a", [1, 0])
        yield store


# When and what


@pytest.mark.parametrize("is_async", [False, True])
def test_the_calls_of_clients_are_no_examples_and_push_none_out(
    lab: Lab, asking: Ask, is_async: bool
) -> None:
    """Case 08: the author's examples go into the export, a client's data do not."""

    @lab.post("/inner")
    def inner(user: str) -> str:
        return user

    def plain(user: str) -> str:
        return inner(user)

    async def asynchronous(user: str) -> str:
        return inner(user)

    @lab.ml_stream("/stream")
    def stream(user: str) -> Iterator[str]:
        yield inner(user)

    outer: Any = lab.post("/outer")(asynchronous if is_async else plain)
    if is_async:
        asyncio.run(outer("author"))
    else:
        outer("author")
    stream("author").wait(SECONDS)
    client = asking(lab)
    for n in range(25):
        for path in ("/outer", "/stream", "/inner"):
            assert client.post(path, json={"user": f"client {n}"}).status_code == 200
    assert outer.trace is not None
    assert outer.trace.root.output == "client 24"  # a trace of the call is kept
    found = [(each.path, each.payload) for each in lab.examples]
    assert sorted(found) == [(path, {"user": "author"}) for path in ("/inner", "/outer", "/stream")]


def test_a_payload_that_the_handler_changes_is_recorded_as_it_was_given(lab: Lab) -> None:
    @lab.post("/pop")
    def pop(body: Any) -> Any:
        body["more"] = True
        return body["list"].pop()

    assert pop({"list": [1, 2]}) == 2
    (example,) = lab.examples
    assert (example.payload, example.answer) == ({"list": [1, 2]}, 2)


def test_the_same_request_is_one_example_and_the_newest(lab: Lab) -> None:
    echo = lab.post("/echo")(lambda value: value)
    for body in ({"a": 1, "b": 2}, 3, {"b": 2, "a": 1}):
        echo(body)
    assert [example.payload for example in lab.examples] == [3, {"a": 1, "b": 2}]


def test_requests_that_differ_in_the_path_are_examples_each(lab: Lab) -> None:
    @lab.get("/items/{n}")
    def item(n: int) -> int:
        return n

    assert [item(n) for n in (1, 2, 1)] == [1, 2, 1]
    assert [example.target for example in lab.examples] == ["/items/2", "/items/1"]


def test_an_app_records_nothing(app: App, asking: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.post("/call")
    def call(n: int) -> int:
        return n

    monkeypatch.setattr(app, "observe", lambda *_: pytest.fail("it was recorded"))
    assert asking(app).post("/call", json={"n": 1}).json() == call(1) == 1
    assert call.trace is None


# Nested calls


def test_the_writes_of_a_nested_endpoint_are_those_of_the_outer_call(
    lab: Lab, store: VectorStore
) -> None:
    @lab.post("/add")
    def add(id: str) -> int:
        store.add(id, [0, 1])
        return 1

    @lab.post("/outer")
    def outer(id: str) -> int:
        return add(id)

    assert outer("b") == 1
    inner, outermost = lab.examples
    assert (inner.path, outermost.path) == ("/add", "/outer")
    for example in (inner, outermost):
        assert (example.writes, example.shared) == (True, False)
        assert [used for used, _ in example.stores] == [store]
    assert outer.trace is not None
    assert [span.name for span in outer.trace] == ["outer", "add", "notes"]
    assert outer.trace.root.output == 1


def test_the_fallback_of_a_nested_endpoint_is_a_header_of_the_outer_answer(
    lab: Lab, asking: Ask, weights: Path
) -> None:
    @lab.ml_endpoint("/sign", model="none.npz", fallback="sign.npz")
    def sign(features: list[float]) -> list[float]:
        return features

    @lab.post("/outer")
    def outer(features: list[float]) -> Any:
        return sign(features)

    @lab.post("/async")
    async def outer_async(features: list[float]) -> Any:
        return await sign.acall(features)

    client = asking(lab)
    for path in ("/outer", "/async"):
        answer = client.post(path, json={"features": [1, 1]})
        assert answer.headers["x-conduit-fallback"] == "sign"


def test_the_headers_of_many_fallbacks_are_bounded(app: App, asking: Ask) -> None:
    def fail(value: Any) -> Any:
        raise ValueError("no")

    stages = [Fallback(fail, Function(str, name=f"stage {n}")) for n in range(25)]
    app.post("/many")(lambda value: [stage(value) for stage in stages])
    answer = asking(app).post("/many", json=1)
    names = answer.headers.get_list("x-conduit-fallback")
    assert names == [f"stage {n}" for n in range(20)]


@pytest.mark.parametrize("refuses", [True, False])
def test_a_generator_that_its_accelerator_refuses_says_so_in_a_header(
    app: App, asking: Ask, refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = fake_device.plug_in(monkeypatch)
    gpu.loads = not refuses
    gpu.takes = not refuses
    writer = app.load_model(DECODERS / "llama")

    @app.post("/write")
    def write(prompt: str) -> str:
        return str(writer.generate(prompt, max_tokens=2).text)

    answer = asking(app).post("/write", json={"prompt": "the cat"})
    assert answer.status_code == 200
    assert answer.headers.get("x-conduit-device") == ("llama: cpu" if refuses else None)
    writer.unload()


# Stale examples

READS: dict[str, Callable[[VectorStore], Any]] = {
    "len": len,
    "iteration": lambda store: [entry.id for entry in store],
    "in": lambda store: "b" in store,
    "get": lambda store: store.get("a") is not None,
    "search": lambda store: store.search([1, 0])[0].id,
}


@pytest.mark.parametrize("read", READS)
def test_an_example_is_stale_once_a_store_that_it_read_has_changed(
    lab: Lab, store: VectorStore, read: str
) -> None:
    lab.get("/read")(lambda: READS[read](store))
    lab.endpoints[0]()
    (example,) = lab.examples
    assert not example.stale
    store.add("b", [0, 1])
    assert example.stale
    assert not example.writes


# Streams


@pytest.mark.parametrize("is_async", [False, True])
def test_the_trace_of_a_stream_lasts_as_long_as_the_stream(
    lab: Lab, asking: Ask, is_async: bool
) -> None:
    go = threading.Event()

    def count() -> Iterator[int]:
        yield 1
        assert go.wait(SECONDS)
        yield 2

    async def count_async() -> AsyncIterator[int]:
        yield 1
        while not go.is_set():
            await asyncio.sleep(0.001)
        yield 2

    lab.ml_stream("/count")(count_async if is_async else count)
    endpoint = lab.endpoints[0]
    stream = endpoint()
    until(lambda: stream.count == 1)
    assert endpoint.trace is not None
    root = endpoint.trace.root
    assert not root.ended
    assert lab._recorder.running == [stream]
    assert lab.examples == []
    go.set()
    stream.wait(SECONDS)
    until(lambda: root.ended)
    assert root.duration >= stream.elapsed
    assert [example.answer for example in lab.examples] == [[1, 2]]


def test_a_stream_that_fails_is_no_example_and_its_span_has_the_error(lab: Lab) -> None:
    @lab.ml_stream("/break")
    def break_() -> Iterator[int]:
        yield 1
        raise ValueError("disk full")

    stream = break_()
    stream.wait(SECONDS)
    assert break_.trace is not None
    root = break_.trace.root
    until(lambda: root.ended)
    assert "disk full" in str(root.error)
    assert lab.examples == []


def test_a_stream_whose_log_has_dropped_chunks_is_no_example(lab: Lab) -> None:
    def long() -> Stream[str]:
        return Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)

    lab.ml_stream("/long")(long)
    stream = lab.endpoints[0]()
    stream.wait(SECONDS)
    until(lambda: not lab._recorder.running)
    assert stream.count == 100 > len(stream.kept)
    assert lab.examples == []


# Observers


class Seen:
    """An observer that keeps the names of spans as they start, end and fail."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def span_started(self, span: Span) -> None:
        self.events.append(("start", span.name))

    def span_ended(self, span: Span) -> None:
        self.events.append(("end" if span.error is None else "error", span.name))


class Failing:
    def span_started(self, span: Span) -> None:
        raise ValueError("observer is broken")

    span_ended = span_started


@pytest.mark.parametrize("kind", [App, Lab])
def test_observers_see_the_start_and_the_end_of_every_span(
    kind: type[App], tmp_path: Path, asking: Ask, weights: Path
) -> None:
    app = kind("desk", root=tmp_path)
    sign = app.load_model("sign.npz")
    seen = Seen()
    app.observers.append(seen)

    @app.post("/sign")
    def classify(values: list[float]) -> Any:
        return sign(values)

    @app.ml_stream("/count")
    def count() -> Iterator[int]:
        yield 1

    @app.post("/fail")
    def fail() -> None:
        raise ValueError("no")

    client = asking(app)
    client.post("/sign", json={"values": [1, 1]})
    inner = [("start", "classify"), ("start", "sign"), ("end", "sign"), ("end", "classify")]
    assert seen.events == inner
    seen.events.clear()
    client.post("/fail")
    assert seen.events == [("start", "fail"), ("error", "fail")]
    seen.events.clear()
    client.post("/count")
    until(lambda: len(seen.events) == 2)
    assert seen.events == [("start", "count"), ("end", "count")]


def test_a_failing_observer_changes_nothing_but_the_log(
    app: App, asking: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    app.observers.extend([Failing(), seen])
    app.post("/echo")(lambda value: value)
    answer = asking(app).post("/echo", json=[1])
    assert (answer.status_code, answer.json()) == (200, [1])
    assert [event for event, _ in seen.events] == ["start", "end"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "observer is broken" in caplog.text


def test_examples_wait_for_a_stream_that_has_just_ended(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_stream = Recorder._add_stream

    def late(recorder: Recorder, *args: Any) -> None:
        sleep(0.1)  # its thread is not scheduled
        add_stream(recorder, *args)

    monkeypatch.setattr(Recorder, "_add_stream", late)

    called = threading.Event()

    @lab.ml_stream("/count")
    def count(to: int) -> Iterator[int]:
        called.wait(SECONDS)
        yield from range(to)

    stream = count(3)
    called.set()
    stream.wait(SECONDS)
    assert [example.answer for example in lab.examples] == [[0, 1, 2]]


def test_a_path_part_without_a_json_form_is_not_recorded(lab: Lab) -> None:
    @lab.get("/real/{number}")
    def real(number: complex) -> float:
        return number.real

    assert real(1.5j) == 0
    assert lab.examples == []
