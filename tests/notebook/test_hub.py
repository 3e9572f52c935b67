"""The thread that keeps live views up to date."""

from __future__ import annotations

import threading

import pytest

from conduit_lab.notebook.flusher import Flusher

WAIT = 10  # seconds that nothing here should need


def test_the_flusher_runs_only_while_there_are_views() -> None:
    done = threading.Event()
    left = iter([True, True, False])
    running = []

    class View:
        def tick(self) -> bool:
            running.append(flusher.running)
            more = next(left)
            if not more:
                done.set()
            return more

    flusher = Flusher(period=0.001)
    assert not flusher.running
    for _ in range(2):  # it starts again after it ended
        flusher.add(View())
        assert done.wait(WAIT)
        wait_until_idle(flusher)
        done.clear()
        left = iter([False])
    assert running == [True] * 4


def test_the_flusher_pauses_after_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("conduit_lab.notebook.flusher.sleep", pauses.append)
    left = iter([True, True, False])

    class View:
        def tick(self) -> bool:
            return next(left)

    flusher = Flusher(period=0.5)
    flusher.add(View())
    wait_until_idle(flusher)
    assert pauses == [0.5] * 3


def test_a_view_that_raises_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    class Bad:
        def tick(self) -> bool:
            raise ValueError("a repr that raises")

    class Good:
        def tick(self) -> bool:
            done.set()
            return False

    flusher = Flusher(period=0.001)
    flusher.add(Bad())
    wait_until_idle(flusher)
    flusher.add(Good())
    assert done.wait(WAIT)
    assert "a repr that raises" in caplog.text


def wait_until_idle(flusher: Flusher) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if not flusher.running:
            return
        pause.wait(WAIT / 1000)
    pytest.fail("the flusher still runs")
