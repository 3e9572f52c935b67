"""A served call stores none of its values; a lab stores the newest ones, within bounds."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from conduit_lab import App, Lab
from conduit_lab.core.errors import InputError
from conduit_lab.core.stage import Function
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.span import Span, current
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import Ask, until

ROWS = 2000


class Made:
    """Makes arrays and counts those that are still alive."""

    def __init__(self) -> None:
        self._refs: list[weakref.ref[np.ndarray]] = []

    def __call__(self, value: Any = None) -> np.ndarray:
        array = np.ones((ROWS, 2), np.float32)
        self._refs.append(weakref.ref(array))
        return array

    @property
    def count(self) -> int:
        return len(self._refs)

    @property
    def alive(self) -> int:
        return sum(ref() is not None for ref in self._refs)


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    """Log nothing: pytest keeps the records, which keep the tracebacks."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


Routes = dict[str, Callable[..., Any]]


def routes(app: App, made: Made) -> Routes:
    """Register handlers that predict in every way, and return those of values."""
    sign = app.load_model("sign.npz")
    passed = Function(lambda value: value, name="passed")

    def failing(value: Any) -> Any:
        local = made()
        raise ValueError(local.shape)

    app.ml_endpoint("/endpoint", model=passed)(lambda n=0: made())
    app.ml_endpoint("/fallback", model=failing, fallback=passed)(lambda n=0: made())

    @app.post("/inner")
    def inner(n: int = 0) -> int:
        return len(sign.predict(made()))

    def nested(n: int = 0) -> int:
        answer: int = inner(n)
        return answer

    async def many(n: int = 0) -> int:
        answers = await asyncio.gather(*(sign.acall(made()) for _ in range(3)))
        return len(answers)

    def wrong(n: int = 0) -> None:
        local = made()
        passed(local)
        raise InputError("no")

    def caught(n: int = 0) -> int:
        try:
            Function(failing)(made())
        except ValueError:
            return 1
        return 0

    def stream(n: int = 0) -> Iterator[str]:
        for _ in range(300):
            yield sign.predict(made())[0].label

    async def stream_async(n: int = 0) -> AsyncIterator[str]:
        for _ in range(50):
            yield (await sign.acall(made()))[0].label

    def broken(n: int = 0) -> Iterator[int]:
        yield len(passed(made()))
        local = made()
        raise ValueError(local.shape)

    values: Routes = {
        "nested": nested,
        "many": many,
        "wrong": wrong,
        "caught": caught,
        "failing": failing,
    }
    for name, handler in values.items():
        handler.__name__ = name
        app.post(f"/{name}")(handler)
    streams: Routes = {"stream": stream, "stream_async": stream_async, "broken": broken}
    for name, handler in streams.items():
        app.ml_stream(f"/{name}")(handler)
    return values


@pytest.mark.parametrize(
    "path",
    [
        "endpoint",
        "fallback",
        "inner",
        "nested",
        "many",
        "wrong",
        "caught",
        "failing",
        "stream",
        "stream_async",
        "broken",
    ],
)
def test_a_served_call_keeps_no_values(
    app: App, asking: Ask, made: Made, weights: Path, path: str
) -> None:
    routes(app, made)
    client = asking(app)
    client.post(f"/{path}", json={"n": 1})  # makes the values that are made once
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            client.post(f"/{path}", json={"n": 1})
        assert made.count >= 3
        until(lambda: made.alive == 0)  # its thread may end after the answer has come
    finally:
        gc.enable()


def test_values_are_not_kept_while_the_stream_runs(app: App, made: Made, weights: Path) -> None:
    routes(app, made)
    alive = []

    @app.ml_stream("/watched")
    def watched() -> Iterator[int]:
        for _ in range(100):
            app.models["sign"].predict(made())
            alive.append(made.alive)
            yield 1

    watched().result(30)
    assert max(alive) <= 1


def test_a_lab_shows_the_values_of_the_last_call_over_http(
    lab: Lab, asking: Ask, weights: Path
) -> None:
    sign = lab.load_model("sign.npz")

    @lab.post("/sign")
    def classify(values: list[float]) -> str:
        return str(sign.predict(np.array(values, np.float32)).label)

    assert asking(lab).post("/sign", json={"values": [1, 1]}).json() == "up"
    assert classify.trace is not None
    assert classify.trace.root.input == {"values": [1, 1]}
    assert classify.trace.root.output == "up"
    assert classify.trace["sign"].input.tolist() == [1, 1]
    assert classify.trace["sign"].output.label == "up"


def test_a_lab_keeps_values_up_to_a_limit(lab: Lab, asking: Ask, made: Made, weights: Path) -> None:
    lab.values = Values(10 * ROWS * 8)
    routes(lab, made)
    stream = next(e for e in lab.endpoints if e.name == "stream")
    asking(lab).post("/stream", json={})
    gc.collect()
    assert 1 <= made.alive <= 10
    assert stream.trace is not None
    *_, newest = stream.trace
    assert len(newest.input) == ROWS
    assert stream.trace["sign"].forgotten


def test_spans_of_a_long_stream_are_bounded(app: App, weights: Path) -> None:
    sign = app.load_model("sign.npz")
    seen: list[int] = []

    @app.ml_stream("/long")
    def long() -> Iterator[int]:
        for n in range(3000):
            sign([1.0, 1.0])
            yield n
        root = current()
        assert root is not None
        seen.append(sum(1 for _ in root.walk()))

    long().wait(30)
    assert 100 < seen[0] < 1100


def test_examples_of_an_endpoint_are_bounded_in_bytes(lab: Lab) -> None:
    echo = lab.post("/echo")(_echo)
    lab.get("/small")(_small)()
    for n in range(8):
        echo(f"{n}" + "x" * 2**21)
    kept = [e.payload["text"][0] for e in lab.examples if e.path == "/echo"]
    assert kept == ["5", "6", "7"]  # 4 MiB each, of 16
    assert [e.answer for e in lab.examples if e.path == "/small"] == [1]


def _echo(text: str) -> str:
    return text


def _small() -> int:
    return 1


@pytest.mark.long
def test_a_served_stream_of_20_000_predictions_leaves_memory_flat(app: App, weights: Path) -> None:
    import httpx

    sign = app.load_model("sign.npz")
    rows = np.ones((18_750, 2), np.float32)  # 150 KB

    @app.ml_stream("/live")
    def live(n: int = 10) -> Iterator[str]:
        for i in range(n):
            yield sign.predict(rows + i)[0].label

    process = psutil.Process()
    with Server(app, port=0) as server, httpx.Client(base_url=server.url, timeout=None) as client:
        client.get("/live?n=500")
        gc.collect()
        before = process.memory_info().rss
        answer = client.get("/live?n=20000").text
        gc.collect()
        grown = process.memory_info().rss - before
    assert answer.count("data: ") == 20_000
    assert grown < 60 * 2**20
    assert sum(isinstance(each, Span) for each in gc.get_objects()) < 100
