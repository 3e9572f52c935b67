"""Limits: checked on creation, read from the environment, shown if they differ from the default."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from conduit_lab import Limits
from conduit_lab.core.errors import EndpointError

WRONG: dict[str, list[Any]] = {
    "body_bytes": [0, -1, None, 1.5, "9", True],
    "json_depth": [0, 201],
    "receive_seconds": [0, None, float("nan"), float("inf")],
    "concurrent_requests": [0, 0.5],
    "queued_requests": [-1, None],
    "deadline": [0, -1, float("nan"), float("inf")],
    "tokens_per_day": [0, "many"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, wrong in WRONG.items() for value in wrong]
)
def test_a_limit_that_bounds_nothing_is_refused(name: str, value: Any) -> None:
    with pytest.raises(EndpointError, match=rf"Limits\({name}=\) expect"):
        Limits(**{name: value})


def test_none_is_no_limit_where_there_may_be_none() -> None:
    limits = Limits(concurrent_requests=None, concurrent_streams=None, deadline=None)
    assert limits.concurrent_requests is None
    assert Limits(queued_requests=0).queued_requests == 0


def test_the_repr_shows_those_that_differ_and_makes_them_again() -> None:
    limits = Limits(body_bytes=100, deadline=2.5)
    assert repr(limits) == "Limits(body_bytes=100, deadline=2.5)"
    assert eval(repr(limits)) == limits
    assert repr(Limits()) == "Limits()"


def test_the_environment_replaces_declared_limits() -> None:
    environ = {
        "CONDUIT_LAB_BODY_BYTES": " 2048 ",
        "CONDUIT_LAB_DEADLINE": "1.5",
        "CONDUIT_LAB_CONCURRENT_STREAMS": "none",
        "CONDUIT_LAB_JSON_DEPTH": "",
        "CONDUIT_LAB_PROGRESS": "0",
    }
    read = Limits.from_environment(Limits(body_bytes=1, header_count=7), environ)
    assert read == Limits(2048, header_count=7, deadline=1.5, concurrent_streams=None)


@pytest.mark.parametrize("text", ["many", "1.5", "0", "none", "-1", "1e3"])
def test_an_environment_value_that_is_no_limit_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(EndpointError, match="CONDUIT_LAB_BODY_BYTES expected an integer above 0"):
        Limits.from_environment(environ={"CONDUIT_LAB_BODY_BYTES": text})


def test_every_limit_can_be_set_by_the_environment() -> None:
    environ = {f"CONDUIT_LAB_{each.name.upper()}": "3" for each in fields(Limits)}
    assert all(
        getattr(Limits.from_environment(environ=environ), each.name) == 3 for each in fields(Limits)
    )
