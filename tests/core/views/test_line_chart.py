"""LineChart: an image with only the lines, text outside, ticks and labels without overlap."""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from collections.abc import Mapping
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.views.charts import colors_of
from conduit_lab.core.views.line_chart import LineChart, Points, spread_labels, ticks, x_ticks

LINES = {"dense": [(1, 0.5), (2, 0.75), (3, 1.0)], "<b>": [(1, 0.25), (2, 0.25), (3, 0.5)]}


def line_chart(lines: Mapping[str, Points]) -> LineChart:
    return LineChart("dense is first", lines, "hits", "found", name="mode", format=".0%")


def image_of(html: str) -> ElementTree.Element:
    (encoded,) = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', html)
    return ElementTree.fromstring(b64decode(encoded))


def shown_texts(html: str) -> list[str]:
    texts = [text.strip() for text in re.sub(r"<[^>]*>", "\n", html).split("\n")]
    return [text for text in texts if text]


def test_the_text_form_has_a_row_per_line() -> None:
    assert repr(line_chart(LINES)).split("\n") == [
        "dense is first",
        "hits     1    2     3",
        "dense  50%  75%  100%",
        "<b>    25%  25%   50%",
    ]


def test_the_text_form_of_many_points_keeps_the_first_and_the_last() -> None:
    row = line_chart({"a": [(x, x / 100) for x in range(1, 101)]}).plain().split("\n")[1]
    assert row.split()[1] == "1"
    assert row.split()[-1] == "100"
    assert len(row.split()) < 16


def test_all_text_is_the_hosts_and_the_image_has_lines_alone() -> None:
    html = line_chart(LINES).html()
    image = image_of(html)
    assert not list(image.iter("{http://www.w3.org/2000/svg}text"))
    drawn = [path.get("style", "") for path in image.iter("{http://www.w3.org/2000/svg}path")]
    for color in colors_of(LINES).values():
        assert sum(color in style for style in drawn) == 2  # the line and its dots
    assert "non-scaling-stroke" in "".join(image.itertext())  # no thicker in a wide cell
    assert "<svg" not in html  # an untrusted notebook strips the element
    assert shown_texts(html) == [
        "dense is first",
        *("100%", "80%", "60%", "40%", "20%"),
        *("1", "2", "3"),
        "hits",
        *("●", "dense", "50% → 100%"),
        *("●", "&lt;b&gt;", "25% → 50%"),
    ]


@pytest.mark.parametrize(("count", "dots"), [(20, 20), (21, 0)])
def test_crowded_points_have_no_dots(count: int, dots: int) -> None:
    image = image_of(line_chart({"a": [(x, x / count) for x in range(count)]}).html())
    drawn = [path.get("d", "") for path in image.iter("{http://www.w3.org/2000/svg}path")]
    assert sum(path.count("h0") for path in drawn) == dots


def test_a_higher_number_is_drawn_higher() -> None:
    image = image_of(line_chart({"a": [(1, 0.0), (2, 1.0)]}).html())
    (line, _) = list(image.iter("{http://www.w3.org/2000/svg}path"))[-2:]
    (left, bottom), (right, top) = [pair.split() for pair in line.get("d", "M")[1:].split("L")]
    assert float(left) < float(right)
    assert float(bottom) > float(top)


@pytest.mark.parametrize("lines", [{}, {"a": []}, {"a": [(1, math.nan)]}])
def test_without_numbers_the_title_is_left(lines: Mapping[str, Points]) -> None:
    chart = line_chart(lines)
    assert chart.plain() == "dense is first"
    assert shown_texts(chart.html()) == ["dense is first"]


def test_one_point_has_one_number_and_whole_axes() -> None:
    texts = shown_texts(line_chart({"a": [(3, 1.0)]}).html())
    axes = ["100%", "80%", "60%", "40%", "20%", "0%", "3", "hits"]
    assert texts == ["dense is first", *axes, "●", "a", "100%"]


def test_a_tick_text_is_there_once() -> None:
    texts = shown_texts(line_chart({"a": [(1, 0.9601), (2, 0.9604)]}).html())
    assert texts.count("96%") == 1


def test_the_spec_has_the_same_colors_and_axes() -> None:
    spec = line_chart(LINES).spec
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    assert spec["data"]["values"][0] == {"mode": "dense", "hits": 1, "found": 0.5}
    assert spec["encoding"]["y"]["axis"] == {"format": ".0%"}
    assert spec["encoding"]["color"]["scale"]["range"] == list(colors_of(LINES).values())


NUMBERS = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(NUMBERS, NUMBERS)
def test_ticks_are_few_and_enclose_the_numbers(one: float, other: float) -> None:
    low, high = sorted((one, other))
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert marks == sorted(set(marks))
    slack = 1e-8 * (marks[-1] - marks[0]) + 1e-8 * max(abs(low), abs(high))
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_ticks_of_whole_places_are_whole_and_among_them(places: list[int]) -> None:
    marks = x_ticks([float(place) for place in places])
    assert 1 <= len(marks) <= 13
    assert all(mark.is_integer() for mark in marks)
    assert min(places) <= marks[0]
    assert marks[-1] <= max(places)


def test_each_of_ten_hits_has_its_tick() -> None:
    assert x_ticks(range(1, 11)) == list(range(1, 11))
    assert x_ticks(range(1, 101)) == [20, 40, 60, 80, 100]


@given(st.lists(st.floats(10, 214), max_size=30).map(sorted))
def test_labels_keep_apart_in_their_order(places: list[float]) -> None:
    moved = spread_labels(places)
    assert all(after - before >= 19.99 for before, after in pairwise(moved))
    assert all(place >= 9.99 for place in moved)
    if len(places) <= 11:
        assert all(place <= 214.01 for place in moved)


def test_labels_with_room_stay_where_their_lines_end() -> None:
    assert spread_labels([10, 50, 90]) == [10, 50, 90]
