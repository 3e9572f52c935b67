"""Route: one of several stages, chosen by the value."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conduit_lab.core.errors import CompositionError, InputError
from conduit_lab.core.stage import Function
from conduit_lab.core.trace import recorder
from conduit_lab.flow.fallback import Fallback
from conduit_lab.flow.route import Route


def plus(value: int) -> int:
    return value + 1


def parity(value: int) -> str:
    return "odd" if value % 2 else "even"


def same(value: Any) -> Any:
    return value


def test_it_runs_the_chosen_stage() -> None:
    route = Route(parity, {"odd": plus, "even": str})
    assert (route(1), route(2)) == (2, "2")


@pytest.mark.parametrize("name", ["fr", 7, None, ["de"], {}])
def test_every_other_name_goes_to_the_default_stage(name: Any) -> None:
    hashable = not isinstance(name, list | dict)
    route = Route(same, {"de": str, "en": str}, default=lambda value: "default")
    if hashable:
        assert route(name) == "default"
        assert asyncio.run(_acall(route, name)) == "default"
    else:
        with pytest.raises(CompositionError, match="expected to return one of 'de', 'en', got"):
            route(name)


async def _acall(route: Route, value: Any) -> Any:
    return await route.acall(value)


def test_the_default_stage_is_the_last_child_and_has_its_span() -> None:
    a, b, c = (Function(str, name=name) for name in "abc")
    route = Route(same, {"x": a, "y": b}, default=c)
    assert (route.children, route._settings()) == ((a, b, c), {"default": c})
    assert Route(same, {"x": a})._settings() == {}
    with recorder.record("call") as recorded:
        Route(same, {"x": a}, default=c)("z")
    assert [span.name for span in recorded] == ["call", "route", "c"]


def test_a_route_to_nowhere_names_the_choices_and_the_nearest() -> None:
    route = Route(same, {"german": str, "english": str}, name="language")
    with pytest.raises(CompositionError) as raised:
        route("englisch")
    assert str(raised.value) == (
        "choose=same of route 'language' expected to return one of 'german', 'english', got "
        "'englisch'. Did you mean 'english'? Route(…, default=stage) handles all other names."
    )
    with pytest.raises(CompositionError, match=r"got 7 \(int\)"):
        route(7)
    with pytest.raises(CompositionError, match=r"got 1 \(int\). Did you mean '1'\?"):
        Route(same, {"1": str})(1)
    with pytest.raises(CompositionError, match=r"got \['german'\] \(list\)"):
        route(["german"])
    many = {str(number): str for number in range(100)}
    with pytest.raises(CompositionError, match="'9' and 90 more, got 'x'"):
        Route(same, many)("x")


def test_a_route_to_nowhere_goes_on_to_the_next_stage_of_a_fallback() -> None:
    assert Fallback(Route(same, {"a": str}), plus)(1) == 2


def test_an_error_of_choose_is_raised_as_it_is_with_the_name_of_the_route() -> None:
    error = ZeroDivisionError("no")

    def broken(value: Any) -> str:
        raise error

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            Route(broken, {"a": str}, default=str, name="mine")(1)
    assert error.__notes__ == ["choose=broken of route 'mine' raised it, so no stage was chosen"]

    def refuse(value: Any) -> str:
        raise InputError("bad")

    with pytest.raises(InputError, match="bad"):
        Route(refuse, {"a": str})(1)


def test_a_stage_may_raise_key_errors_and_type_errors_of_its_own() -> None:
    def missing(value: Any) -> Any:
        raise KeyError("key")

    with pytest.raises(KeyError):
        Route(lambda value: "a", {"a": missing}, default=str)(1)


async def later(value: Any) -> str:
    return "a"


@pytest.mark.parametrize(
    ("choose", "stages", "message"),
    [
        (later, {"a": str}, "'mine' expected a plain function .* got an async def function"),
        ("a", {"a": str}, "'mine' expected a plain function .* got str"),
        (same, {}, "'mine' expected at least one stage, got none"),
        (same, [str], "'mine' expected a dict of stages by name, got list"),
    ],
)
def test_wrong_arguments_are_refused(choose: Any, stages: Any, message: str) -> None:
    with pytest.raises(CompositionError, match=message):
        Route(choose, stages, name="mine")


def test_a_route_of_a_default_alone() -> None:
    assert Route(same, {}, default=plus)(1) == 2
