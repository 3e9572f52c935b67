"""The messages of a live view, without a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.streams.media import Media, png
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views.stream import view as view_module
from conduit_lab.notebook.views.stream.view import (
    IMAGE_SECONDS,
    MAX_VIEW_MESSAGE_CHARACTERS,
    StreamView,
)

WAIT = 10  # seconds that nothing here should need

Message = dict[str, Any]


class Tap:
    """A source whose chunks come when the test says so."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._changed = threading.Condition()
        self._open = True
        self.stream: Stream[Any] = Stream(self._flow(), name="tap")

    def _flow(self) -> Iterator[Any]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or not self._open)
                if not self._chunks:
                    return
                chunk = self._chunks.pop(0)
            yield chunk

    def pour(self, *chunks: Any) -> None:
        """Make the stream produce `chunks`; returns when it has."""
        wanted = self.stream.count + len(chunks)
        with self._changed:
            self._chunks += chunks
            self._changed.notify()
        reader = self.stream.reader(wanted - 1)
        next(reader)
        reader.close()

    def shut(self) -> None:
        """End the stream."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self.stream.wait(WAIT)


class Clock:
    """The view's clock, turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tap() -> Iterator[Tap]:
    tap = Tap()
    yield tap
    tap.shut()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(view_module, "monotonic", clock)
    return clock


def test_deltas_join_to_the_text(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    for chunk in ("one ", "two 😀 ", "three"):
        tap.pour(chunk)
        view.flush()
    assert [message["text"] for message in sent] == ["one ", "two 😀 ", "three"]
    assert [message["seq"] for message in sent] == [0, 1, 2]
    assert [message["offset"] for message in sent] == [0, 4, 10]  # code points
    assert all("id" not in message for message in sent)  # ipykernel 7.4 takes that key for its own


def test_chunks_are_coalesced_and_silence_sends_nothing(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(*("x" for _ in range(1000)))
    for _ in range(5):
        view.flush()
    assert [message["text"] for message in sent] == ["x" * 1000]
    clock.now += 1
    view.opened()
    view.flush()
    assert sent[-1]["name"] == "tap"
    assert sent[-1]["facts"][:2] == ["● running", "1\u2009000 chunks"]


def test_a_page_gets_a_replay_on_request(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour("one ")
    view.flush()
    tap.pour("two ")
    view.receive({"replay": True})
    view.flush()
    tap.pour("three")
    view.flush()
    assert [(message["seq"], message["offset"], message["text"]) for message in sent] == [
        (0, 0, "one "),
        (1, 0, "one two "),
        (2, 8, "three"),
    ]


def test_a_view_that_fell_behind_starts_again_with_what_is_kept() -> None:
    stream = Stream((f"chunk {number} " for number in range(1000)), name="long", keep=8_000)
    sent: list[Message] = []
    view = StreamView(stream, sent.append)
    stream.wait(WAIT)
    view.flush()
    assert sent[0]["dropped"] > 0
    assert sent[0]["offset"] == 0
    assert sent[0]["text"] == stream.text
    assert sent[0]["text"].startswith(f"chunk {sent[0]['dropped']} ")


def test_a_message_is_bounded_and_the_rest_follows(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(*("y" * 1000 for _ in range(100)))
    for _ in range(10):
        view.flush()
    assert max(len(message["text"]) for message in sent) < MAX_VIEW_MESSAGE_CHARACTERS + 1000
    assert "".join(message["text"] for message in sent) == "y" * 100_000


def test_a_lone_surrogate_can_be_sent(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour("a\ud83db")
    view.flush()
    assert sent[0]["text"] == "a?b"


def pictures(sent: list[Message]) -> list[str]:
    """Return the images that were sent."""
    return [message["image"] for message in sent if "image" in message]


def test_the_newest_image_is_sent_a_few_times_a_second(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    view.opened()
    images = [np.full((2, 2), shade, np.uint8) for shade in range(4)]
    tap.pour("a", images[0], {"step": 1, "image": images[1]}, "b")
    view.flush()
    assert pictures(sent) == [Media("image/png", png(images[1])).url]
    tap.pour(images[2])
    view.flush()
    assert len(pictures(sent)) == 1
    tap.pour(png(images[3]))
    clock.now += IMAGE_SECONDS
    view.flush()
    assert pictures(sent)[1:] == [Media("image/png", png(images[3])).url]
    clock.now += IMAGE_SECONDS
    tap.pour("c")
    view.flush()
    assert len(pictures(sent)) == 2
    assert "".join(message["text"] for message in sent) == tap.stream.text


def test_a_large_image_delays_the_next_by_its_size(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    view.opened()
    tap.pour(b"\x89PNG\r\n\x1a\n" + bytes(750_000))
    view.flush()
    tap.pour(b"\x89PNG\r\n\x1a\n")
    clock.now += 1.9  # a million characters take 2 s
    view.flush()
    assert len(pictures(sent)) == 1
    clock.now += 0.2
    view.flush()
    assert len(pictures(sent)) == 2


def test_an_image_above_a_megabyte_is_not_sent(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(b"\x89PNG\r\n\x1a\n" + bytes(2**20))
    view.flush()
    assert pictures(sent) == []


def test_a_page_that_opens_is_sent_the_image_again(tap: Tap, clock: Clock) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(np.zeros((2, 2), np.uint8))
    view.flush()
    view.opened()
    clock.now += IMAGE_SECONDS
    view.flush()
    assert len(pictures(sent)) == 2


def test_stop_cancels(tap: Tap) -> None:
    StreamView(tap.stream, lambda message: None).receive({"stop": True})
    assert tap.stream.state == "cancelled"
