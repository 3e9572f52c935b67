"""A stream of sound: one wave, one player."""

from __future__ import annotations

import io
import struct
import wave
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.streams.media import wav
from conduit_lab.core.streams.shapes import sound_wave
from conduit_lab.core.streams.shapes.sound_wave import SoundWave


def sound_of(*chunks: Any) -> SoundWave:
    sound = SoundWave()
    for number, chunk in enumerate(chunks):
        sound.add([chunk], number)
    return sound


def frames(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as file:
        samples: bytes = file.readframes(file.getnframes())
    return samples


def raw(samples: bytes, width: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(8000)
        out.writeframes(samples)
    return file.getvalue()


FIRST = wav(np.array([0, 16384, -16384, 0], np.int16), 8000)
SECOND = wav(np.array([8192, -8192], np.int16), 8000)


def test_segments_are_joined_for_the_player_and_the_wave() -> None:
    sound = sound_of(FIRST, {"speaker": "a", "audio": SECOND})
    assert frames(sound.file().data) == frames(FIRST) + frames(SECOND)
    assert sound.envelope.columns().mean.tolist() == [0, 0.5, -0.5, 0, 0.25, -0.25]
    assert sound.seconds == 6 / 8000
    assert sound.facts == "750 µs · 8\u2009000 Hz · mono · 2 segments · 12 B"


def test_the_static_form_has_the_wave_a_player_and_the_figures() -> None:
    sound = sound_of(FIRST)
    html = "".join(piece.html() for piece in sound.pieces())
    assert html.index("data:image/svg+xml") < html.index("<audio controls") < html.rindex("mono")
    assert "1 segment ·" in html


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (raw(bytes([128, 192, 0]), 1), [0, 0.5, -1]),
        (raw(struct.pack("<hh", -32768, 16384), 2), [-1, 0.5]),
        (raw(b"\0\0\x80" + b"\0\0\x40", 3), [-1, 0.5]),
        (raw(struct.pack("<ii", -(2**31), 2**30), 4), [-1, 0.5]),
        (raw(struct.pack("<hh", 16384, 0), 2, channels=2), [0.25]),
    ],
)
def test_every_width_of_samples_is_drawn(data: bytes, expected: list[float]) -> None:
    assert sound_of(data).envelope.columns().mean.tolist() == expected


def test_the_player_holds_the_newest_sound_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_wave, "MAX_SOUND_BYTES", 12)
    sound = sound_of(FIRST, SECOND, SECOND)
    assert frames(sound.file().data) == frames(SECOND) * 2
    assert sound.envelope.count == 8  # the wave has all
    assert sound.note.startswith("The player starts at chunk 1")


@pytest.mark.parametrize("data", [b"OggS and more", b"RIFF\0\0\0\0WAVEbroken"])
def test_sound_that_is_not_read_is_played_without_a_wave(data: bytes) -> None:
    sound = sound_of(b"OggS", data)
    assert not sound.drawn
    assert sound.file().data == data
    assert len(sound.segments) == 1


def test_segments_of_two_formats_have_no_common_wave() -> None:
    other = wav(np.zeros((2, 2), np.int16), 16_000)
    sound = sound_of(FIRST, other)
    assert not sound.drawn
    assert frames(sound.file().data) == frames(other)
    assert "audio/wav · 2 segments" in sound.facts
