"""Occupancy: a thread that waits occupies its place, and one that is not scheduled does not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.serving import occupancy
from conduit_lab.serving.handler_pace import FIRST_SHORT_CALLS, LONG_CALL_SECONDS
from conduit_lab.serving.occupancy import Occupancy
from tests.serving.asgi import ask

SLOW = 0.05  # seconds


class Machine:
    """A thread's clocks, and its switches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, counts_switches: bool = True) -> None:
        self.wall = self.cpu = 0.0
        self.waits = 0
        usage = SimpleNamespace(getrusage=lambda _: self._usage())
        monkeypatch.setattr(occupancy, "resource", usage)
        monkeypatch.setattr(occupancy, "_SCOPE", 1 if counts_switches else None)
        monkeypatch.setattr(occupancy, "perf_counter", lambda: self.wall)

    def _usage(self) -> Any:
        return SimpleNamespace(ru_utime=self.cpu / 2, ru_stime=self.cpu / 2, ru_nvcsw=self.waits)

    def computes(self, seconds: float) -> None:
        self.cpu += seconds
        self.wall += seconds

    def is_displaced(self, seconds: float) -> None:
        self.wall += seconds

    def sleeps(self, seconds: float) -> None:
        self.wall += seconds
        self.waits += 1


def test_a_displaced_thread_counts_its_cpu_time_and_a_waiting_one_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    call = Occupancy()
    machine.computes(SLOW)
    machine.is_displaced(1.0)
    assert call.seconds() == pytest.approx(SLOW)
    machine.sleeps(1.0)
    assert call.seconds() == pytest.approx(SLOW + 2.0)


def test_where_switches_are_not_counted_all_time_is(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, counts_switches=False)
    call = Occupancy()
    machine.is_displaced(SLOW)
    assert call.seconds() == pytest.approx(SLOW)


@pytest.mark.parametrize("blocks", [False, True])
def test_only_a_handler_that_blocks_leaves_a_busy_machines_loop(
    app: App, monkeypatch: pytest.MonkeyPatch, blocks: bool
) -> None:
    machine = Machine(monkeypatch)
    seconds = 0.0

    @app.post("/short")
    def short(body: Any) -> Any:
        (machine.sleeps if blocks else machine.is_displaced)(seconds)
        return body

    async def main() -> bool:
        """Return whether the handler is still on the loop after one long call."""
        nonlocal seconds
        size = len(b"[1]")
        for _ in range(FIRST_SHORT_CALLS):
            await ask(app, "/short", b"[1]")
        pace = app.endpoints["/short"].plan._pace
        assert pace.is_short(size)
        seconds = LONG_CALL_SECONDS
        await ask(app, "/short", b"[1]")
        return bool(pace.is_short(size))

    assert asyncio.run(main()) != blocks
