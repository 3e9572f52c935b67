from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conduit_lab.core.progress_state import (
    PACE_SECONDS,
    Pace,
    duration,
    ended_state,
    running_state,
)


@dataclass
class Job:
    total: float | None
    unit: str
    done: float = 0.0
    name: str = "job"
    phase: str = ""
    seconds: float = 4.0


def amounts(job: Job, *inner: Job) -> str:
    return running_state(job, job.done, Pace(0.0), inner, now=job.seconds).amounts


def test_amounts_have_a_rate_and_the_time_left() -> None:
    job = Job(5_000, "text", done=1_240)
    assert amounts(job) == "1\u2009240 of 5\u2009000 texts · 310/s · 12 s left"


def test_bytes_are_sizes() -> None:
    assert amounts(Job(12 * 2**20, "B", done=3 * 2**20)) == (
        "3.00 MB of 12.0 MB · 768 KB/s · 12 s left"
    )


def test_a_slow_job_has_the_time_of_a_unit() -> None:
    assert (
        amounts(Job(10, "call", done=2, seconds=8.0)) == "2 of 10 calls · 4 s per call · 32 s left"
    )


def test_without_a_total_no_time_is_left() -> None:
    assert amounts(Job(None, "entry", done=800)) == "800 entries · 200/s"


def test_before_the_first_step_the_time_so_far_is_there() -> None:
    assert amounts(Job(10, "call")) == "0 of 10 calls · 4 s"


def test_time_counts_by_the_clock() -> None:
    assert amounts(Job(10, "s")) == "4 s of 10 s"
    assert amounts(Job(2, "s")) == "4 s"


def test_a_step_has_the_amounts_of_its_inner_job() -> None:
    outer = Job(4, "step", done=1, phase="timing")
    state = running_state(outer, 1, Pace(0.0), [Job(10, "call", done=5, name="")], now=4.0)
    assert (state.name, state.amounts) == ("job · timing", "step 2 of 4 · 5 of 10 calls")
    assert state.share == pytest.approx(1.5 / 4)


def test_the_newest_named_inner_job_is_the_phase() -> None:
    inner = [Job(1, "text", name="encode"), Job(1, "row", name="")]
    assert running_state(Job(9, "page"), 0, Pace(0.0), inner, now=4.0).name == "job · encode"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pace = Pace(0.0)
    for now in range(1, 200):
        pace.rate(1_000.0, float(now))  # all at once, and nothing since
    assert pace.rate(1_030.0, 200.0) == pytest.approx(30 / PACE_SECONDS, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(16.14, "16.1 s"), (0.5, "500 ms"), (250, "4 min 10 s"), (3_900, "1 h 5 min"), (7_200, "2 h")],
)
def test_a_duration_has_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_done_job_says_its_whole_amount() -> None:
    assert str(ended_state(Job(5, "text", seconds=16.1), None)) == "✓ job · 5 texts in 16.1 s"
    assert str(ended_state(Job(4, "step", seconds=16.1), None)) == "✓ job · 16.1 s"


def test_an_interrupted_step_is_named() -> None:
    job = Job(4, "step", done=1, phase="converting", seconds=16.1)
    words = "■ job · converting · interrupted at step 2 of 4 after 16.1 s"
    assert str(ended_state(job, KeyboardInterrupt())) == words


@example(done=1e-310, total=1e12, seconds=1e7, unit="B")  # an infinite time is left
@example(done=1e-310, total=None, seconds=1e7, unit="text")
@given(
    done=st.floats(0, 1e12),
    total=st.none() | st.floats(0, 1e12),
    seconds=st.floats(0, 1e7),
    unit=st.sampled_from(["text", "B", "s", "step"]),
)
def test_every_amount_has_words(
    done: float, total: float | None, seconds: float, unit: str
) -> None:
    job = Job(total, unit, done, seconds=seconds)
    state = running_state(job, done, Pace(0.0), [], now=seconds)
    assert state.amounts
    assert state.share is None or 0 <= state.share <= 1
