"""Deadlines: a run past its timeout is terminated, and no other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from conduit_lab.core.errors import DeadlineExceeded
from conduit_lab.runtime.sessions import cutoff
from conduit_lab.runtime.sessions import session as sessions
from conduit_lab.runtime.sessions.session import Options, Session
from tests.runtime import graphs

X = np.zeros(2, np.float32)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    return graphs.endless(tmp_path / "endless.onnx")


def test_an_endless_loop_is_terminated_and_the_session_stays_usable(endless: Path) -> None:
    session = Session(endless, Options(timeout=0.2))
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match=r"endless\.onnx ran longer than 0\.2 s"):
            session.run({"x": X})


def test_a_graph_with_a_loop_has_a_default_timeout(
    endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LOOP_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(TimeoutError):
        Session(endless).run({"x": X})


def test_each_run_has_its_own_deadline(endless: Path, tmp_path: Path) -> None:
    linear = Session(graphs.linear(tmp_path / "linear.onnx", np.ones((3, 2))), Options(timeout=30))
    waits = (0.1, 0.6, 0.3)

    def cut(seconds: float) -> float:
        begin = monotonic()
        with pytest.raises(DeadlineExceeded):
            Session(endless, Options(timeout=seconds)).run({"x": X})
        return monotonic() - begin

    with ThreadPoolExecutor(4) as pool:
        done = pool.map(cut, waits)
        for _ in range(50):
            np.testing.assert_array_equal(
                linear.run({"input": np.ones((1, 3), np.float32)})[0], [[3, 3]]
            )
        assert all(took >= wait for took, wait in zip(done, waits, strict=True))


def test_the_idle_watcher_thread_exits(endless: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        Session(endless, Options(timeout=0.05)).run({"x": X})
    no_watcher_is_left()


def test_the_watcher_sleeps_until_the_next_deadline(
    endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_watcher_is_left()
    waits: list[float] = []

    class Recorded(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waits.append(timeout)
            return super().wait(timeout)

    monkeypatch.setattr(cutoff, "_changed", Recorded())
    with pytest.raises(DeadlineExceeded):
        Session(endless, Options(timeout=0.2)).run({"x": X})
    no_watcher_is_left()
    assert 0 < waits[0] <= 0.2


def test_another_error_of_a_run_in_time_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), cutoff.cut_after(30, tmp_path):
        raise ZeroDivisionError


def no_watcher_is_left() -> None:
    ends = monotonic() + 10
    while any(thread.name == "conduit_lab deadlines" for thread in threading.enumerate()):
        assert monotonic() < ends, "the thread does not exit"
        sleep(0.05)
