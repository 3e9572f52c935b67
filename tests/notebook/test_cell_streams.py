"""A stream that a cell shows stops when the cell runs again, unless a name keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from conduit_lab import Stream
from conduit_lab.notebook import cell_streams

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    cell_streams.register_cell_streams(made)
    cell_streams.register_cell_streams(made)
    return made


@pytest.fixture
def run(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    go = Event()

    def numbers() -> Iterator[int]:
        go.wait(10)
        yield 1

    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shell.user_ns["begin"] = lambda: Stream(numbers(), name="numbers")

    def run(code: str, cell: str | None = "a") -> Any:
        result = shell.run_cell(code, cell_id=cell, store_history=True)
        result.raise_error()
        return result.result

    yield run
    go.set()
    for stream in cell_streams.shown_streams():
        stream.cancel()
    shell.reset()


def test_it_is_stopped_before_the_cell_runs_again(run: Run) -> None:
    first = run("begin()")
    assert cell_streams.shown_streams() == [first]
    run("1", "b")
    assert not first.finished
    second = run("begin()")
    assert first.cancelled
    assert cell_streams.shown_streams() == [second]


def test_one_whose_name_is_bound_again_is_stopped_then(run: Run) -> None:
    first = run("stream = begin(); stream")
    second = run("stream = begin(); stream")
    assert first.cancelled
    assert not second.finished


def test_one_that_a_name_keeps_goes_on_and_is_named(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run("begin()")
    run("kept = [0, _]", "b")
    second = run("begin()")
    assert not first.finished
    assert capsys.readouterr().out.count("kept[1].cancel() stops it") == 1
    assert {*cell_streams.shown_streams()} == {first, second}


def test_the_same_stream_shown_again_goes_on(run: Run) -> None:
    run("stream = begin()", "b")
    assert run("stream") is run("stream")
    assert not run("stream").finished


def test_those_in_a_container_count(run: Run) -> None:
    first = run("[begin(), begin()]")
    run("{'a': begin()}")
    assert [each.cancelled for each in first] == [True, True]
    (shown,) = cell_streams.shown_streams()
    assert shown.name == "numbers"


def test_a_terminals_lines_stop_nothing(run: Run) -> None:
    first = run("begin()", None)
    run("begin()", None)
    assert not first.finished
    assert len(cell_streams.shown_streams()) == 2


def test_a_stream_that_no_cell_shows_is_not_touched(run: Run) -> None:
    run("held = {'deep': [begin()]}")
    run("held = {}")
    assert cell_streams.shown_streams() == []
