"""A stream of numbers as a line."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from conduit_lab.core.streams.shapes.number_line import NumberLine, as_floats, is_real


def line_of(*numbers: float) -> NumberLine:
    line = NumberLine()
    line.add(numbers, 0)
    return line


@pytest.mark.parametrize(
    ("value", "real"),
    [
        *((number, True) for number in (1, 1.5, np.int8(1), np.float64(1))),
        *((other, False) for other in (True, np.True_, 1j, Decimal(1), "1")),
    ],
)
def test_real_numbers(value: object, real: bool) -> None:
    assert is_real(value) is real


def test_numbers_beyond_float64_are_infinite_and_none_is_missing() -> None:
    assert as_floats([10**400, None, 2]).tolist()[::2] == [float("inf"), 2]
    assert np.isnan(as_floats([10**400, None, 2])[1])


def test_the_note_counts_and_bounds() -> None:
    assert line_of(2.5).note == "1 number"
    assert line_of(2.5, -1, float("nan")).note == ("3 numbers · min -1 · max 2.50 · 1 not finite")
    assert line_of(float("nan")).note == "1 number · 1 not finite"


def test_more_numbers_than_columns_say_how_they_are_drawn() -> None:
    assert "the mean of every 2 numbers, the band their minimum to" in line_of(*range(600)).note


def test_the_line_names_its_chunks_and_its_last_number() -> None:
    html = "".join(piece.html() for piece in line_of(1, 5, 3).pieces())
    assert "chunk 0</span><span>chunk 2</span>" in html
    assert "<b>3</b>" in html


def test_without_a_finite_number_there_is_only_the_note() -> None:
    assert len(line_of(float("inf")).pieces()) == 1
