"""A stream of pictures: the newest large, a few as a strip."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.streams.media import Media, png
from conduit_lab.core.streams.shapes.film import MAX_FRAMES, MAX_PICTURE_BYTES, Film, picture_size


def film_of(*chunks: Any) -> Film:
    film = Film()
    for number, chunk in enumerate(chunks):
        film.add([chunk], number)
    return film


def picture(value: int, side: int = 200) -> Any:
    return np.full((side, side), value, np.uint8)


def html_of(film: Film) -> str:
    return "".join(piece.html() for piece in film.pieces())


def test_the_newest_picture_comes_first_and_its_facts_are_folded() -> None:
    film = film_of({"step": 1, "image": picture(1)}, {"step": 2, "image": picture(2), "by": "<me>"})
    html = html_of(film)
    url = Media("image/png", png(picture(2))).url
    assert html.index(url) < html.index("<details") < html.index("step: 2")
    assert "by: &lt;me&gt;" in html
    assert "uint8 [200, 200]" in html
    assert 'width="200" height="200"' in html
    assert "2 pictures; the kept ones: stream.kept" in html


def test_a_lone_encoded_picture_has_one_line_of_facts() -> None:
    html = html_of(film_of(png(picture(1))))
    assert "<details" not in html
    assert "chunk 0 · 200 × 200 · PNG, " in html
    assert "picture;" not in html


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30, 100])
def test_frames_are_at_equal_distances_from_the_first_on(count: int) -> None:
    film = film_of(*(picture(n % 256, 1) for n in range(count)))
    numbers = [frame.number for frame in film.frames]
    every = numbers[1] if count > 1 else 1
    assert numbers == list(range(0, count, every))
    assert min(count, MAX_FRAMES // 2) <= len(numbers) <= MAX_FRAMES


def test_a_small_array_is_drawn_with_larger_pixels() -> None:
    film = film_of(picture(1, 20))
    assert film.newest.size == (160, 160)
    assert "20 × 20 · shown 8 times as large" in film.newest.facts[0]


def test_an_array_that_is_too_large_is_drawn_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1000), np.uint8)
    film = film_of(noise)
    assert film.newest.size == (500, 600)
    assert "1000 × 1200 · shown at 1/2 of its size" in film.newest.facts[0]
    assert len(film.frames[0].url) < 50_000


def test_a_file_that_is_too_large_is_named_and_not_shown() -> None:
    film = film_of(b"\x89PNG\r\n\x1a\n" + bytes(MAX_PICTURE_BYTES))
    html = html_of(film)
    assert "<img" not in html
    assert "It is in stream.kept[-1]." in html
    assert film.frames == []


def test_an_object_that_draws_nothing_is_named() -> None:
    class Blank:
        def _repr_png_(self) -> None:
            return None

    assert "could not be drawn" in html_of(film_of(Blank()))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(np.zeros((2, 3), np.uint8)), (3, 2)),
        (b"GIF89a" + struct.pack("<HH", 5, 4), (5, 4)),
        (b"\xff\xd8\xff", (0, 0)),
        (b"\x89PNG\r\n\x1a\n", (0, 0)),
    ],
)
def test_the_size_of_a_file(data: bytes, size: tuple[int, int]) -> None:
    assert picture_size(data) == size
