"""A trail: the chunks retained behind a client's cursor."""

from __future__ import annotations

from conduit_lab.core.streams.holders import Trail
from tests.core.streams.test_backpressure import ALL, FITS, KEEP, Make, awaited, kinds, settled


@kinds
def test_half_a_log_stays_behind_a_trail(make: Make) -> None:
    stream = awaited(make())
    reader, trail = stream.hold(), Trail(stream, 0)
    got = []
    for chunk in reader:
        got.append(int(chunk))
        trail.advance(reader.index)
        assert stream._log.window[0] <= max(0, reader.index - KEEP // 2 // 1100)
    assert got == ALL


@kinds
def test_a_trail_that_does_not_advance_keeps_the_log(make: Make) -> None:
    stream = awaited(make())
    reader, trail = stream.hold(), Trail(stream, 0)
    settled(stream)
    reader.take()
    assert settled(stream) < FITS
    assert int(stream.kept[0]) == 0
    place = reader.index
    trail.close()
    assert [*map(int, reader)] == ALL[place:]


def test_chunks_larger_than_the_log_go_on_behind_a_trail() -> None:
    stream = awaited(str(n) * 2 * KEEP for n in range(6))
    reader, trail = stream.hold(), Trail(stream, 0)
    got = []
    for chunk in reader:
        got.append(chunk[0])
        trail.advance(reader.index)
    assert got == [*"012345"]
