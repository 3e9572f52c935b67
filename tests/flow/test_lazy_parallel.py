"""A parallel whose unread members run when they are read, and its results, which act as a dict."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import CompositionError
from conduit_lab.core.trace import recorder
from conduit_lab.core.weight import weight
from conduit_lab.flow.lazy_parallel import LazyParallel, LazyResults
from conduit_lab.flow.parallel import Parallel
from conduit_lab.flow.sequential import Sequential
from conduit_lab.serving.codec import dumps

NAMES = ["a", "b", "c"]
OPERATIONS: list[Callable[[Any, str], Any]] = [
    lambda d, k: d[k],
    lambda d, k: d.get(k, 0),
    lambda d, k: k in d,
    lambda d, k: d.pop(k, None),
    lambda d, k: d.__setitem__(k, 1),
    lambda d, k: d.setdefault(k, 2),
    lambda d, k: d.update({k: 3}),
    lambda d, k: d.__delitem__(k),
    lambda d, k: d | {k: 4},
    lambda d, k: {k: 4} | d,
    lambda d, k: list(d),
    lambda d, k: list(reversed(d)),
    lambda d, k: list(d.items()),
    lambda d, k: list(d.values()),
    lambda d, k: {**d, k: 5},
    lambda d, k: dict(d),
    lambda d, k: d.copy(),
    lambda d, k: copy.copy(d),
    lambda d, k: copy.deepcopy(d),
    lambda d, k: pickle.loads(pickle.dumps(d)),
    lambda d, k: (len(d), bool(d), f"{d}", isinstance(d, dict)),
    lambda d, k: d.popitem(),
    lambda d, k: d.clear(),
]


def results() -> LazyResults:
    return LazyResults({"b": "B"}, NAMES, str.upper)


@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.sampled_from([*NAMES, "d"]))))
def test_lazy_results_act_as_the_dict_of_all(steps: list[tuple[Any, str]]) -> None:
    expected: Any = {"a": "A", "b": "B", "c": "C"}
    lazy: Any = results()

    def outcome(operation: Any, value: Any, name: str) -> Any:
        try:
            return operation(value, name)
        except KeyError as error:
            return repr(error.args[:1]) if error.args[0] == name else "empty"

    for operation, name in steps:
        assert outcome(operation, lazy, name) == outcome(operation, expected, name)
        assert lazy == expected
        assert expected == lazy


def test_in_place_union_and_unpacking() -> None:
    lazy: Any = results()
    lazy |= {"d": 1}
    assert lazy == {"a": "A", "b": "B", "c": "C", "d": 1}
    assert (lambda **all: all)(**results()) == {"a": "A", "b": "B", "c": "C"}
    match results():
        case {"c": value}:
            assert value == "C"
        case _:
            pytest.fail("no mapping")


def test_a_result_is_computed_when_it_is_read_and_once() -> None:
    computed: list[str] = []
    lazy = LazyResults({}, NAMES, lambda name: computed.append(name) or name)  # type: ignore[func-returns-value]
    assert (len(lazy), "a" in lazy, list(lazy), computed) == (3, True, NAMES, [])
    assert (repr(lazy), weight(lazy) > 0, computed) == ("{'a': …, 'b': …, 'c': …}", True, [])
    assert [lazy["c"], lazy["c"], computed] == ["c", "c", ["c"]]
    with pytest.raises(KeyError, match="'d'"):
        lazy["d"]


def test_json_misses_no_result() -> None:
    assert dumps(results()) == b'{"a":"A","b":"B","c":"C"}'
    with pytest.raises(TypeError):  # rather than without the results that were not read
        json.dumps(results())


def stages(runs: list[str]) -> Parallel:
    def stage(name: str) -> Callable[[int], str]:
        def run(value: int) -> str:
            runs.append(name)
            return name * value

        run.__name__ = name
        return run

    return Parallel({name: stage(name) for name in NAMES})


def test_only_the_members_that_are_read_run() -> None:
    runs: list[str] = []
    lazy = LazyParallel(stages(runs), lazy=["a", "c"])
    found = lazy(2)
    assert runs == ["b"]
    assert found == {"a": "aa", "b": "bb", "c": "cc"}
    assert runs == ["b", "a", "c"]


def test_the_trace_shows_a_late_member_below_its_reader() -> None:
    lazy = LazyParallel(stages([]), lazy=["c"])
    with recorder.record("call") as trace:
        Sequential(lazy, lambda found: found["c"], name="all")(1)
    first, reader = trace["all"].children
    assert first.attributes["detail"] == "not run until read: c"
    assert [span.name for span in first.children] == ["a", "b"]
    assert [span.name for span in reader.children] == ["c"]


def test_in_an_event_loop() -> None:
    runs: list[str] = []
    lazy = LazyParallel(stages(runs), lazy=["a"])

    async def call() -> Any:
        return await lazy.acall(1)

    found = asyncio.run(call())
    assert sorted(runs) == ["b", "c"]
    assert found["a"] == "a"


def test_unknown_names_are_an_error() -> None:
    with pytest.raises(CompositionError, match="has no 'z': expected some of a, b, c"):
        LazyParallel(stages([]), lazy=["z"])
