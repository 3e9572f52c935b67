"""No test of this room leaves a call past its deadline or a stream behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from conduit_lab.core.streams import production
from conduit_lab.flow import deadline

SECONDS = 20.0


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("stream "):
            thread.join(SECONDS)
            assert not thread.is_alive(), f"{thread.name!r} still runs"
    idle = threading.Event()
    for _ in range(int(SECONDS * 100)):
        if not production._tasks and not deadline._late:
            return
        idle.wait(0.01)
    raise AssertionError(f"still running: {production._tasks or deadline._late}")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that holds a function until the test, or its end, sets it."""
    event = threading.Event()
    yield event
    event.set()
