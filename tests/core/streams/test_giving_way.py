"""A fast producer yields to a reader that has not been scheduled yet, and to no other."""

from __future__ import annotations

import asyncio

import pytest

from conduit_lab.core.streams import backpressure
from conduit_lab.core.streams.backpressure import Backpressure
from conduit_lab.core.streams.log import Log


class Cursor:
    """A reader's place in the log; `polls` counts the producer's checks whether it starves."""

    index = 0
    trails = False
    holds = False

    def __init__(self, starved_polls: int) -> None:
        self.polls = 0
        self._starved_polls = starved_polls

    @property
    def starved(self) -> bool:
        self.polls += 1
        return self.polls <= self._starved_polls


@pytest.fixture
def log() -> Log[int]:
    log: Log[int] = Log(1000)
    while not log.append(10**6):
        pass
    return log


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backpressure, "_GIVE_WAY_SECONDS", 0)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("starved_polls", "polls"), [(0, 1), (5, 6), (10**9, backpressure._GIVE_WAY_CHECKS)]
)
def test_chunks_are_dropped_once_a_starved_reader_has_run(
    log: Log[int], starved_polls: int, polls: int, asynchronous: bool
) -> None:
    pressure, cursor = Backpressure(log), Cursor(starved_polls)
    pressure.add(cursor)
    surplus = log.surplus
    if asynchronous:
        asyncio.run(pressure.make_room_async(lambda: False))
    else:
        pressure.make_room(lambda: False)
    assert cursor.polls == polls
    assert log.window[0] == surplus > 0


def test_a_starved_reader_beyond_the_dropped_chunks_is_not_waited_for(log: Log[int]) -> None:
    pressure, cursor = Backpressure(log), Cursor(10**9)
    cursor.index = log.surplus
    pressure.add(cursor)
    pressure.make_room(lambda: False)
    assert cursor.polls == 1
