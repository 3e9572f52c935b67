"""Server-sent events parse the same with any chunking and line endings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.client import event_parser
from conduit_lab.client.event_parser import Event, EventParser
from conduit_lab.core.errors import RemoteError

LINE = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=8)
EVENT = st.tuples(LINE, st.lists(LINE, min_size=1, max_size=3), LINE)


def parse(data: bytes, cuts: list[int] | None = None) -> list[Event]:
    parser, events, at = EventParser(), [], 0
    for cut in sorted(cuts or []):
        events += parser.feed(data[at:cut])
        at = max(at, cut)
    return events + parser.feed(data[at:])


@given(
    st.lists(EVENT, max_size=4),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 200), max_size=8),
    st.booleans(),
)
def test_events_come_back_however_they_are_cut(
    sent: list[tuple[str, list[str], str]], end: str, cuts: list[int], mark: bool
) -> None:
    lines, expected, last = [], [], ""
    for kind, data, id in sent:
        lines += [f"event: {kind}", f"id: {id}", ": a comment", *(f"data: {d}" for d in data), ""]
        last = id
        expected.append(Event(kind or "message", "\n".join(data).encode(), last))
    text = ("\ufeff" if mark else "") + "".join(line + end for line in lines)
    # a CR at the very end may be half of a CRLF: the next byte decides
    assert parse(text.encode() + b"x", cuts) == expected


def test_an_id_stays_until_the_next_one() -> None:
    events = parse(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\0\ndata: d\n\n")
    assert [(e.data, e.id) for e in events] == [(b"a", "1"), (b"b", "1"), (b"c", ""), (b"d", "")]


def test_an_event_without_data_is_none_and_a_half_one_never_comes() -> None:
    assert parse(b"event: ping\n\ndata: half\n") == []
    assert parse(b"data\n\ndata:\n\n") == [Event("message", b"", "")] * 2


@pytest.mark.parametrize(("line", "seconds"), [("1500", 1.5), ("x", None), ("9" * 50, 3600.0)])
def test_the_time_until_a_client_comes_back(line: str, seconds: float | None) -> None:
    parser = EventParser()
    parser.feed(f"retry: {line}\n\n".encode())
    assert parser.retry == seconds


@pytest.mark.parametrize("piece", [b"data: aaaaaaaaaa\n", b"aaaaaaaaaaaaaaa"])
def test_an_event_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(event_parser, "MAX_EVENT_BYTES", 100)
    parser = EventParser()
    with pytest.raises(RemoteError, match="more than 100 bytes"):
        for _ in range(10):
            parser.feed(piece)
