"""ThreadPlan: whether threads pay, by the measured times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.flow.thread_plan import HOP_SECONDS, MEASURE_EVERY, TRIAL_RUNS, ThreadPlan

MEMBERS = 3


def times(seconds: float, members: int = MEMBERS) -> dict[str, float]:
    return {str(member): seconds for member in range(members)}


def test_nothing_is_measured_at_first() -> None:
    decision = ThreadPlan(MEMBERS).decision()
    assert (decision.threaded, decision.seconds) == (False, {})
    assert decision.reason == "no run was measured"


def test_members_that_compute_are_tried_on_threads_and_the_faster_way_is_kept() -> None:
    for elapsed, faster in ((0.014, True), (0.03, False), (0.029, False)):
        plan = ThreadPlan(MEMBERS)
        plan.ran_in_order(times(0.01), 0.03)
        for _ in range(TRIAL_RUNS):
            assert plan.threaded
            assert plan.decision().reason == "a trial on threads is running"
            plan.ran_on_threads(times(0.02), elapsed)
        assert plan.threaded is faster
        assert plan.decision().reason.startswith("measured: ")
        assert plan.decision().reason.endswith("30.0 ms one after the other, 100% of it on the CPU")


def test_a_comparison_is_repeated_now_and_then() -> None:
    plan = ThreadPlan(MEMBERS)
    plan.ran_in_order(times(0.01), 0.03)
    ways = []
    for _ in range(3 * MEASURE_EVERY):
        ways.append(plan.threaded)
        if plan.threaded:
            plan.ran_on_threads(times(0.03), 0.03)
        else:
            plan.ran_in_order(times(0.01), 0.03)
    assert ways.count(True) == TRIAL_RUNS + 3


def test_members_that_wait_are_not_run_in_order_again() -> None:
    plan = ThreadPlan(MEMBERS)
    plan.ran_in_order(times(0.01), 0.0)
    for _ in range(3 * MEASURE_EVERY):
        assert plan.threaded
        plan.ran_on_threads(times(0.01), 0.011)
    assert plan.decision().reason.endswith("one after the other, 0% of it on the CPU")


def test_a_first_run_that_loads_a_model_does_not_count() -> None:
    plan = ThreadPlan(MEMBERS)
    plan.ran_in_order(times(2.0), 0.1)
    assert plan.threaded
    plan.ran_on_threads(times(1e-6), 3e-4)
    plan.ran_on_threads(times(1e-6), 3e-4)
    assert not plan.threaded
    plan.ran_in_order(times(1e-6), 3e-6)
    assert not plan.threaded
    assert plan.decision().seconds == times(1e-6)


@given(seconds=st.lists(st.floats(0, 1), min_size=2, max_size=6), cpu_ratio=st.floats(0, 1))
def test_threads_are_used_only_where_they_can_save_their_cost(
    seconds: list[float], cpu_ratio: float
) -> None:
    plan = ThreadPlan(len(seconds))
    measured = {str(member): each for member, each in enumerate(seconds)}
    for _ in range(3):
        plan.ran_in_order(measured, cpu_ratio * sum(seconds))
    saved = sum(seconds) - max(seconds)
    assert plan.threaded is (saved > len(seconds) * HOP_SECONDS)
    assert plan.unmeasured == (0 if plan.threaded else MEASURE_EVERY)
    assert plan.decision().seconds == pytest.approx(measured)
