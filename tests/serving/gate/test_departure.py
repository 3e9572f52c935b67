"""A client that disconnects before its answer: work for nobody ends or is not begun."""

from __future__ import annotations

import asyncio
import threading
from time import sleep
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving import handler_threads
from conduit_lab.serving.gate import departure
from tests.serving.asgi import JSON, Message
from tests.serving.conftest import SECONDS


@pytest.fixture(autouse=True)
def _watch_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.01)


async def until(holds: Any) -> None:
    """Wait for something that another task or thread does."""
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.002)


def watches() -> list[Any]:
    """Return the tasks that wait for a client to leave."""
    return [each for each in asyncio.all_tasks() if "_Watch" in repr(each.get_coro())]


class Client:
    """One request whose client can disconnect."""

    def __init__(
        self, app: App, path: str, body: bytes = b"1", method: str = "POST", **scoped: Any
    ) -> None:
        self.messages: list[Message] = []
        self._gone = asyncio.Event()
        self._body: bytes | None = body
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [JSON],
            **scoped,
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.messages.append(message)

    async def leave(self) -> None:
        """Disconnect, and wait until the app has ended the request."""
        self._gone.set()
        await asyncio.wait_for(self.task, SECONDS)


def test_an_async_handler_is_cancelled(app: App) -> None:
    log: list[str] = []

    @app.post("/slow")
    async def slow(body: Any) -> None:
        log.append("began")
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def main() -> None:
        client = Client(app, "/slow")
        await until(lambda: log)
        await client.leave()
        assert log == ["began", "cancelled"]
        assert client.messages[0]["status"] == 499
        assert not watches()

    asyncio.run(main())


def test_the_handler_of_a_get_is_cancelled_too(app: App) -> None:
    log: list[str] = []

    @app.get("/slow")
    async def slow() -> None:
        log.append("began")
        await asyncio.sleep(SECONDS)

    async def main() -> None:
        client = Client(app, "/slow", b"", "GET")
        await until(lambda: log)
        await client.leave()
        assert client.messages[0]["status"] == 499

    asyncio.run(main())


def test_an_answer_in_time_ends_its_watch(app: App) -> None:
    @app.post("/soon")
    async def soon(body: Any) -> Any:
        await asyncio.sleep(0.05)
        return body

    async def main() -> None:
        client = Client(app, "/soon")
        await client.task
        assert [each.get("status") for each in client.messages] == [200, None]
        await asyncio.sleep(0)
        assert not watches()

    asyncio.run(main())


def test_calls_that_wait_for_a_thread_are_not_begun(app: App) -> None:
    go, began = threading.Event(), []

    @app.post("/sync")
    def sync(body: Any) -> None:
        began.append(body)
        assert go.wait(SECONDS)

    async def main() -> None:
        clients = [Client(app, "/sync") for _ in range(80)]
        await until(lambda: len(began) >= 40)
        waiting, running = clients[-20:], clients[:-20]
        await asyncio.gather(*(each.leave() for each in waiting))
        go.set()
        await asyncio.gather(*(each.task for each in running))
        assert len(began) == 60

    asyncio.run(main())


def test_a_generation_ends_and_its_thread_is_free_again(app: App) -> None:
    streams: list[Stream[int]] = []

    @app.post("/generate")
    def generate(body: Any) -> list[int]:
        def endless() -> Any:
            while True:
                sleep(0.001)
                yield 1

        streams.append(Stream(endless()))
        return [*streams[0]]

    async def main() -> None:
        client = Client(app, "/generate")
        await until(lambda: streams and streams[0].count)
        await client.leave()
        await until(lambda: streams[0].finished)
        assert streams[0].cancelled
        await until(lambda: app.handler_threads.abandoned == 0)

    asyncio.run(main())


def test_a_generation_of_an_async_handler_ends_too(app: App) -> None:
    streams: list[Stream[int]] = []

    @app.post("/generate")
    async def generate(body: Any) -> Any:
        async def endless() -> Any:
            while True:
                await asyncio.sleep(0.001)
                yield 1

        streams.append(Stream(endless()))
        await asyncio.sleep(SECONDS)

    async def main() -> None:
        client = Client(app, "/generate")
        await until(lambda: streams)
        await client.leave()
        await until(lambda: streams[0].finished)
        assert streams[0].cancelled

    asyncio.run(main())


def test_threads_that_nobody_awaits_are_bounded(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_threads, "MAX_ABANDONED_THREADS", 2)
    go, began = threading.Event(), []

    @app.post("/stuck")
    def stuck(body: Any) -> None:
        began.append(body)
        assert go.wait(SECONDS)

    async def main() -> None:
        clients = [Client(app, "/stuck") for _ in range(2)]
        await until(lambda: len(began) == 2)
        for client in clients:
            await client.leave()
        assert app.handler_threads.abandoned == 2
        refused = Client(app, "/stuck")
        await refused.task
        assert refused.messages[0]["status"] == 503
        assert (b"retry-after", b"1") in refused.messages[0]["headers"]
        go.set()
        await until(lambda: app.handler_threads.abandoned == 0)
        again = Client(app, "/stuck")
        await again.task
        assert again.messages[0]["status"] == 200

    asyncio.run(main())
