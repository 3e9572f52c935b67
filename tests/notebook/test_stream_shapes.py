"""The messages of a live view whose chunks are not text."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.streams.media import png, wav
from conduit_lab.core.streams.shapes.film import Film
from conduit_lab.core.streams.shapes.sound_wave import SoundWave
from conduit_lab.core.streams.stream import Stream
from conduit_lab.notebook.views.stream.shape_updates import (
    MAX_MEDIA_RATE,
    PICTURE_SECONDS,
    FilmUpdates,
    SoundUpdates,
)
from conduit_lab.notebook.views.stream.view import MAX_VIEW_MESSAGE_CHARACTERS, StreamView
from tests.notebook.test_stream_view import Clock, Message, Tap, clock, tap

__all__ = ["clock", "tap"]  # fixtures


class Page:
    """Follows the messages as the page's half does, and refuses to lose one."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.columns: dict[str, list[float | None]] = {"mean": [], "low": [], "high": []}
        self.rows: list[Any] = []

    def receive(self, message: Message) -> None:
        json.dumps(message, allow_nan=False)
        part = message.get("part")
        assert message["seq"] == len(self.messages)
        self.messages.append(message)
        if part is None:
            return
        if (line := part.get("line")) is not None:
            for name, values in self.columns.items():
                assert line["at"] <= len(values)
                values[line["at"] :] = line.get(name, line["mean"])
        if message["whole"]:
            self.rows = []
        self.rows = [*self.rows, *part.get("rows", [])][-20:]

    @property
    def last(self) -> Any:
        return self.messages[-1]["part"]


def test_numbers_are_sent_as_the_columns_that_changed(tap: Tap) -> None:
    page = Page()
    view = StreamView(tap.stream, page.receive)
    for batch in ([1.0, 2.0], [math.nan], [4.0, 0.5], [7.0] * 1500):
        tap.pour(*batch)
        view.flush()
    assert [message["part"]["line"]["at"] for message in page.messages] == [0, 1, 2, 0]
    shape: Any = tap.stream.shown.shape
    low = [None if math.isnan(v) else v for v in shape.envelope.columns().low.tolist()]
    assert page.columns["low"] == low
    assert page.last["sides"] == ["0.500", "7"]
    assert page.last["last"] == "7"
    assert page.last["ends"] == ("chunk 0", "chunk 1\u2009504")


def test_a_flood_of_numbers_stays_small(tap: Tap) -> None:
    page = Page()
    view = StreamView(tap.stream, page.receive)
    tap.pour(*map(float, range(6000)))
    for _ in range(3):
        view.flush()
    tap.pour(*map(float, range(500)))
    view.flush()
    sizes = [len(json.dumps(message)) for message in page.messages]
    assert max(sizes) <= MAX_VIEW_MESSAGE_CHARACTERS
    assert sizes[-1] < 4_000


def test_a_page_that_opens_gets_the_whole_shape(tap: Tap) -> None:
    page = Page()
    view = StreamView(tap.stream, page.receive)
    tap.pour(*({"n": n} for n in range(30)))
    view.flush()
    tap.pour({"n": 30})
    view.flush()
    assert [number for number, _ in page.last["rows"]] == ["30"]
    assert [number for number, _ in page.rows] == [str(n) for n in range(11, 31)]
    view.opened()
    view.flush()
    assert page.messages[-1]["whole"]
    assert len(page.last["rows"]) == 20
    assert page.messages[-1]["name"] == "tap"


def test_rows_come_with_heads_and_their_lines(tap: Tap) -> None:
    page = Page()
    view = StreamView(tap.stream, page.receive)
    tap.pour(*({"name": "<b>", "n": n} for n in range(10)))
    view.flush()
    name, number = page.last["columns"]
    assert (name["right"], number["right"]) == (False, True)
    assert "line" not in name
    assert number["line"]["mean"] == list(range(10))
    tap.pour({"name": "x", "n": 10})
    view.flush()
    assert page.last["columns"][1]["line"] == {"at": 9, "mean": [9, 10], "bounds": (0, 10)}


