"""The shape of a stream, chosen by its first chunk and given up for text."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.streams.log import Log
from conduit_lab.core.streams.media import png, wav
from conduit_lab.core.streams.shapes.chunk_shape import dropped_note
from conduit_lab.core.streams.shapes.number_line import NumberLine
from conduit_lab.core.streams.shapes.shown_chunks import ShownChunks
from conduit_lab.core.streams.stream import Stream
from tests.core.streams.sources import WAIT, Gate

Point = namedtuple("Point", "x y")
PICTURE = np.zeros((2, 2), np.uint8)
SOUND = wav(np.zeros(4, np.int16), 8000)


class Token:
    text = "word"

    def _asdict(self) -> dict[str, str]:
        return {"text": self.text}


def log_of(*chunks: Any, keep: int = 2**20) -> Log[Any]:
    log: Log[Any] = Log(keep)
    for chunk in chunks:
        log.append(chunk)
    return log


def shown(*chunks: Any) -> ShownChunks:
    found = ShownChunks(log_of(*chunks))
    found.update()
    return found


@pytest.mark.parametrize(
    ("chunk", "name"),
    [
        ("text", "text"),
        ({"chunk": "text", "complete": False}, "text"),
        (Token(), "text"),
        (True, "text"),
        (None, "text"),
        (np.zeros(3), "text"),
        ([1, 2], "text"),
        ([], "text"),
        (1, "numbers"),
        (np.float32(1), "numbers"),
        (10**400, "numbers"),
        ({"loss": 1.0}, "records"),
        ({}, "records"),
        (Point(1, 2), "records"),
        ([{"a": 1}], "records"),
        (pd.DataFrame({"a": [1]}), "records"),
        (pd.Series({"a": 1}), "records"),
        (PICTURE, "pictures"),
        (png(PICTURE), "pictures"),
        ({"step": 1, "image": PICTURE}, "pictures"),
        (SOUND, "sounds"),
        ({"speaker": "a", "audio": SOUND}, "sounds"),
        (b"OggS", "sounds"),
        (b"\0\0\0\x18ftypmp42", "text"),
        (b"bytes", "text"),
    ],
)
def test_the_first_chunk_chooses_the_shape(chunk: Any, name: str) -> None:
    assert shown(chunk).name == name


@pytest.mark.parametrize(
    "chunks",
    [(1, "two"), (1, {"a": 1}), (PICTURE, {"a": 1}), (SOUND, PICTURE), ({"a": 1}, 1), (1, True)],
)
def test_another_kind_turns_it_into_text_for_good(chunks: tuple[Any, ...]) -> None:
    found = shown(*chunks, *chunks[:1])
    assert (found.name, found.shape, found.pieces()) == ("text", None, [])


def test_before_the_first_chunk_there_is_no_shape() -> None:
    assert (shown().name, shown().pieces()) == (None, [])


def test_a_picture_in_a_table_stays_a_cell() -> None:
    assert shown({"step": 1}, {"step": 2, "image": PICTURE}).name == "records"


def test_an_update_adds_each_chunk_once() -> None:
    log = log_of(1, 2)
    found = ShownChunks(log)
    for chunk in (3, 4, 5):
        found.update()
        log.append(chunk)
        found.update(0)
    assert isinstance(found.shape, NumberLine)
    assert found.shape.envelope.columns().mean.tolist() == [
        1,
        2,
        3,
        4,
    ]  # the newest is not added yet


def test_chunks_dropped_before_an_update_are_counted_and_said() -> None:
    log = log_of(*range(10))
    log.drop(4)
    found = ShownChunks(log)
    found.update()
    log.append(10)
    log.drop(8)  # after they were added
    found.update()
    assert found.missed == 4
    (note,) = found.notes(99_999)  # of no text
    assert note.startswith("The first 4 chunks are no longer available")
    assert isinstance(found.shape, NumberLine)
    assert found.shape.ends == ("chunk 4", "chunk 10")


def test_the_note_agrees_with_its_noun_and_says_how_to_keep_more() -> None:
    assert dropped_note(0, 2**22) == ""
    assert dropped_note(1, 2**22).startswith("The first chunk is no longer available: ")
    assert "keeps its newest 4.00 MB" in dropped_note(2, 2**22)
    assert "Stream(…, keep=2**26)" in dropped_note(2, 2**22)


def test_a_stream_says_what_its_log_dropped_and_what_its_text_leaves_out() -> None:
    stream = Stream((f"{n:06} " for n in range(5000)), keep=2**18)
    stream.wait(WAIT)
    html = stream._repr_mimebundle_()["text/html"]
    first = stream.count - len(stream.kept)
    assert first > 0
    assert f"The first {first:,} chunks are".replace(",", "\u2009") in html
    assert f"all {len(stream.text):,} characters are in".replace(",", "\u2009") in html
    (note,) = Stream(["x"]).shown.notes(20_001)
    assert "all 20\u2009001 characters" in note
    assert Stream(["x"]).shown.notes(20_000) == []


def test_a_running_stream_shows_its_chunks_so_far() -> None:
    gate = Gate(1.0, 3.0, rest=(2.0,))
    stream = gate.stream()
    assert "2 numbers · min 1 · max 3" in stream._repr_mimebundle_()["text/plain"]
    gate.open.set()
    stream.wait(WAIT)
    assert "3 numbers" in stream._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize("first", [1.0, {"a": 1}, PICTURE, SOUND, "text "])
def test_the_error_of_a_failed_stream_is_shown(first: Any) -> None:
    def failing() -> Any:
        yield first
        raise ValueError("<unplugged>")

    stream = Stream(failing())
    with pytest.raises(ValueError, match="unplugged"):
        stream.result(WAIT)
    bundle = stream._repr_mimebundle_()
    assert "ValueError: &lt;unplugged&gt;" in bundle["text/html"]
    assert "✕ failed" in bundle["text/plain"]
