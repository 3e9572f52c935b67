"""Calls, errors and times per stage."""

from __future__ import annotations

import threading

import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.call_record import Values
from conduit_lab.core.trace.stage_statistics import (
    MAX_STAGES,
    RECENT_CALLS,
    StageStatistics,
    StageSummary,
)

same = Function(lambda value: value, "same")


class Ended:
    def __init__(self, name: str, duration: float, error: BaseException | None = None) -> None:
        self.name, self.duration, self.error = name, duration, error


@pytest.mark.parametrize("limit", [0, 2**20])
def test_each_stage_of_a_call_is_counted(limit: int) -> None:
    statistics = StageStatistics()
    for _ in range(3):
        with recorder.record("call", values=Values(limit), statistics=statistics):
            same(1)
            same(2)
    assert {name: statistics[name].calls for name in statistics} == {"same": 6, "call": 3}


def test_percentiles_are_of_the_newest_calls_and_counts_of_all() -> None:
    statistics = StageStatistics()
    statistics.add([Ended("s", 100.0)] * 7)
    statistics.add([Ended("s", n / RECENT_CALLS) for n in range(RECENT_CALLS)])
    summary = statistics["s"]
    assert summary.calls == RECENT_CALLS + 7
    assert (summary.p50, summary.p95, summary.p99) == pytest.approx((0.5, 0.95, 0.99), abs=0.01)


def test_errors_are_counted() -> None:
    statistics = StageStatistics()
    statistics.add([Ended("s", 1.0), Ended("s", 1.0, ValueError())])
    assert statistics["s"] == StageSummary("s", 2, 1, 1.0, 1.0, 1.0)


def test_names_are_bounded() -> None:
    statistics = StageStatistics()
    statistics.add([Ended(f"n{n}", 1.0) for n in range(2 * MAX_STAGES)])
    assert len(statistics) == MAX_STAGES + 1
    assert statistics["other stages"].calls == MAX_STAGES


def test_threads_lose_no_call() -> None:
    statistics = StageStatistics()

    def work() -> None:
        for _ in range(300):
            with recorder.record("call", values=Values(0), statistics=statistics):
                same(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics["same"].calls == statistics["call"].calls == 1800


def test_an_unknown_stage_names_the_known() -> None:
    statistics = StageStatistics()
    with pytest.raises(KeyError, match="no stage 'x' has run; the stages are none yet"):
        statistics["x"]


def test_it_shows_a_row_per_stage() -> None:
    statistics = StageStatistics()
    statistics.add([Ended("topic", 0.0012), Ended("topic", 0.0012, ValueError())])
    assert repr(statistics).splitlines() == [
        "Statistics · 1 stage · 2 calls · 1 failed",
        "stage  calls      p50      p95      p99  errors",
        "topic      2  1.20 ms  1.20 ms  1.20 ms       1",
    ]
