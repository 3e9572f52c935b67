from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from conduit_lab.core import progress as core
from conduit_lab.core.progress import (
    Progress,
    counted,
    inner_progress,
    progress,
    show_progress_on,
    silenced,
)
from conduit_lab.core.progress_state import ProgressState


class Written:
    """A line that keeps its states; `drawn` is set by the first one."""

    def __init__(self) -> None:
        self.states: list[ProgressState] = []
        self.last: ProgressState | None = None
        self.drawn = threading.Event()

    def show(self, state: ProgressState) -> None:
        self.states.append(state)
        self.drawn.set()

    def end(self, state: ProgressState) -> None:
        self.last = state


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """The line of every job; it is shown at once."""
    line = Written()
    monkeypatch.setattr(core, "_new_line", lambda: line)
    monkeypatch.setattr(core, "_ticker", core._Ticker())
    monkeypatch.setattr(core, "SHOW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(core, "UPDATE_SECONDS", 0.001)
    yield line


def drawn(line: Written) -> None:
    assert line.drawn.wait(10)


def test_a_long_job_is_shown_and_leaves_one_line(line: Written) -> None:
    with progress(5, "text", "minilm.encode") as job:
        job.step(5)
        drawn(line)
    assert line.states[0].name == "minilm.encode"
    assert line.states[0].amounts.startswith("5 of 5 texts")
    assert str(line.last).startswith("✓ minilm.encode · 5 texts in ")


def test_a_job_of_less_than_a_second_shows_nothing(
    line: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "SHOW_AFTER_SECONDS", 60.0)
    with progress(1, "text", "minilm.encode"):
        pass
    assert (line.states, line.last) == ([], None)


@pytest.mark.parametrize("seen", [True, False])
def test_an_interrupt_leaves_how_far_it_came(line: Written, seen: bool) -> None:
    with pytest.raises(KeyboardInterrupt), progress(9, "text", "minilm.encode") as job:
        job.step(4)
        if seen:
            drawn(line)
        raise KeyboardInterrupt
    assert str(line.last).startswith("■ minilm.encode · interrupted at 4 of 9 texts after ")


def test_a_failure_leaves_how_far_it_came(line: Written) -> None:
    with pytest.raises(ZeroDivisionError), progress(9, "text", "minilm.encode") as job:
        job.step(4)
        drawn(line)
        raise ZeroDivisionError
    assert str(line.last).startswith("✕ minilm.encode · failed at 4 of 9 texts after ")


def test_an_inner_job_shares_the_line(line: Written) -> None:
    with progress(9, "page", "handbook.reindex") as outer, progress(4, "text", "encode") as inner:
        inner.step(2)
        assert (outer.state().name, outer.state().share) == ("handbook.reindex · encode", 0.0)
    assert line.last is None or line.last.name == "handbook.reindex"


def test_steps_of_an_inner_job_with_the_same_unit_count(line: Written) -> None:
    with progress(8, "text", "handbook.reembed") as outer:
        with progress(4, "text", "encode") as inner:
            inner.step(2)
            assert outer.state().share == 0.25
        outer.step(4)
        assert outer.state().share == 0.5


def test_steps_of_an_interrupted_inner_job_count(line: Written) -> None:
    with pytest.raises(KeyboardInterrupt), progress(8, "text", "handbook.reembed") as outer:
        outer.step(4)
        with progress(4, "text", "encode") as inner:
            inner.step(2)
            raise KeyboardInterrupt
    assert "interrupted at 6 of 8 texts" in str(line.last)


def test_an_inner_part_alone_shows_nothing(line: Written) -> None:
    with inner_progress(4, "text") as job:
        job.step()
        assert core._current.get() is None


def test_items_count_for_the_running_job_in_their_unit() -> None:
    with progress(3, "call", "replay") as job:
        assert list(counted("abc", "call")) == list("abc")
        assert list(counted("abc", "other")) == list("abc")
    assert job.done == 3


def test_steps_of_many_threads_are_all_counted() -> None:
    with progress(4_000, "text", "encode") as job:
        threads = [
            threading.Thread(target=lambda: list(map(job.step, [1] * 1_000))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert job.done == 4_000


def test_a_job_of_another_thread_waits_for_the_line(line: Written) -> None:
    other_drew, goes_on = threading.Event(), threading.Event()

    def other() -> None:
        with progress(1, "text", "other"):
            other_drew.set()
            goes_on.wait(10)

    with progress(1, "text", "first"):
        drawn(line)
        thread = threading.Thread(target=other)
        thread.start()
        assert other_drew.wait(10)
        line.drawn.clear()
        drawn(line)
        assert {state.name for state in line.states} == {"first"}
    line.states.clear()
    line.drawn.clear()
    drawn(line)
    goes_on.set()
    thread.join()
    assert {state.name for state in line.states} == {"other"}


def test_a_context_that_outlives_its_job_begins_a_new_one(line: Written) -> None:
    with progress(1, "text", "first") as first:
        context = copy_context()
    with progress(1, "text", "second") as second:
        assert context.run(core._running) is None
        assert core._running() is second
    assert first.ended


def test_no_thread_is_left(line: Written) -> None:
    with progress(1, "text", "encode"):
        drawn(line)
        thread = core._ticker._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


def test_a_job_without_a_line_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_ticker", core._Ticker())
    monkeypatch.setattr(core, "_new_line", None)  # restored afterwards
    show_progress_on(lambda: None)
    with progress(1, "text", "encode"):
        assert core._ticker._thread is None


@pytest.mark.parametrize("way", ["switch", "silenced"])
def test_progress_can_be_switched_off(
    line: Written, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "switch":
        monkeypatch.setenv("CONDUIT_LAB_PROGRESS", "0")
        with progress(1, "text", "encode"):
            assert core._ticker._jobs == []
    else:
        with silenced(), progress(1, "text", "encode"):
            assert core._ticker._jobs == []


def test_a_line_that_fails_does_not_end_the_job(line: Written) -> None:
    def fail(state: ProgressState) -> None:
        line.drawn.set()
        raise OSError("stderr is closed")

    line.show = line.end = fail  # type: ignore[method-assign]
    with progress(1, "text", "encode") as job:
        drawn(line)
        job.step()
    assert job.done == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_draws_nothing(line: Written) -> None:
    with progress(1, "text", "encode"):
        drawn(line)
        child = os.fork()
        if child == 0:
            os._exit(int(core._ticker._thread is not None or core._ticker._jobs != []))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_phase_is_named_by_its_step() -> None:
    job = Progress(2, "step", "optimize topic")
    job.phase = "opening"
    assert job.state().amounts.startswith("step 1 of 2")
    job.next_phase("converting")
    assert job.state().name == "optimize topic · converting"
    assert job.state().amounts.startswith("step 2 of 2")


def test_a_job_that_a_second_interrupt_left_is_dropped(
    line: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(core._ticker, "remove", interrupted)
    with pytest.raises(KeyboardInterrupt), progress(1, "text", "encode"):
        drawn(line)
        thread = core._ticker._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert core._running() is None


def test_a_part_that_outlives_its_job_begins_a_new_one(line: Written) -> None:
    def outlive() -> None:
        inner = progress(1, "text", "inner")
        with progress(1, "text", "outer"):
            inner.__enter__()
            context = copy_context()
        assert context.run(core._running) is None
        inner.__exit__(None, None, None)

    copy_context().run(outlive)  # the two end in the wrong order, which a context remembers
