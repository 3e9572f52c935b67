"""Occupancy: a thread that waits occupies its place, and one that is not scheduled does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from conduit_lab import App
from conduit_lab.core import occupancy
from conduit_lab.core.occupancy import occupied_seconds
from conduit_lab.runtime.batching import run_times
from conduit_lab.serving import plan
from conduit_lab.serving.handler_pace import FIRST_SHORT_CALLS, LONG_CALL_SECONDS
from tests.serving.asgi import ask

SLOW = 0.05  # seconds


class Machine:
    """A thread's clocks, and its switches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, counts_switches: bool = True) -> None:
        self.wall = self.cpu = 0.0
        self.waits = 0
        self._counts_switches = counts_switches
        monkeypatch.setattr(occupancy, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(occupancy, "usage", self.usage)
        for module in plan, run_times:
            monkeypatch.setattr(module, "usage", self.usage)
            monkeypatch.setattr(module, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(run_times, "cpu_time", lambda: self.cpu)

    def usage(self) -> Any:
        if not self._counts_switches:
            return None
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
    before = machine.usage()
    machine.computes(SLOW)
    machine.is_displaced(1.0)
    assert occupied_seconds(0.0, before) == pytest.approx(SLOW)
    machine.sleeps(1.0)
    assert occupied_seconds(0.0, before) == pytest.approx(SLOW + 2.0)


def test_where_switches_are_not_counted_all_time_is(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, counts_switches=False)
    before = machine.usage()
    machine.is_displaced(SLOW)
    assert occupied_seconds(0.0, before) == pytest.approx(SLOW)


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


def test_a_displaced_run_is_no_longer_than_its_computation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    times = run_times.RunTimes()

    def computes(items: Sequence[None]) -> Sequence[None]:
        machine.computes(SLOW)
        machine.is_displaced(1.0)
        return items

    def waits(items: Sequence[None]) -> Sequence[None]:  # for a device
        machine.sleeps(1.0)
        return items

    times.measured(computes, [None], 1)
    assert times.seconds[1] == pytest.approx(SLOW)
    times.measured(waits, [None], 1)
    assert times.seconds[1] > SLOW + 0.2
