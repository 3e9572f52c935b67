"""Numbers as a line in a picture."""

from __future__ import annotations

import math
import re
from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.views.line_picture import (
    LINE_HEIGHT,
    LineColumns,
    LinePicture,
    last_place,
    line_url,
    reading,
)

NAN = float("nan")


def svg_of(*means: float, low: list[float] | None = None, high: list[float] | None = None) -> str:
    columns = LineColumns(low or means, high or means, means)
    finite = [v for v in (*columns.low, *columns.high) if math.isfinite(v)]
    url = line_url(columns, (min(finite, default=0), max(finite, default=0)))
    assert url.startswith("data:image/svg+xml;base64,")
    return b64decode(url.partition(",")[2]).decode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=40))
def test_every_point_is_inside_the_picture(means: list[float]) -> None:
    for x, y in re.findall(r"[ML](\S+?) (\d[\d.]*|-\S+|nan|inf)", svg_of(*means)):
        assert 0 <= float(x) <= 600
        assert 0 <= float(y) <= LINE_HEIGHT


def test_the_greatest_value_is_at_the_top() -> None:
    assert 'd="M2.0 116.0L300.0 4.0L598.0 60.0"' in svg_of(0.0, 2.0, 1.0)


def test_a_gap_breaks_the_line_and_a_lone_number_is_a_dot() -> None:
    svg = svg_of(1.0, 2.0, NAN, 3.0)
    assert svg.count("<path") == 2
    assert svg.count("M598.0 4.0L598.0 4.0") == 1


def test_a_band_is_drawn_where_columns_hold_several_numbers() -> None:
    assert "fill-opacity" not in svg_of(1.0, 2.0)
    assert "fill-opacity" in svg_of(1.0, 2.0, low=[0.0, 1.0], high=[2.0, 3.0])


def test_zero_is_marked_where_the_numbers_cross_it() -> None:
    assert 'stroke="#808080"' in svg_of(-1.0, 1.0)
    assert 'stroke="#808080"' not in svg_of(0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (12345.0, "12\u2009345"),
        (0.123456, "0.123"),
        (1234.5, "1\u2009234"),
        (-2.5, "-2.50"),
        (1e-7, "1e-07"),
        (2.5e12, "2.5e+12"),
        (math.inf, "inf"),
        (9.996, "10.0"),
    ],
)
def test_a_number_is_read_with_three_digits(value: float, text: str) -> None:
    assert reading(value) == text


def test_the_last_number_stands_beside_its_point_and_stays_inside() -> None:
    places = [last_place(value, (0.0, 10.0)) for value in (10.0, 5.0, 0.0)]
    assert places == [0, 48, LINE_HEIGHT - 24]


def test_equal_bounds_are_written_once() -> None:
    picture = LinePicture(LineColumns([7], [7], [7]), (7.0, 7.0), 7.0, "a", "<b>")
    assert picture.html().count("<span>7</span>") == 1
    assert "<span>&lt;b&gt;</span>" in picture.html()
    assert picture.plain() == "▅ 7 to 7, last 7"
