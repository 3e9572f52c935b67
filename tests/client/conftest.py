"""A served app for these tests, and clients of it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from conduit_lab import App, File, Prediction, RemoteApp, Stream, connect
from conduit_lab.serving.run.thread import Server

Connect = Callable[..., RemoteApp]
SECONDS = 20.0


class Order(BaseModel):
    """An order."""

    item: str
    count: int = 1


class Desk:
    """A served app: `calls` counts the calls of `/slow`, `closed` is set when a stream ends."""

    def __init__(self, folder: Path) -> None:
        self.app = App("desk", root=folder, protocols=["stores"])
        self.calls: list[int] = []
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()
        self._add_values()
        self._add_streams()
        store = self.app.vector_store("notes", dimension=3)
        store.open()
        for n in range(10):
            store.add(f"n{n}", [n, 1, 2], {"n": n}, f"note {n}")

    def _add_values(self) -> None:
        app, calls = self.app, self.calls

        @app.ml_pipeline("/analyze")
        def analyze(input_data: Any) -> Any:
            """Analyze a text.

            The body has its `text`.
            """
            mood = Prediction("up", 0.75, {"up": 0.75, "down": 0.25})
            return {"length": len(input_data["text"]), "mood": mood}

        @app.post("/typed/{kind}")
        def typed(
            n: int,
            kind: str,
            scale: Annotated[float, Field(gt=0)] = 1.5,
            mode: Literal["fast", "exact"] = "fast",
            tags: list[str] | None = None,
        ) -> dict[str, Any]:
            """Give the arguments back."""
            return {"n": n, "kind": kind, "scale": scale, "mode": mode, "tags": tags}

        @app.post("/order")
        def order(order: Order) -> str:
            return f"{order.count} {order.item}"

        @app.get("/add/{a}")
        def add(a: int, b: int = 2) -> int:
            calls.append(a)
            return a + b

        @app.post("/append")
        def append(n: int) -> int:
            calls.append(n)
            return len(calls)

        @app.post("/echo")
        def echo(value: Any) -> Any:
            return value

        @app.get("/many")
        def many(ids: list[int], names: dict[str, int] | None = None) -> list[Any]:
            return [ids, names]

        @app.post("/file")
        def file(file: File, n: int = 1) -> dict[str, Any]:
            return {"name": file.name, "bytes": file.data * n}

        @app.post("/asked/{place}")
        def asked(request: Any, place: str) -> list[Any]:
            return [place, request.parse_json()]

        @app.post("/broken")
        def broken() -> None:
            raise RuntimeError("the secret reason")

        @app.post("/wait_for_go")
        def wait_for_go() -> bool:
            return self.go.acquire(timeout=2)

    def _add_streams(self) -> None:
        app, go, closed = self.app, self.go, self.closed

        @app.ml_stream("/count", resume=5.0)
        def count(n: int = 3) -> Iterator[dict[str, Any]]:
            """Count."""
            for number in range(n):
                yield {"chunk": f"{number} ", "n": number}

        @app.ml_stream("/steps", resume=5.0)
        def steps(n: int = 3) -> Iterator[int]:
            try:
                for number in range(n):
                    yield number
                    assert go.acquire(timeout=SECONDS)
            finally:
                closed.set()

        @app.ml_stream("/once")
        async def once() -> AsyncIterator[str]:
            yield "a"
            yield "b"

        @app.ml_stream("/failing")
        def failing() -> Iterator[int]:
            yield 1
            sleep(0.1)
            raise RuntimeError("the secret reason")

        @app.ml_stream("/pictures")
        def pictures() -> Iterator[Any]:
            yield b"\x89PNG\r\n\x1a\n0000"
            yield {"sound": b"RIFF0000WAVE"}

        @app.ml_stream("/returned")
        def returned(n: int) -> Stream[int]:
            return Stream(iter(range(n)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.go.release(1000)  # its generators end, those too that wait for a client
    desk.app.stores["notes"].close()


@pytest.fixture
def server(desk: Desk) -> Iterator[Server]:
    with Server(desk.app, port=0) as server:
        yield server


@pytest.fixture
def connecting() -> Iterator[Connect]:
    """`connect`, whose connections are closed after the test."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(connect(*args, **kwargs))


@pytest.fixture
def remote(server: Server, connecting: Connect) -> RemoteApp:
    return connecting(server.url)
