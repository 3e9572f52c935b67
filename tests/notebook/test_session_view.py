"""The messages of a session's live view, without a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from conduit_lab import Lab
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views.session import view as view_module
from conduit_lab.notebook.views.session.view import SessionView


class Session:
    """A lab, its view, and the messages that the view sent."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab("<desk>", root=root)
        self.sent: list[dict[str, Any]] = []
        self.view = SessionView(self.lab, self.sent.append)
        self.go = Event()
        self.now = 100.0

    def flush(self, after: float = 2.0) -> list[dict[str, Any]]:
        """Let time pass and flush; return the new messages."""
        known = len(self.sent)
        self.now += after
        self.view.flush()
        return self.sent[known:]

    def begin(self) -> Stream[int]:
        """Start a stream of an endpoint."""

        @self.lab.ml_stream("/s")
        def s(n: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            self.go.wait(10)
            yield n

        stream: Stream[int] = s(1)
        return stream


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    session = Session(tmp_path)
    monkeypatch.setattr(view_module, "monotonic", lambda: session.now)
    yield session
    session.go.set()
    session.lab.streams.cancel()
    session.view.close()


def test_nothing_is_sent_where_nothing_changed(session: Session) -> None:
    (first,) = session.flush()
    assert (first["kind"], first["name"]) == ("Lab", "<desk>")
    assert first["facts"] == ["nothing loaded yet"]
    for _ in range(100):
        assert session.flush() == []


def test_an_idle_check_makes_no_view(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.flush()
    monkeypatch.setattr(session.lab, "glance", lambda: pytest.fail("a view was made"))
    session.flush()


def test_a_call_and_a_registration_are_sent_once_a_second(session: Session) -> None:
    session.flush()

    @session.lab.post("/a")
    def a(n: int) -> int:
        return n

    assert session.flush(0.5) == []
    (registered,) = session.flush(0.6)
    ((table,), _) = registered["groups"]
    assert table["columns"] == ["endpoint", "proof", "calls", "p50"]
    assert table["numeric"] == [False, False, True, True]
    assert [cell["text"] for cell in table["rows"][0]] == ["POST /a", "○ missing", "", ""]
    assert registered["missing"] == ["a(1)"]
    a(1)
    (called,) = session.flush()
    row = called["groups"][0][0]["rows"][0]
    assert [cell["text"] for cell in row[:3]] == ["POST /a", "✓ ready", "1"]
    assert row[3]["share"] == 1.0


def test_stores_models_and_servers_are_noticed(session: Session) -> None:
    session.flush()
    store = session.lab.vector_store("docs", dimension=2)
    assert len(session.flush()) == 1
    store.add("a", [1, 0])
    (added,) = session.flush()
    assert added["groups"][1][0]["rows"][0][1]["text"] == "1"
    session.lab.load_model(len)
    assert len(session.flush()) == 1
    with session.lab.serve(port=0) as server:
        assert session.flush()[0]["urls"] == [server.url]
    assert session.flush()[0]["urls"] == []
    store.close()


def test_a_running_stream_is_followed_and_stopped_by_its_key(session: Session) -> None:
    stream = session.begin()
    (first,) = session.flush()
    (row,) = first["streams"]
    assert row["cells"][:2] == ["s", "● running"]
    assert first["stream_columns"][:2] == ("stream", "state")
    assert len(session.flush()) == 1  # its time has passed
    session.view.receive({"stop": 99})
    assert not stream.finished
    session.view.receive({"stop": row["key"]})
    assert stream.cancelled
    (last,) = session.flush(0.0)  # an answer does not wait
    assert last["streams"] == []


def test_many_streams_are_counted(session: Session) -> None:
    session.begin()
    for _ in range(24):
        session.lab.endpoints["s"](1)
    (message,) = session.flush()
    assert len(message["streams"]) == 20
    assert message["more_streams"] == "5 more streams"


def test_a_page_that_opens_gets_everything_again(session: Session) -> None:
    (first,) = session.flush()
    session.view.opened()
    assert session.flush(0.0) == [first]


def test_the_static_form_has_no_running_streams(session: Session) -> None:
    session.begin()
    (message,) = session.flush()
    assert "POST /s" in message["html"]
    assert "chunks" not in message["html"]
    assert "chunks" in session.lab._repr_mimebundle_()["text/html"]
