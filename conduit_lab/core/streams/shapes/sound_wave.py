"""SoundWave: a stream of sound as one waveform with a player."""

from __future__ import annotations

import io
import wave
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from conduit_lab.core.streams.media import Media, find_media, media
from conduit_lab.core.streams.shapes.chunk_shape import ChunkShape, ShapeName
from conduit_lab.core.streams.shapes.envelope import Envelope
from conduit_lab.core.views import figures
from conduit_lab.core.views.line_picture import LineColumns
from conduit_lab.core.views.pictures import Player
from conduit_lab.core.views.pieces import Line, ViewPiece
from conduit_lab.core.views.wave_picture import WavePicture

MAX_SOUND_BYTES = 2**20  # in the player: a saved notebook must not grow without bound
_WIDTHS = (1, 2, 3, 4)  # bytes per sample that a WAV file may use


class SoundFormat(NamedTuple):
    """The format of uncompressed sound."""

    channels: int
    width: int  # bytes per sample
    rate: int  # Hz


@dataclass(frozen=True)
class Segment:
    """The sound of one chunk: uncompressed samples of `format`, or an encoded file."""

    number: int
    data: bytes
    format: SoundFormat | None
    type: str = "audio/wav"

    @property
    def base64(self) -> str:
        """The data in base64."""
        return b64encode(self.data).decode()


class SoundWave(ChunkShape):
    """The waveform of all uncompressed segments, and the newest 1 MB of them to play.

    For compressed sound (MP3, FLAC, Ogg) the newest segment is playable, without a waveform.
    """

    name: ClassVar[ShapeName] = "sounds"

    def __init__(self) -> None:
        self.count = 0
        self.size = 0  # bytes
        self.format: SoundFormat | None = None
        self.envelope = Envelope()
        self.segments: deque[Segment] = deque()
        self._mixed = False
        self._held = 0  # bytes of `segments`

    @staticmethod
    def takes(chunk: Any) -> bool:
        """Return whether `chunk` is a sound file or a dict with one."""
        return find_media(chunk, "audio/") is not None

    def add(self, chunks: Sequence[Any], start: int) -> None:
        """Add segments."""
        for number, chunk in enumerate(chunks, start):
            found = media(find_media(chunk, "audio/"))
            if found is not None:
                self._append(_segment(number, found))

    @property
    def seconds(self) -> float | None:
        """The duration of all segments, or None if unknown."""
        if self.format is None or self._mixed:
            return None
        return self.envelope.count / self.format.rate

    @property
    def drawn(self) -> bool:
        """Whether there is a waveform: all segments are uncompressed, in one format."""
        return self.seconds is not None and self.envelope.last is not None

    @property
    def facts(self) -> str:
        """The header facts: duration, sample rate, channels and size."""
        parts = [] if self.seconds is None else [figures.seconds(self.seconds)]
        if self.format is not None and not self._mixed:
            channels = {1: "mono", 2: "stereo"}.get(
                self.format.channels, f"{self.format.channels} channels"
            )
            parts += [f"{figures.count(self.format.rate)} Hz", channels]
        else:
            parts.append(self.segments[-1].type)
        parts += [figures.plural(self.count, "segment"), figures.size(self.size)]
        return " · ".join(parts)

    @property
    def note(self) -> str:
        """A sentence about the part that the player omits, if any."""
        if self.count <= len(self.segments):
            return ""
        first = self.segments[0].number
        return f"The player starts at chunk {figures.count(first)}; the kept ones: stream.kept"

    def file(self) -> Media:
        """Return the newest sound as one file: joined segments, or the newest compressed one."""
        newest = self.segments[-1]
        if newest.format is None or self._mixed:
            return Media(newest.type, newest.data if newest.format is None else _file(newest))
        return Media("audio/wav", _file(*self.segments))

    def pieces(self) -> list[ViewPiece]:
        """Return the wave, the player and their figures."""
        shown: list[ViewPiece] = []
        if self.drawn and self.seconds is not None:
            columns = self.envelope.columns()
            drawn = LineColumns(*(column.tolist() for column in columns))
            shown.append(WavePicture(drawn, figures.seconds(self.seconds)))
        shown += [Player(self.file().url, self.facts), Line(self.facts, "quiet")]
        return [*shown, Line(self.note, "quiet")] if self.note else shown

    def _append(self, segment: Segment) -> None:
        if self.count and segment.format != self.format:
            self._mixed = True
        if not self.count:
            self.format = segment.format
        self.count += 1
        self.size += len(segment.data)
        self.segments.append(segment)
        self._held += len(segment.data)
        joined = segment.format is not None and not self._mixed
        while len(self.segments) > 1 and (not joined or self._held > MAX_SOUND_BYTES):
            self._held -= len(self.segments.popleft().data)
        if joined and segment.format is not None:
            self.envelope.add(_mono(segment.data, segment.format))


def _segment(number: int, found: Media) -> Segment:
    if found.type == "audio/wav":
        try:
            with wave.open(io.BytesIO(found.data)) as sound:
                shape = SoundFormat(
                    sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
                )
                samples = sound.readframes(sound.getnframes())
        except (wave.Error, EOFError):
            pass
        else:
            if shape.width in _WIDTHS and shape.rate > 0 and shape.channels > 0:
                return Segment(number, samples, shape)
    return Segment(number, found.data, None, found.type)


def _file(*segments: Segment) -> bytes:
    """Encode uncompressed segments of one format as a WAV file."""
    file = io.BytesIO()
    form = segments[0].format
    if form is not None:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(form.channels)
            sound.setsampwidth(form.width)
            sound.setframerate(form.rate)
            sound.writeframes(b"".join(segment.data for segment in segments))
    return file.getvalue()


def _mono(data: bytes, form: SoundFormat) -> npt.NDArray[np.float64]:
    """Return the mean of the channels of each frame, between -1 and 1."""
    whole = data[: len(data) // (form.channels * form.width) * form.channels * form.width]
    if form.width == 1:
        samples = np.frombuffer(whole, np.uint8).astype(np.int32) - 128
    elif form.width == 3:
        padded = np.zeros((len(whole) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(whole, np.uint8).reshape(-1, 3)
        samples = padded.reshape(-1).view("<i4") >> 8
    else:
        samples = np.frombuffer(whole, f"<i{form.width}")
    mixed: npt.NDArray[np.float64] = samples.reshape(-1, form.channels).mean(axis=1)
    return mixed / (1 << (8 * form.width - 1))
