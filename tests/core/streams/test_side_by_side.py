"""Several streams on one clock."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_lab.core.streams import side_by_side
from conduit_lab.core.streams.side_by_side import MAX_SIDE_BY_SIDE, SideBySide
from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT, Gate


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(side_by_side, "monotonic", clock)
    return clock


class Counted:
    """A stream as the clock sees it."""

    def __init__(self, name: str, started: float) -> None:
        self.name, self.started, self.state, self.count = name, started, "running", 0
        self.first: float | None = None
        self.ended: float | None = None
        self.finished = False


def group_of(*streams: Any) -> SideBySide:
    return SideBySide(streams)


def test_chunks_are_placed_when_they_came(clock: Clock) -> None:
    early, late = Counted("early", 0.0), Counted("late", 0.2)
    group = group_of(early, late)
    early.first, early.count, clock.now = 0.11, 1, 0.12
    group.observe()
    late.first, late.count, clock.now = 0.31, 4, 0.32
    group.observe()
    early.ended, clock.now = 0.36, 0.42
    (_, first), (_, second) = group.strips.strips
    assert first == [0, 0, 0.68, 0.12, 0.12, 0.12, 0.12, 0.12, -1]
    assert second == [-1, -1, -1, -1, 0, 0, 1.0, 0.12, 0.12]
    assert group.strips.end == "420 ms"


def test_chunks_between_two_observations_are_spread_over_their_time(clock: Clock) -> None:
    stream = Counted("a", 0.0)
    group = group_of(stream, Counted("b", 0.0))
    stream.first, stream.count, clock.now = 0.1, 4, 0.29
    group.observe()
    assert group._counts[0, :7].tolist() == [0, 0, 1, 1, 1, 1, 0]


def test_the_clock_grows_with_the_streams_and_loses_no_chunk(clock: Clock) -> None:
    stream = Counted("a", 0.0)
    group = group_of(stream, Counted("b", 0.0))
    stream.first = 0.0
    for second in range(100):
        clock.now, stream.count = float(second), second
        group.observe()
    assert group._counts[0].sum() == 99
    assert len(group.strips.strips[0][1]) <= 120
    assert group.strips.end == "99.0 s"


def test_chunks_that_came_before_have_no_place(clock: Clock) -> None:
    stream = Counted("a", 0.0)
    stream.first, stream.count, clock.now = 0.0, 50, 0.1
    group = group_of(stream, Counted("b", 0.0))
    group.observe()
    assert group._counts.sum() == 0
    assert set(group.strips.strips[0][1]) == {0.12}


def test_the_header_has_the_state_of_all_and_their_chunks() -> None:
    gate, done = Gate("a "), Stream(["b "])
    done.wait(WAIT)
    group = SideBySide([gate.stream(), done])
    assert group.facts[:3] == ["● running", "1 of 2 ended", "2 chunks"]
    assert not group.finished
    group.cancel()
    assert group.finished
    assert group.facts[:2] == ["■ cancelled", "2 chunks"]
    gate.open.set()


def test_each_stream_has_a_column_and_the_others_are_counted() -> None:
    streams: list[Stream[Any]] = [Stream([n], name=f"<{n}>") for n in range(MAX_SIDE_BY_SIDE + 1)]
    for stream in streams:
        stream.wait(WAIT)
    bundle = SideBySide(streams)._repr_mimebundle_()
    assert bundle["text/html"].count("flex:1 1 300px") == MAX_SIDE_BY_SIDE
    assert "<b>&lt;0&gt;</b>" in bundle["text/html"]
    assert "1 more stream without a column" in bundle["text/html"]
    assert bundle["text/plain"].startswith("Side by side '9 streams' · ✓ done · 9 chunks")


def test_a_long_name_is_cut_in_its_column() -> None:
    streams = [Stream(["a"], name="n" * 80), Stream(["b"])]
    for stream in streams:
        stream.wait(WAIT)
    assert f"<b>{'n' * 23}…</b>" in SideBySide(streams)._repr_mimebundle_()["text/html"]
