"""Pieces: bars, strips, marks and columns, with any text in them escaped."""

from __future__ import annotations

import math
import re

import pytest

from conduit_lab.core.views.pieces import (
    MAX_BARS,
    MAX_STRIP_CELLS,
    Bar,
    Bars,
    Card,
    Cited,
    Columns,
    Folded,
    Line,
    Marked,
    Strip,
    ViewPiece,
)
from tests.core.views.test_html import EVIL, Seen
from tests.core.views.test_waterfall import KEPT, LOST

MORE_KEPT = {
    "align-items", "cursor", "flex", "font-style", "margin-left", "max-height", "overflow-wrap",
    "overflow-y", "row-gap",
}  # fmt: skip


def every_piece(text: str) -> list[ViewPiece]:
    return [
        Columns(
            [
                [Line(text), Line(text, "large"), Cited(text, [(0, text)])],
                [Bars([Bar(text, 0.5, text, True, text)], text)],
            ]
        ),
        Card(
            text, 0.5, text, [Marked(text + text, [(len(text), len(text) + 2)], 100)], [text], text
        ),
        Folded(text, [Strip([0.5, -1])], opened=True),
    ]


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_is_only_text(evil: str) -> None:
    for piece in every_piece(evil):
        seen = Seen(piece.html())
        assert seen.tags <= {"div", "span", "b", "sup", "em", "details", "summary"}
        assert seen.attributes <= {"style", "open"}
        assert evil in "".join(seen.text) and evil in piece.plain()


def test_styles_are_kept_where_a_notebook_is_not_trusted() -> None:
    page = "".join(piece.html() for piece in every_piece("a text"))
    properties = {
        part.split(":")[0].strip()
        for style in re.findall(r'style="([^"]*)"', page)
        for part in style.split(";")
        if part
    }
    assert properties <= KEPT | LOST | MORE_KEPT
    assert "anywhere" not in page and "inherit" not in page


def test_bars_are_as_long_as_their_share_and_bounded() -> None:
    bars = Bars([Bar("a", 0.25, "0.250"), Bar("b", 7, "7"), Bar("c", math.nan, "nan")])
    assert [float(end) for end in re.findall(r"[.\d]+\) ([\d.]+)%,", bars.html())] == [25, 100, 0]
    assert bars.plain().splitlines()[1].split() == ["b", "█" * 20, "7"]
    many = Bars([Bar(str(n), 0.1, "") for n in range(MAX_BARS + 1)], noun="member")
    assert many.html().count("linear-gradient") == MAX_BARS
    assert "1 more member<" in many.html() and many.plain().endswith("\n1 more member")


def test_marks_are_the_places_given() -> None:
    page = Marked("a < b < c", [(0, 1), (4, 7)]).html()
    assert re.findall("<em[^>]*>(.*?)</em>", page) == ["a", "b &lt;"]
    assert "".join(Seen(page).text) == "a < b < c"


def test_numbers_stand_behind_their_sentences() -> None:
    assert Cited("One. Two.", [(4, "2"), (9, "1")]).plain() == "One. [2] Two. [1]"


@pytest.mark.parametrize("count", [0, 1, MAX_STRIP_CELLS, 384, 5000])
def test_a_strip_is_bounded(count: int) -> None:
    page = Strip([math.sin(n) for n in range(count)]).html()
    assert page.count("rgba") <= 2 * MAX_STRIP_CELLS
    assert f"{count}".removesuffix("000") in page


def test_a_strip_of_values_that_are_not_finite_has_a_ground() -> None:
    page = Strip([math.nan, math.inf, -2.0]).html()
    assert "nan)" not in page and "inf)" not in page and "rgba(230,159,0,1.00)" in page


def test_folded_pieces_show_in_text_where_they_are_open() -> None:
    assert Folded("more", [Line("a")]).plain() == "more"
    assert Folded("more", [Line("a")], opened=True).plain() == "more\na"
