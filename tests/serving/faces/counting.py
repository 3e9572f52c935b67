"""A stream of numbers that a test releases one by one, and its clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, connect_sse

from conduit_lab import Lab
from conduit_lab.serving.run.thread import Server
from tests.serving.conftest import SECONDS


class Steps:
    """A generator with one number per release of `go`; it sets `closed` when it is closed."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(self.total):
                yield number
                assert self.go.acquire(timeout=SECONDS)
        finally:
            self.closed.set()


def serving(lab: Lab, steps: Any, **options: Any) -> Server:
    def count() -> Iterator[int]:
        yield from steps()

    lab.ml_stream("/count", **options)(count)
    return lab.serve(port=0)


def read(
    url: str, last_event_id: str | None = None, events: int | None = None
) -> list[ServerSentEvent]:
    """Return the first `events` of a GET, or all."""
    headers = {} if last_event_id is None else {"last-event-id": last_event_id}
    with (
        httpx.Client(timeout=SECONDS) as client,
        connect_sse(client, "GET", f"{url}/count", headers=headers) as source,
    ):
        got = []
        for event in source.iter_sse():
            got.append(event)
            if len(got) == events:
                break
        return got


def data(text: str) -> list[Any]:
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.split("\n")
        if line.startswith("data: ")
    ]
