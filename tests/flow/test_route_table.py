"""A route that looks up its choice."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import pytest

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.route import Route
from conduit_lab.flow.route_table import RouteTable, table_key


class Colour(Enum):
    RED = 1


class Say(Stage):
    """A stage that answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, value: Any) -> str:
        return f"{self.name} {value}"

    def stream(self, value: Any, /) -> Stream[Any, Any]:
        return Stream(iter([self.run(value)]), name=self.name)


def route(asked: list[Any]) -> Route:
    def choose(value: Any) -> str:
        asked.append(value)
        return "yes" if value in (1, "y") and value is not True else "no"

    return Route(choose, {"yes": Say("yes"), "no": Say("no")})


def test_a_known_value_asks_nobody_and_another_one_asks_the_route() -> None:
    asked: list[Any] = []
    table = RouteTable(route(asked), table={"y": "yes", "n": "no"})
    assert [table("y"), table("n")] == ["yes y", "no n"]
    assert asked == []
    assert [table("z"), table([1])] == ["no z", "no [1]"]
    assert asked == ["z", [1]]


def test_true_is_another_value_than_one() -> None:
    asked: list[Any] = []
    table = RouteTable(route(asked), table={1: "yes"})
    assert [table(1), table(True), table(1.0)] == ["yes 1", "no True", "yes 1.0"]
    assert asked == [True, 1.0]


def test_in_an_event_loop_and_as_a_stream() -> None:
    asked: list[Any] = []
    table = RouteTable(route(asked), table={"y": "yes"})

    async def call() -> list[Any]:
        return [await table.acall("y"), await table.acall("z")]

    assert asyncio.run(call()) == ["yes y", "no z"]
    assert [list(table.stream("y")), list(table.stream("z"))] == [["yes y"], ["no z"]]
    assert asked == ["z", "z"]


@pytest.mark.parametrize("value", [1.0, [1], (1,), object()])
def test_values_that_can_change_or_be_equal_to_others_have_no_key(value: Any) -> None:
    assert table_key(value) is None


def test_plain_values_have_keys_that_differ() -> None:
    values = [1, True, "1", b"1", None, Colour.RED, 0, False, ""]
    assert len({table_key(value) for value in values}) == len(values)


@pytest.mark.parametrize("table", [{"y": "maybe"}, {1.5: "yes"}])
def test_a_table_that_does_not_fit_is_an_error(table: Any) -> None:
    with pytest.raises(CompositionError, match=r"names of its route's stages \(yes, no\)"):
        RouteTable(route([]), table=table)
