"""A list of streams as a cell's value: its messages, and the lists that stay lists."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from IPython.core.events import EventManager
from IPython.core.formatters import DisplayFormatter

from conduit_lab.core.streams.side_by_side import MAX_SIDE_BY_SIDE, SideBySide
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook import mount
from conduit_lab.notebook.hub import Hub
from conduit_lab.notebook.views.streams import register_streams
from conduit_lab.notebook.views.streams.streams_view import StreamsView
from tests.core.streams.sources import Gate


@pytest.fixture
def gates() -> Iterator[list[Gate]]:
    gates = [Gate("a "), Gate(1.0)]
    yield gates
    for gate in gates:
        gate.open.set()


def test_messages_of_each_stream_go_to_its_column(gates: list[Gate]) -> None:
    sent: list[Any] = []
    view = StreamsView(SideBySide([gate.stream(name="x") for gate in gates]), sent.append)
    view.flush()
    clock, first, second = sent
    assert (clock["names"], clock["count"]) == (["x", "x"], 2)
    assert len(clock["strips"]) == 2
    assert (first["to"], first["message"]["text"]) == (0, "a ")
    assert (second["to"], second["message"]["shape"]) == (1, "numbers")
    assert first["message"]["facts"] == ["● running", "1 chunk"]
    view.close()


def test_a_page_that_opens_gets_everything_again(gates: list[Gate]) -> None:
    sent: list[Any] = []
    view = StreamsView(SideBySide([gate.stream() for gate in gates]), sent.append)
    view.flush()
    sent.clear()
    view.opened()
    view.flush()
    assert "names" in sent[0]
    assert [message["to"] for message in sent[1:]] == [0, 1]
    assert sent[2]["message"]["whole"]


def test_stop_of_one_and_of_all(gates: list[Gate]) -> None:
    streams = [gate.stream() for gate in gates]
    view = StreamsView(SideBySide(streams), lambda message: None)
    view.receive({"to": 7, "message": {"stop": True}})
    view.receive({"to": 1, "message": {"stop": True}})
    assert [stream.state for stream in streams] == ["running", "cancelled"]
    view.receive({"stop": True})
    assert [stream.state for stream in streams] == ["cancelled", "cancelled"]


def test_streams_without_a_column_are_not_read() -> None:
    streams: list[Stream[Any]] = [Stream(["x"]) for _ in range(MAX_SIDE_BY_SIDE + 2)]
    sent: list[Any] = []
    view = StreamsView(SideBySide(streams), sent.append)
    view.flush()
    assert sent[0]["note"] == "2 more streams without a column"
    assert [stream.readers for stream in streams][-3:] == [1, 0, 0]
    view.close()


class Pair(NamedTuple):
    left: Any
    right: Any


class Drawn(list[Any]):
    def _ipython_display_(self) -> None:
        self.drawn = True


class Shell:
    """A kernel's shell as far as registering and showing need it."""

    def __init__(self) -> None:
        self.display_formatter = DisplayFormatter()
        self.events = EventManager(self, {"post_run_cell": None, "pre_run_cell": None})
        self.published: list[dict[str, Any]] = []
        self.display_pub = self
        self.kernel = SimpleNamespace(get_parent=dict)

    def publish(self, data: dict[str, Any], _metadata: Any, **_more: Any) -> None:
        self.published.append(data)

    def show(self, value: Any) -> dict[str, Any]:
        """Return the forms that IPython itself shows of a value."""
        data: dict[str, Any] = self.display_formatter.format(value)[0]
        return data


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(mount, "hub", Hub(lambda receive: lambda message: None))
    monkeypatch.setattr(mount, "_unwatched", [])
    shell = Shell()
    register_streams(shell)
    return shell


@pytest.mark.parametrize("kind", [list, tuple, Pair._make])
def test_two_streams_are_shown_side_by_side(shell: Shell, kind: Any) -> None:
    assert shell.show(kind([Stream(["a"]), Stream(["b"])])) == {}
    (data,) = shell.published
    assert "Side by side" in data["text/html"]


@pytest.mark.parametrize(
    "value", [[], [1, 2], (1,), Pair(1, 2), [Stream(["a"])], [Stream(["a"]), 1]]
)
def test_every_other_list_is_shown_as_ipython_does(shell: Shell, value: Any) -> None:
    plain = DisplayFormatter().format(value)[0]
    assert shell.show(value) == plain
    assert shell.published == []


def test_a_list_that_draws_itself_still_does(shell: Shell) -> None:
    drawn = Drawn([1])
    assert shell.show(drawn) == {}
    assert drawn.drawn