def test_silence_sends_nothing(tap: Tap, clock: Clock) -> None:
    page = Page()
    view = StreamView(tap.stream, page.receive)
    tap.pour(1.0)
    for _ in range(4):
        view.flush()
    assert len(page.messages) == 1


def test_another_kind_of_chunk_turns_the_view_into_text(tap: Tap) -> None:
    sent: list[Message] = []
    view = StreamView(tap.stream, sent.append)
    tap.pour(1, 2)
    view.flush()
    tap.pour("three")
    view.flush()
    assert sent[0]["shape"] == "numbers"
    assert (sent[1]["offset"], sent[1]["text"]) == (0, "1\n2\nthree")


def test_dropped_chunks_are_said(tap: Tap) -> None:
    page = Page()
    tap.pour(*map(float, range(20)))
    tap.stream._log.drop(12)
    StreamView(tap.stream, page.receive).flush()
    assert page.messages[0]["notes"][0].startswith("The first 12 chunks are no longer available")


def film(count: int) -> Film:
    film = Film()
    for number in range(count):
        film.add([{"image": np.full((4, 4), number, np.uint8), "step": number}], number)
    return film


def test_pictures_come_a_few_times_a_second_with_new_frames_only() -> None:
    clock, shape = Clock(), film(2)
    updates = FilmUpdates(shape, clock)
    first = updates.changes(False)
    assert first is not None
    assert list(first["added"]) == [0, 1]
    shape.add([np.zeros((4, 4), np.uint8)], 2)
    assert updates.changes(False) is None
    clock.now += PICTURE_SECONDS
    second = updates.changes(False)
    assert second is not None
    assert second["frames"] == [[0, "0"], [1, "1"], [2, "2"]]
    assert list(second["added"]) == [2]
    assert updates.changes(False) is None  # nothing is new
    whole = updates.changes(True)
    assert whole is not None
    assert list(whole["added"]) == [0, 1, 2]


def test_a_large_picture_delays_the_next_by_its_size() -> None:
    clock, shape = Clock(), Film()
    updates = FilmUpdates(shape, clock)
    shape.add([b"\x89PNG\r\n\x1a\n" + bytes(750_000)], 0)
    assert updates.changes(False) is not None
    shape.add([png(np.zeros((2, 2), np.uint8))], 1)
    clock.now += 1_000_000 / MAX_MEDIA_RATE - 0.1
    assert updates.changes(False) is None
    clock.now += 0.2
    assert updates.changes(False) is not None


def segment(value: int, count: int = 4) -> bytes:
    return wav(np.full(count, value, np.int16), 8000)


def test_sound_is_sent_once_and_again_to_a_new_page() -> None:
    clock, shape = Clock(), SoundWave()
    updates = SoundUpdates(shape, clock)
    shape.add([segment(1), segment(2)], 0)
    first = updates.changes(True)
    assert first is not None
    assert [b64decode(data) for _, data in first["segments"]] == [b"\1\0" * 4, b"\2\0" * 4]
    assert first["format"] == (1, 2, 8000)
    assert updates.changes(False) is None
    shape.add([segment(3)], 2)
    second = updates.changes(False)
    assert second is not None
    assert "segments" not in second  # the first ones are still on their way
    clock.now += 1
    third = updates.changes(False)
    assert third is not None
    assert [number for number, _ in third["segments"]] == [2]
    whole = updates.changes(True)
    assert whole is not None
    assert [number for number, _ in whole["segments"]] == [0, 1, 2]


def test_of_compressed_sound_the_newest_file_is_sent() -> None:
    shape = SoundWave()
    shape.add([b"OggS one", b"OggS two"], 0)
    sent = SoundUpdates(shape, Clock()).changes(False)
    assert sent is not None
    assert sent["file"] == shape.file().url
    assert "line" not in sent


@pytest.mark.parametrize("chunk", [1.0, {"a": 1}, np.zeros((2, 2), np.uint8), segment(1)])
def test_a_view_counts_as_a_reader_until_it_closes(chunk: Any) -> None:
    stream: Stream[Any] = Stream([chunk])
    stream.wait()
    view = StreamView(stream, lambda message: None)
    view.flush()
    assert stream.readers == 1
    view.close()
    assert stream.readers == 0
