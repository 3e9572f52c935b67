"""Waterfall: bars at their place, and HTML that JupyterLab keeps of an untrusted notebook."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_lab.core.views.view import Table
from conduit_lab.core.views.waterfall import (
    MAX_BAR_PARTS,
    PLAIN_BAR_CHARACTERS,
    Waterfall,
    WaterfallRow,
    WaterfallView,
)


def row(start: float, end: float, *busy: tuple[float, float]) -> WaterfallRow:
    return WaterfallRow("a", 0, start, end, busy or [(start, end)], "1 s")


def bar(waterfall_row: WaterfallRow, seconds: float = 24) -> str:
    line = Waterfall([waterfall_row], seconds).plain().splitlines()[1]
    return line.removeprefix("a     ").removesuffix("1 s").rstrip()


@pytest.mark.parametrize(
    ("shown", "made"),
    [
        ("█" * 24, row(0, 24)),
        ("    ██████", row(4, 10)),
        ("    ██──██", row(4, 10, (4, 6), (8, 10))),
        ("    ▏", row(4, 4.1)),
        (" " * 23 + "▏", row(24, 24)),
        ("█" * 24, row(-5, 99)),
    ],
)
def test_a_bar_is_at_its_place_and_full_where_the_span_itself_ran(
    shown: str, made: WaterfallRow
) -> None:
    assert bar(made) == shown


TIMES = st.floats(0, 30, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(TIMES, TIMES, TIMES)
def test_any_bar_fits(start: float, length: float, seconds: float) -> None:
    made = row(start, start + length)
    assert 1 <= len(bar(made, seconds)) <= PLAIN_BAR_CHARACTERS
    html = Waterfall([made], seconds).html()
    (left, width) = map(float, re.findall(r"0 0 ([\d.]+)%;width:([\d.]+)%", html)[0])
    assert left + width <= 100.01


def test_a_bar_of_many_parts_is_bounded() -> None:
    parts = [(n / 100, n / 100 + 0.002) for n in range(2400)]
    html = Waterfall([row(0, 24, *parts)], 24).html()
    assert html.count("rgba(") <= 4 * MAX_BAR_PARTS + 5
    assert "linear-gradient" not in html  # it is hardly ever busy


# The styles that JupyterLab 4.6 keeps where a notebook is not trusted, of those used here
KEPT = {
    "background",
    "border-collapse",
    "border-top",
    "color",
    "column-gap",
    "display",
    "flex-wrap",
    "font-size",
    "font-weight",
    "height",
    "justify-content",
    "line-height",
    "margin",
    "max-width",
    "min-width",
    "opacity",
    "padding",
    "padding-left",
    "padding-top",
    "table-layout",
    "text-align",
    "vertical-align",
    "white-space",
    "width",
}
LOST = {"font-family", "font-variant-numeric"}  # a picture without them is the same


def test_the_html_uses_styles_that_an_untrusted_notebook_keeps() -> None:
    made = WaterfallRow(
        "a", 2, 1, 3, [(1, 2)], "2 s", "1 s", "cpu", "note", "remark", "error", True, True
    )
    html = Waterfall([made], 4, 3, ["do `this`"]).html()
    properties = {
        part.split(":")[0].strip()
        for style in re.findall(r'style="([^"]*)"', html)
        for part in style.split(";")
        if part
    }
    assert properties <= KEPT | LOST
    assert "<code>this</code>" in html


def test_the_view_has_its_waterfall_below_the_header() -> None:
    table = Table(("n",), [("5",)])
    view = WaterfallView("Trace", "x", ["fact"], [table], waterfall=Waterfall([row(0, 1)], 1))
    lines = view.plain().splitlines()
    assert lines[0] == "Trace 'x' · fact"
    assert lines[1].split() == ["span", "time"] and lines[-1] == "5"
    html = view.html()
    assert html.index("fact") < html.index("<b>" if "<b>a" in html else "a</span>")
    assert html.index("max-width:960px") < html.index(">5</td>")
