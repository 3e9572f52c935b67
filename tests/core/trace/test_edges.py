"""Edges by identity: of whole values, of items of containers, and of views of arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.edges import DataFlow, edges
from conduit_lab.core.trace.trace import Trace
from tests.core.trace.made import span, trace

array = np.arange(6.0)
TEXT = "the whole text"


def shown(recorded: Trace) -> list[str]:
    return [repr(edge) for edge in recorded.edges]


def one_edge(gave: Any, given: Any) -> bool:
    recorded = trace(span("a", 0, 1, gave=gave), span("b", 2, 3, given=given), seconds=4)
    assert len(recorded.edges) <= 1
    return shown(recorded) == ["a → b"]


ITEM = ["an item"]
SOURCES: dict[str, tuple[Any, Any]] = {
    "the object itself": (array, array),
    "in a list": (array, [1, array]),
    "in a tuple": (array, (array,)),
    "in a dict": (array, {"x": array}),
    "two levels deep": (array, {"x": [array]}),
    "an item of it": ([ITEM, 2], ITEM),
    "a value of it": ({"x": array}, array),
    "a view": (array, array[None]),
    "a view of a view": (array[:4], array[:4].reshape(2, 2)),
    "a row of it": (array.reshape(2, 3), array[:3]),
    "a view in a dict": (array, {"x": array[1:]}),
}


@pytest.mark.parametrize("how", SOURCES)
def test_a_span_that_took_what_another_gave_has_an_edge(how: str) -> None:
    assert one_edge(*SOURCES[how])


UNRELATED: dict[str, tuple[Any, Any]] = {
    "equal arrays": (array, array.copy()),
    "none": (None, None),
    "booleans": (True, True),
    "small integers": (7, 7),
    "single characters": ("a", "a"),
    "empty tuples": ((), ()),
    "other parts of one memory": (array[:3], array[3:]),
    "three levels deep": (array, [[[array]]]),
}


@pytest.mark.parametrize("what", UNRELATED)
def test_values_without_an_identity_of_their_own_make_no_edge(what: str) -> None:
    assert not one_edge(*UNRELATED[what])


def test_the_input_of_the_call_feeds_spans_that_take_it_or_a_part() -> None:
    payload = {"text": TEXT, "n": 3}
    recorded = trace(
        span("whole", 0, 1, given=payload),
        span("part", 1, 2, given=TEXT),
        span("other", 2, 3, given="another text"),
        seconds=4,
        given=payload,
    )
    assert shown(recorded) == ["input → whole", "input → part"]
    assert [edge.source for edge in recorded.edges] == [None, None]
    assert {edge.within for edge in recorded.edges} == {recorded.root}


def test_the_latest_span_that_gave_a_value_before_is_its_source() -> None:
    recorded = trace(
        span("first", 0, 1, gave=array),
        span("same again", 1, 2, given=array, gave=array),
        span("too late", 2, 9, gave=array),
        span("reader", 3, 4, given=array),
        seconds=9,
    )
    assert shown(recorded) == ["first → same again", "same again → reader"]


def test_a_span_may_take_what_several_gave() -> None:
    one, two = np.ones(2), np.zeros(2)
    recorded = trace(
        span("one", 0, 1, gave=one),
        span("two", 1, 2, gave=two),
        span("both", 2, 3, given=[one, two]),
        seconds=4,
    )
    assert shown(recorded) == ["one → both", "two → both"]


def test_edges_are_among_the_children_of_one_span() -> None:
    inner = np.ones(3)
    recorded = trace(
        span("a", 0, 1, gave=array),
        span(
            "both",
            1,
            5,
            span("x", 1, 2, given=array, gave=inner),
            span("y", 2, 3, given=inner),
            given=array,
        ),
        seconds=5,
    )
    assert shown(recorded) == ["a → both", "input → x", "x → y"]


def test_what_a_failed_or_dropped_span_held_makes_no_edge() -> None:
    failed = span("failed", 0, 1, gave=array, error=ValueError())
    dropped = span("dropped", 1, 2, gave=array)
    dropped.forget()
    assert edges(span("all", 0, 4, failed, dropped, span("b", 2, 3, given=array))) == []


def test_recorded_calls_have_their_edges() -> None:
    double = Function(lambda value: value * 2, name="double")
    total = Function(lambda value: value.sum(), name="total")
    with recorder.record("all") as recorded:
        total(double(array))
        total(array)
    assert shown(recorded) == ["double → total"]


def test_an_item_that_was_put_into_the_input_later_does_not_come_from_it() -> None:
    payload: dict[str, Any] = {"text": TEXT}
    root = span("all", 0, 5, given=payload)
    payload["vector"] = array
    root.children = [span("b", 1, 2, given=array)]
    flow = DataFlow(root)
    assert (flow.edges, flow.ready(root.children[0])) == ([], math.inf)


def test_a_value_that_has_lost_an_item_since_is_not_known() -> None:
    both = [array, "a text from nowhere"]
    use = span("use", 1, 2, given=both)
    both.pop()
    assert DataFlow(span("all", 0, 3, use, given=array)).ready(use) == math.inf


def test_a_value_is_ready_since_it_was_first_seen() -> None:
    first = span("first", 1, 2, given=TEXT, gave=array)
    uses = [
        span("whole", 3, 4, given=array),
        span("seen", 4, 5, given=TEXT),
        span("mixed", 5, 6, given={"x": array, "y": TEXT}),
        span("unknown", 6, 7, given={"x": array, "n": 1}),
        span("new", 7, 8, given="a text from nowhere"),
    ]
    flow = DataFlow(span("all", 0, 9, first, *uses))
    assert [flow.ready(use) for use in uses] == [2, 1, 2, math.inf, math.inf]
