"""Direct requests that wait: the deadline and a client that leaves end them as they end a task."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_lab import App, Caller, Limits
from conduit_lab.core.errors import InputError
from conduit_lab.runtime.batching.batcher import Batcher
from conduit_lab.runtime.batching.run_times import RunTimes
from conduit_lab.runtime.batching.waiters import LoopTick
from conduit_lab.serving.gate.deadline_timer import Deadlines
from conduit_lab.serving.gate.keys import Keys
from conduit_lab.serving.handler_pace import HandlerPace
from tests.serving.conftest import SECONDS
from tests.serving.gate.both_paths import KEY, post, same_outcome, served, settle, with_key
from tests.serving.gate.connection import Client

SOON = 0.05
LATE = b"the answer did not start within 0.05 s: try again later"


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let every model wait for this event, on a thread, once it has a batch."""
    go = threading.Event()
    measured = Batcher._measured

    def waiting(self: Any, items: Any, rows: int) -> Any:
        assert go.wait(SECONDS)
        return measured(self, items, rows)

    monkeypatch.setattr(Batcher, "_measured", waiting)
    monkeypatch.setattr(RunTimes, "are_short", lambda *_: False)
    monkeypatch.setattr(LoopTick, "is_alone", lambda *_: False)
    yield go
    go.set()


@pytest.fixture
def make(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], App]:
    """Return a function that makes an app with a deadline, and a slow handler before a model."""
    monkeypatch.setattr(HandlerPace, "is_short", lambda *_: True)

    def make() -> App:
        app = App("desk", root=tmp_path, trace="errors", limits=Limits(deadline=SOON))
        model = app.load_model(weights)
        app.ml_endpoint("/sign", model=model)(lambda body: body)

        @app.ml_endpoint("/slow", model=model)
        def slow(body: Any) -> Any:
            time.sleep(2 * SOON)
            return body

        @app.post("/value")
        def value(body: Any) -> Any:
            time.sleep(2 * SOON)
            return [0] * body

        @app.post("/wrong")
        def wrong(body: Any) -> Any:
            time.sleep(2 * SOON)
            raise InputError("wrong")

        @app.post("/async")
        async def waits(body: Any) -> Any:
            await asyncio.sleep(SECONDS)

        return app

    return make


def test_a_call_in_a_slow_batch_ends_at_the_deadline(
    make: Callable[[], App], go: threading.Event
) -> None:
    ended = same_outcome(make, post("/sign"), post("/sign"))
    assert ended["sent"].count(b"HTTP/1.1 504 ") == ended["sent"].count(LATE) == 2
    assert set(ended["statistics"].values()) == {(2, 2)}  # of the endpoint and the model
    assert not go.is_set()


def test_a_late_call_of_a_caller_is_recorded_as_theirs(
    make: Callable[[], App], go: threading.Event
) -> None:
    def keyed() -> App:
        app = make()
        app.keys = Keys([KEY])
        return app

    ended = same_outcome(keyed, with_key(post("/sign")))
    assert ended["errors"] == [("<lambda>", "CancelledError", Caller("desk"))]
    assert ended["usage"][0]["requests"] == 1


@pytest.mark.parametrize("size", [b"2", b"9000"])
def test_the_answer_of_a_slow_handler_is_late_whatever_its_size(
    make: Callable[[], App], size: bytes
) -> None:
    ended = same_outcome(make, post("/value", size))
    assert ended["sent"].startswith(b"HTTP/1.1 504 ")
    assert LATE in ended["sent"]


@pytest.mark.parametrize("is_direct", [True, False])
def test_a_slow_handler_before_a_model_is_late(make: Callable[[], App], is_direct: bool) -> None:
    async def ask(connect: Callable[[], Client]) -> bytes:
        client = connect()
        if not is_direct:
            client.protocol._begin = None
        client.protocol.data_received(post("/slow"))
        return await settle(client)

    assert served(make(), ask).startswith(b"HTTP/1.1 504 ")


def test_the_error_of_a_slow_handler_keeps_its_status(make: Callable[[], App]) -> None:
    assert same_outcome(make, post("/wrong"))["sent"].startswith(b"HTTP/1.1 400 ")


def test_an_async_handler_is_cancelled_at_the_deadline(make: Callable[[], App]) -> None:
    assert LATE in same_outcome(make, post("/async"))["sent"]


def test_a_client_that_leaves_counts_as_one_of_a_task(
    make: Callable[[], App], go: threading.Event
) -> None:
    def patient() -> App:
        app = make()
        app.limits = Limits(deadline=SECONDS)
        return app

    left = same_outcome(patient, post("/sign"), leaves=True)
    assert left["requests"] == {("POST", "/sign", 499): 1}
    assert set(left["statistics"].values()) == {(1, 1)}
    assert left["sent"] == b""


def test_a_request_that_was_answered_does_not_expire(
    make: Callable[[], App], go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Any] = []
    monkeypatch.setattr(Deadlines, "add", lambda _, request, due: waiting.append(request))
    go.set()

    async def ask(connect: Callable[[], Client]) -> None:
        client = connect()
        client.protocol.data_received(post("/sign"))
        sent = await settle(client)
        for each in waiting:
            each.expire()
        assert client.wire.sent == sent
        assert len(waiting) == 1

    served(make(), ask)


class Waiting:
    """A request that waits: it keeps its name once it expires."""

    def __init__(self, name: str, expired: list[str]) -> None:
        self.name, self.expired = name, expired

    def expire(self) -> None:
        if self.name == "failing":
            raise OSError("the connection is lost")
        self.expired.append(self.name)


def test_one_timer_ends_all_requests_that_are_due() -> None:
    async def main() -> list[str]:
        expired: list[str] = []
        deadlines, now = Deadlines(), time.monotonic()
        deadlines.add(Waiting("failing", expired), now + 0.01)
        requests = {name: Waiting(name, expired) for name in ("long", "dropped", "soon", "sooner")}
        for name, left in (("long", 2 * SOON), ("dropped", SOON), ("soon", SOON), ("sooner", 0.01)):
            deadlines.add(requests[name], now + left)
        never = Waiting("never", expired)
        deadlines.add(never, now + SECONDS)
        deadlines.drop(requests["dropped"])
        async with asyncio.timeout(SECONDS):
            while len(expired) < 3:
                await asyncio.sleep(0.001)
        assert list(deadlines._due) == [never]
        assert deadlines._timer is not None
        deadlines._timer.cancel()
        return expired

    assert asyncio.run(main()) == ["sooner", "soon", "long"]
