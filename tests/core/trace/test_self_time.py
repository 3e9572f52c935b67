from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.trace.self_time import elapsed, self_intervals, self_seconds, union
from tests.core.trace.made import span

TIMES = st.integers(0, 100)
INTERVALS = st.lists(st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair))), max_size=8)


def test_self_time_is_the_duration_without_the_union_of_the_children() -> None:
    parent = span("p", 10, 20, span("a", 11, 14), span("b", 13, 15), span("c", 18, 19))
    assert self_intervals(parent) == [(10, 11), (15, 18), (19, 20)]
    assert self_seconds(parent) == 5


def test_a_child_that_outlives_its_parent_counts_until_the_parents_end() -> None:
    assert self_seconds(span("p", 0, 4, span("a", 2, 9))) == 2
    assert self_seconds(span("p", 0, 4, span("a", 5, 9))) == 4


@settings(max_examples=100, deadline=None)
@given(INTERVALS)
def test_self_time_counts_each_moment_without_a_child(intervals: list[tuple[int, int]]) -> None:
    parent = span("p", 20, 80, *(span("c", start, end) for start, end in intervals))
    moments = {n for n in range(20, 80) if not any(a <= n < b for a, b in intervals)}
    assert self_seconds(parent) == pytest.approx(len(moments))


@settings(max_examples=100, deadline=None)
@given(INTERVALS)
def test_a_union_is_in_order_and_disjoint(intervals: list[tuple[int, int]]) -> None:
    merged = union((float(start), float(end)) for start, end in intervals)
    flat = [point for part in merged for point in part]
    assert flat == sorted(set(flat))
    assert {n for a, b in intervals for n in range(a, b)} == {
        n for a, b in merged for n in range(int(a), int(b))
    }


def test_a_running_span_has_the_time_until_now() -> None:
    running = span("r", 0, None)
    first = elapsed(running)
    assert 0 < first <= elapsed(running)
