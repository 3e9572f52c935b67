"""Charts: numbers that JSON can carry, one static form, and a colour per search mode."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.views.charts import MODE_COLORS, OKABE_ITO, BarChart, Charted, colors_of
from conduit_lab.core.views.view import Table

ROWS = [("fp32", 12.0, "12 µs"), ("<int8>", 3.0, "3 µs")]


def bar_chart() -> BarChart:
    return BarChart(
        "int8 is <4> times as fast", ROWS, "seconds", "model", strong=["<int8>"], subtitle="median"
    )


def test_a_chart_says_its_sentence_and_its_values_in_both_forms() -> None:
    bundle = bar_chart()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}  # no front end prefers another form
    assert bundle["text/plain"] == repr(bar_chart())
    title, subtitle, *bars = bundle["text/plain"].split("\n")
    assert (title, subtitle) == ("int8 is <4> times as fast", "median")
    assert [bar.split()[0] for bar in bars] == ["fp32", "<int8>"]
    assert bars[0].count("█") == 4 * bars[1].count("█")
    assert "int8 is &lt;4&gt; times" in bundle["text/html"]
    assert "&lt;int8&gt;" in bundle["text/html"]


def test_the_spec_is_the_same_plot() -> None:
    spec = bar_chart().spec
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    assert spec["title"]["text"] == "int8 is <4> times as fast"
    assert spec["data"]["values"][1] == {"model": "<int8>", "seconds": 3.0, "text": "3 µs"}
    assert spec["encoding"]["x"]["field"] == "seconds"


def test_any_number_becomes_json() -> None:
    numbers: list[Any] = [np.float32(0.5), np.int64(3), math.nan, np.float64(np.inf)]
    rows = [(str(i), number, "") for i, number in enumerate(numbers)]
    chart = BarChart("t", rows, "n", "row")
    assert [bar.share for bar in chart.drawing().bars[:2]] == [0.5 / 3, 1]
    values = chart.spec["data"]["values"]
    assert [value["n"] for value in json.loads(json.dumps(values, allow_nan=False))] == [
        0.5,
        3,
        None,
        None,
    ]


def test_a_chart_beside_its_table_leaves_its_title_and_text_to_others() -> None:
    charted = Charted(bar_chart(), Table(("model",), [("fp32",)]))
    assert charted.plain() == "model\nfp32"
    assert "times as fast" not in charted.html()
    assert charted.html().index("median") < charted.html().index("<table")


def test_a_mode_keeps_its_color_among_any_others() -> None:
    assert colors_of(["plain", "lexical", "dense"])["dense"] == colors_of(["dense"])["dense"]
    colors = colors_of(["varied", "hybrid", "plain", "dense", "lexical"])
    assert len(set(colors.values())) == 5
    assert set(MODE_COLORS.values()) <= set(OKABE_ITO)


@pytest.mark.parametrize("ground", ["#FFFFFF", "#111111"])  # of JupyterLab's two themes
def test_the_colors_of_modes_read_on_light_and_dark(ground: str) -> None:
    for color in MODE_COLORS.values():
        light, dark = sorted((_luminance(color), _luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2.2, 1.4.11


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(f * p for f, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
