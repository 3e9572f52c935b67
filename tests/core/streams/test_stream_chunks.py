"""Chunks that are not text: images, audio, rows, and how each is read, sent and weighed."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from conduit_lab.core.errors import StreamLagged
from conduit_lab.core.streams.chunk import chunk_text
from conduit_lab.core.streams.media import Media, image, media, png, wav
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.weight import weight
from tests.core.streams.sources import WAIT


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a PNG whose lines have filter 2, after its checksums were checked."""
    parts, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert (
            zlib.crc32(kind + content)
            == struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0]
        )
        parts[kind] = content
        place += 12 + length
    width, height, depth, color = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    channels = {0: 1, 2: 3, 6: 4}[color]
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(
        height, 1 + width * channels
    )
    assert depth == 8
    assert (lines[:, 0] == 2).all()
    pixels = np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8)
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


pictures = st.one_of(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4])).flatmap(
        lambda s: arrays(np.uint8, s)
    ),
)


@settings(max_examples=50, deadline=None)
@given(pictures)
def test_png_holds_every_pixel(picture: npt.NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(decoded(png(picture)), picture)


def test_png_of_an_array_that_is_not_contiguous() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)[::2, ::-1]
    np.testing.assert_array_equal(decoded(png(picture)), picture)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros(3, np.uint8),
        np.zeros((0, 2), np.uint8),
    ],
)
def test_png_of_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"png expects a uint8 image"):
        png(wrong)


@pytest.mark.parametrize("channels", [1, 2])
def test_wav_holds_the_samples(channels: int) -> None:
    samples = np.array([-32768, 0, 1, 32767] * channels, np.int16).reshape(
        (-1, channels) if channels > 1 else -1
    )
    with wave.open(io.BytesIO(wav(samples, 16_000))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (
            16_000,
            channels,
            2,
        )
        assert sound.readframes(100) == samples.tobytes()


def test_wav_of_floats_is_clipped() -> None:
    with wave.open(io.BytesIO(wav(np.array([-2.0, -1, 0, 1, 2, np.nan]), 8000))) as sound:
        heard = np.frombuffer(sound.readframes(100), "<i2")
    assert heard.tolist() == [-32767, -32767, 0, 32767, 32767, 0]


@pytest.mark.parametrize(
    "wrong", [np.zeros(3, np.int32), np.zeros((1, 1, 1), np.int16), np.zeros(3, complex)]
)
def test_wav_of_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="wav expects"):
        wav(wrong, 8000)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(np.zeros((1, 1), np.uint8)), "image/png"),
        (b"\xff\xd8\xff\xe0 and more", "image/jpeg"),
        (wav(np.zeros(1, np.int16), 8000), "audio/wav"),
        (b"OggS", "audio/ogg"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"", "application/octet-stream"),
        (b"text", "application/octet-stream"),
    ],
)
def test_bytes_are_recognized_by_their_signature(data: bytes, kind: str) -> None:
    expected = Media(kind, data)
    assert media(data) == media(bytearray(data)) == media(memoryview(data)) == expected
    assert expected.base64 == base64.b64encode(data).decode()


def test_an_object_that_draws_itself_is_an_image() -> None:
    class Drawn:
        def _repr_png_(self) -> bytes:
            return b"\x89PNG\r\n\x1a\n..."

    found = media(Drawn())
    assert found is not None
    assert found.type == "image/png"


def test_small_integers_that_are_no_image_stay_numbers() -> None:
    for array in (np.zeros(3, np.uint8), np.zeros((2, 2), np.int64), np.zeros((2, 2, 5), np.uint8)):
        assert media(array) is None


def test_media_is_read_as_its_kind_and_size() -> None:
    assert chunk_text(b"OggS" + bytes(1020)) == "[audio/ogg · 1.00 KB]\n"
    assert chunk_text(np.zeros((2, 4), np.uint8)) == "[image · 4 × 2]\n"
    assert (
        chunk_text({"step": 1, "image": np.zeros((2, 4), np.uint8)})
        == "{'step': 1, 'image': [image · 4 × 2]}\n"
    )


def test_a_chunk_with_a_text_is_read_as_its_text() -> None:
    class Token:
        text = "hello"

    assert chunk_text(Token()) == "hello"


def test_an_array_weighs_its_bytes_once() -> None:
    array = np.zeros(1000)
    assert weight(array) == weight(array[:]) == 8000
    assert 8000 <= weight({"a": array}) < 9000
    assert weight("abc") == 3


def test_the_newest_image_is_shown() -> None:
    first, second = np.zeros((2, 2), np.uint8), np.ones((2, 2, 3), np.uint8)
    stream: Stream[Any] = Stream([first, {"step": 2, "image": second}, "done"])
    stream.wait(WAIT)
    found = image(stream.kept[1])
    assert found is not None
    shown = stream._repr_mimebundle_()["text/html"]
    assert f'<img src="data:image/png;base64,{base64.b64encode(png(second)).decode()}"' in shown
    assert shown.count("<img") == 1


def test_a_frame_is_streamed_row_by_row() -> None:
    frame = pd.DataFrame({"city": ["Bern", "Ulm"], 1: [2.5, 3.5]})
    stream: Stream[Any] = Stream(frame)
    assert stream.result(WAIT) == [{"city": "Bern", "1": 2.5}, {"city": "Ulm", "1": 3.5}]


def test_a_lag_has_the_kept_chunks_as_snapshot() -> None:
    stream = Stream((str(n).zfill(1000) for n in range(100)), keep=20_000)
    stream.wait(WAIT)
    with pytest.raises(StreamLagged) as caught:
        next(stream.reader(0))
    assert caught.value.snapshot == stream.kept


def test_an_older_image_is_not_the_newest() -> None:
    picture = np.zeros((2, 2), np.uint8)
    recent: Stream[Any] = Stream([picture, *range(99)])
    old: Stream[Any] = Stream([picture, *range(100)])
    for stream in (recent, old):
        stream.wait(WAIT)
    assert recent.newest_image() is not None
    assert recent.newest_image(1) is None
    assert old.newest_image() is None


def test_an_image_above_a_megabyte_is_not_shown() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1000), np.uint8)
    stream: Stream[Any] = Stream([noise[:900], noise])
    stream.wait(WAIT)
    assert stream.newest_image() is None
    assert len(png(noise[:900])) < 2**20 < len(png(noise))
