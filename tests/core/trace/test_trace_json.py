from __future__ import annotations

import json
import math

import numpy as np

from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.trace_json import MAX_JSON_BYTES
from tests.core.trace.made import span, trace

vector = np.zeros((1, 4), np.float32)


def test_the_json_has_facts_of_the_spans_and_no_values() -> None:
    inner = span("topic", 1, 3, kind="predict", given=vector, gave=math.nan)
    inner.attributes = {"device": "cpu", "rows": 1, "cached": True}
    failed = span("rates", 3, 4, error=ValueError("no"))
    parsed = json.loads(trace(inner, failed, seconds=4, given="x" * 50).to_json())
    assert parsed["spans"][1] == {
        "depth": 1,
        "name": "topic",
        "kind": "predict",
        "start": 1,
        "duration": 2,
        "self": 2,
        "device": "cpu",
        "rows": 1,
        "input": "float32 [1, 4]",
        "output": "nan",
        "cached": True,
        "ended": True,
    }
    assert parsed["spans"][0]["input"] == "text, 50 characters"
    assert parsed["spans"][2]["error"] == "ValueError: no"
    assert (parsed["name"], parsed["seconds"], parsed["more_spans"]) == ("call", 4, 0)
    assert parsed["hints"] == []


def test_the_json_of_many_spans_is_bounded_and_counts_the_others() -> None:
    stage = Function(lambda value: value, name="a stage \ud800 with an odd name " * 20)
    with recorder.record("x" * 10_000) as recorded:
        for n in range(1500):
            stage(n)
    text = recorded.to_json()
    assert len(text.encode()) <= MAX_JSON_BYTES
    parsed = json.loads(text)
    assert 100 < len(parsed["spans"]) == 1501 - parsed["more_spans"]


def test_times_that_are_no_numbers_are_null() -> None:
    broken = span("odd", math.nan, math.inf)
    assert json.loads(trace(broken, seconds=1).to_json())["spans"][1]["start"] is None


def test_a_data_frame_has_one_row_per_span() -> None:
    inner = span("a", 0, 1, span("b", 0, 1, kind="predict", gave=vector))
    frame = trace(inner, span("b", 2, 3), seconds=3).to_pandas()
    assert list(frame["path"]) == ["call", "call/a", "call/a/b", "call/b"]
    assert list(frame["self"]) == [1, 0, 1, 1]
    assert list(frame["output"]) == ["", "", "float32 [1, 4]", ""]
    assert {"depth", "kind", "start", "duration", "device", "rows", "cached", "error"} <= set(frame)


def test_starts_count_from_the_call() -> None:
    inner = span("inner", 5, 9, span("a", 6, 7))
    assert [record["start"] for record in json.loads(trace(seconds=9).to_json())["spans"]] == [0]
    from conduit_lab.core.trace.trace import Trace

    assert [s["start"] for s in json.loads(Trace(inner).to_json())["spans"]] == [0, 1]
