"""No test of this room leaves a stream behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from conduit_lab.core.streams import production


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("stream "):
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name!r} still runs"
    idle = threading.Event()
    for _ in range(1000):
        if not production._tasks:
            return
        idle.wait(0.01)
    raise AssertionError(f"still on the loop: {production._tasks}")
