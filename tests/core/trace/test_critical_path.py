from __future__ import annotations

from conduit_lab.core.trace.critical_path import critical_path
from tests.core.trace.made import span


def names(*children_of: object) -> list[str]:
    return [each.name for each in critical_path(*children_of)]  # type: ignore[arg-type]


def test_of_stages_in_turn_all_are_on_the_path() -> None:
    assert names(span("all", 0, 10, span("a", 0, 4), span("b", 4, 10))) == ["all", "a", "b"]


def test_of_parallel_stages_the_one_that_ended_last_is_on_the_path() -> None:
    root = span("all", 0, 10, span("short", 0, 4), span("long", 0, 6), span("after", 7, 9))
    assert names(root) == ["all", "long", "after"]


def test_the_path_goes_into_the_children_of_its_spans_only() -> None:
    root = span(
        "all", 0, 9, span("a", 0, 5, span("in a", 1, 2)), span("b", 0, 9, span("in b", 1, 2))
    )
    assert names(root) == ["all", "b", "in b"]


def test_a_running_stage_decides_the_end() -> None:
    assert names(span("all", 0, None, span("ended", 0, 4), span("running", 1, None))) == [
        "all",
        "running",
    ]
