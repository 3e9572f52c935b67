"""Charts: a spec that JSON can carry, in the colours of its host. tests/browser draws one."""

from __future__ import annotations

import json
import math

import numpy as np

from conduit_lab.core.views import charts
from conduit_lab.core.views.charts import Chart

VIEW = {"mark": "bar", "encoding": {"x": {"field": "n", "type": "quantitative"}}}


def test_the_spec_holds_title_values_and_view() -> None:
    spec = Chart("a is faster", [{"n": 1}], VIEW, subtitle="median").spec
    assert (spec["title"]["text"], spec["title"]["subtitle"]) == ("a is faster", "median")
    assert spec["data"] == {"values": [{"n": 1}]}
    assert spec["mark"] == "bar"


def test_any_number_becomes_json() -> None:
    row = {
        "n": np.float32(0.5),
        "i": np.int64(3),
        "nan": math.nan,
        "inf": np.float64(np.inf),
        "text": "<b>",
        "no": None,
    }
    values = Chart("t", [row], VIEW).spec["data"]["values"]
    assert json.loads(json.dumps(values, allow_nan=False)) == [
        {"n": 0.5, "i": 3, "nan": None, "inf": None, "text": "<b>", "no": None}
    ]


def test_the_whole_spec_is_json() -> None:
    spec = Chart("t", [], VIEW).spec
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec


def test_a_cell_shows_the_plot_and_says_its_sentence() -> None:
    bundle = Chart("a is faster", [], VIEW, subtitle="median")._repr_mimebundle_()
    assert set(bundle) == {
        "text/plain",
        "application/vnd.vegalite.v5+json",
    }  # with html JupyterLab would show that
    assert bundle["text/plain"] == "Chart: a is faster (median)"


def test_the_width_is_never_that_of_the_container() -> None:
    spec = Chart("t", [], VIEW).spec
    assert isinstance(spec["width"], int)  # "container" hangs the page of JupyterLab 4.6


def test_text_takes_the_colour_of_its_host() -> None:
    for part, colours in {
        "title": ["color", "subtitleColor"],
        "axis": ["labelColor", "titleColor"],
    }.items():
        assert all("currentColor" in charts.CONFIG[part][colour] for colour in colours)
    assert charts.CONFIG["background"] == "transparent"
