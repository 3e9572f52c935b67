"""Parameters without a type and arrays are checked without pydantic, as it would check them."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest

from conduit_lab import ArrayShape
from conduit_lab.core.errors import InputError
from conduit_lab.serving.arguments import arguments_of
from conduit_lab.serving.plain_arguments import PlainArguments
from conduit_lab.serving.typed_arguments import TypedArguments

Rows = Annotated[npt.NDArray[np.float32], ArrayShape("n", 2)]


class Level(enum.IntEnum):
    LOW = 1


FIELDS: dict[str, dict[str, tuple[Any, Any]]] = {
    "none": {},
    "one value": {"x": (Any, ...)},
    "a value that may be left out": {"x": (Any, None)},
    "defaults": {"a": (Any, Level.LOW), "b": (Any, 0.5), "c": (Any, [1]), "d": (Any, object())},
    "an array": {"rows": (Rows, ...)},
    "an array of any shape": {"rows": (np.ndarray, ...)},
    "arrays and values": {
        "rows": (Rows, ...),
        "counts": (npt.NDArray[np.int64], None),
        "x": (Any, ...),
        "y": (Any, 5),
    },
}
GIVEN: list[dict[str, Any]] = [
    {},
    {"x": 1},
    {"x": None, "y": [1]},
    {"rows": [[1, 2]]},
    {"rows": [1, 2], "x": 1},
    {"rows": [[1, 2]], "x": {"a": 1}},
    {"rows": [[1, 2]], "x": 1, "counts": [1, 2]},
    {"rows": [["a", 2]], "counts": [0.5], "colour": "red"},
    {"rows": "text", "x": 1, "counts": None},
    {f"other {n}": n for n in range(10)},
    {"rows": [[1, 2]], "x": 1, **{f"k{n}" * 100: n for n in range(9)}},
]


def outcome(check: Any, given: dict[str, Any]) -> Any:
    try:
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in check(given).items()
        }
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", FIELDS)
def test_it_agrees_with_pydantic(name: str) -> None:
    fields = FIELDS[name]
    plain, typed = arguments_of("f", fields), TypedArguments("f", fields)
    assert isinstance(plain, PlainArguments)
    assert plain.schema() == typed.schema()
    for given in GIVEN:
        assert outcome(plain.check_json, given) == outcome(typed.check_json, given)
        assert outcome(plain.check, given) == outcome(typed.check, given)


def test_a_default_that_a_call_changes_stays_as_it_was() -> None:
    arguments = arguments_of("f", {"x": (Any, [])})
    arguments.check({})["x"].append(1)
    assert arguments.check({}) == {"x": []}


@pytest.mark.parametrize("kind", [int, list[Any], dict, Annotated[Any, "note"], Rows | None])
def test_any_other_type_is_checked_by_pydantic(kind: Any) -> None:
    assert isinstance(arguments_of("f", {"x": (Any, ...), "y": (kind, ...)}), TypedArguments)
