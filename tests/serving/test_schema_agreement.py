"""A signature and its JSON Schema agree: a value binds if and only if it validates."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from annotated_types import Ge, Gt, Len, Lt
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from conduit_lab import ArrayShape, File
from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec, json_validation
from conduit_lab.serving.signature import Signature
from conduit_lab.serving.typed_arguments import MAX_COUNTED_BYTES

Floats = npt.NDArray[np.float32]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    NAME = "name"
    NUMBER = 3


@dataclass
class Point:
    x: float
    y: float = 0.0


class Words(TypedDict):
    text: str
    count: NotRequired[int]


class Order(BaseModel):
    item: str = Field(min_length=1)
    count: int = Field(1, ge=1, le=5, alias="n")
    at: Point | None = None


class Tree(BaseModel):
    name: str
    below: list[Tree] = []


TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "none": None,
    "optional": int | None,
    "union": int | str,
    "union of lists": list[int] | list[bool],
    "literal": Literal["a", 1, True],
    "enum": Color,
    "int enum": Level,
    "mixed enum": Mixed,
    "bounded int": Annotated[int, Ge(0), Lt(10)],
    "bounded float": Annotated[float, Gt(0), Lt(1)],
    "field": Annotated[int, Field(ge=2, le=4)],
    "multiple": Annotated[int, Field(multiple_of=3)],
    "pattern": Annotated[str, Field(pattern="^[a-c]+$")],
    "bounded text": Annotated[str, Len(1, 3)],
    "list": list[int],
    "bounded list": Annotated[list[int], Len(1, 2)],
    "list of lists": list[list[float]],
    "tuple": tuple[int, str],
    "tuple of any length": tuple[float, ...],
    "set": set[int],
    "dict": dict[str, float],
    "model": Order,
    "recursive model": Tree,
    "list of models": list[Order],
    "dataclass": Point,
    "typed dict": Words,
    "nested typed dict": dict[str, list[Words]],
    "row": Annotated[Floats, ArrayShape(2)],
    "rows": Annotated[Floats, ArrayShape("n", 2)],
    "bytes of numbers": Annotated[npt.NDArray[np.uint8], ArrayShape(3)],
    "flags": Annotated[npt.NDArray[np.bool_], ArrayShape("n")],
    "scalar": Annotated[npt.NDArray[np.float64], ArrayShape()],
    "optional array": Annotated[Floats, ArrayShape(1)] | None,
    "file": File,
    "time": datetime.datetime,
    "date": datetime.date,
    "uuid": uuid.UUID,
    "any": Any,
    "object": dict[str, Any],
}
# Draft 2020-12 does not assert `format`: a text that is no date validates, and does not bind
FORMATS = {"time", "date", "uuid"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**30])
    | st.floats(-2, 12, allow_nan=False).map(lambda number: round(number, 1))
    | st.sampled_from([1.0, 2.0, 0.5, "a", "ab", "red", "name", "1", "true", "AA==", ""])
)
keys = st.sampled_from(["x", "y", "item", "n", "at", "text", "count", "name", "below", "data", "k"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@cache
def signature_of(name: str) -> tuple[Signature, Draft202012Validator]:
    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": TYPES[name], "return": None}
    signature = Signature(take, "/take", name="take")
    schema = signature.schema()
    Draft202012Validator.check_schema(schema)
    return signature, Draft202012Validator(schema)


def binds(signature: Signature, value: Any) -> bool:
    body = codec.dumps(value if signature.whole else {"value": value})
    try:
        signature.from_http({"headers": []}, body)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in TYPES if name not in FORMATS])
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_value_binds_if_and_only_if_it_validates(name: str, data: st.DataObject) -> None:
    signature, validator = signature_of(name)
    value = codec.loads(codec.dumps(data.draw(values)))
    assert binds(signature, value) == validator.is_valid({"value": value})


def bound(name: str, value: Any, size: int) -> Any:
    """Return the repr of the argument, whose parts may be arrays; "refused" where it does not fit.

    `size` is the bytes of its body.
    """
    try:
        return repr(signature_of(name)[0]._arguments.check_json({"value": value}, size))
    except InputError:
        return "refused"


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_value_of_a_large_body_binds_as_one_of_a_small_body(
    name: str, data: st.DataObject
) -> None:
    schema = signature_of(name)[0].schema()
    made = made_from(schema["properties"]["value"], schema.get("$defs", {}))
    value = codec.loads(codec.dumps(data.draw(made if name != "recursive model" else values)))
    with patch.object(json_validation, "MAX_TURN_ITEMS", 0):
        in_turns = bound(name, value, 2 * MAX_COUNTED_BYTES)
    assert in_turns == bound(name, value, 0)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (list[int] | list[bool], "value.list.1: "),
        (dict[str, int] | int, "value.dict.a: "),
        (tuple[int, ...] | None, "value.1: "),
        (int | set[int], "value.set.1: "),
    ],
)
def test_errors_of_a_large_body_name_no_part_of_the_check(kind: Any, place: str) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": kind, "return": None}
    wrong = {"a": "no"} if "dict" in str(kind) else [1, "no"]
    with pytest.raises(InputError) as raised:
        Signature(take, "/take", name="take")._arguments.check_json(
            {"value": wrong}, 2 * MAX_COUNTED_BYTES
        )
    assert place in str(raised.value)
    assert "function" not in str(raised.value)


def made_from(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that validate, with the keywords that these types have."""
    if "$ref" in schema:
        return made_from(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of(*(made_from(each, definitions) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    low, high = schema.get("minItems", 0), schema.get("maxItems", 3)
    match schema.get("type"):
        case "integer":
            step = schema.get("multipleOf", 1)
            bounds = schema.get("minimum", -9), schema.get("maximum", 10**6)
            high_int = min(bounds[1], schema.get("exclusiveMaximum", 10**6 + 1) - 1)
            return st.integers(bounds[0] // step, high_int // step).map(lambda n: n * step)
        case "number":
            return st.floats(0.1, 0.9) if "exclusiveMinimum" in schema else st.floats(-1e9, 1e9)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            formats = {
                "date-time": st.datetimes().map(lambda at: at.isoformat() + "Z"),
                "date": st.dates().map(str),
                "uuid": st.uuids().map(str),
            }
            if "format" in schema:
                return formats[schema["format"]]
            if "pattern" in schema:
                return st.from_regex(schema["pattern"], fullmatch=True).filter(
                    lambda text: not text.endswith("\n")
                )
            return st.text(
                st.characters(codec="utf-8"),
                min_size=schema.get("minLength", 0),
                max_size=schema.get("maxLength", 8),
            )
        case "array" if "prefixItems" in schema:
            return st.tuples(*(made_from(e, definitions) for e in schema["prefixItems"])).map(list)
        case "array":
            items = st.deferred(lambda: made_from(schema["items"], definitions))
            return st.lists(items, min_size=low, max_size=min(high, 3))
        case "object" if "properties" in schema:
            fields = {k: made_from(v, definitions) for k, v in schema["properties"].items()}
            required = {k: v for k, v in fields.items() if k in schema.get("required", ())}
            optional = {k: v for k, v in fields.items() if k not in required}
            return st.fixed_dictionaries(required, optional=optional)
        case "object":
            inner = schema.get("additionalProperties", True)
            items = scalars if inner is True else made_from(inner, definitions)
            return st.dictionaries(keys, items, max_size=3)
    return values


@pytest.mark.parametrize("name", [name for name in TYPES if name != "recursive model"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_made_from_the_schema_validates_and_binds(name: str, data: st.DataObject) -> None:
    signature, validator = signature_of(name)
    schema = signature.schema()
    made = data.draw(made_from(schema["properties"]["value"], schema.get("$defs", {})))
    assert validator.is_valid({"value": made})
    assert binds(signature, made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int", 1.0),
        ("bounded int", 3.0),
        ("list", [1, 2.0]),
        ("model", {"item": "a", "n": 2.0}),
        ("int", 10**30),
        ("uuid", "6f1c8b1e-3ec2-4d35-8d2f-0e2a4f1c9e11"),
        ("time", "2026-11-30T12:00:00Z"),
        ("file", {"data": "AAEC"}),
        ("rows", []),
        ("rows", [[1, 2], [3, 4.5]]),
    ],
)
def test_values_that_a_schema_takes_bind(name: str, value: Any) -> None:
    signature, validator = signature_of(name)
    assert validator.is_valid({"value": value})
    assert binds(signature, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int", "1"),
        ("int", True),
        ("float", "1.5"),
        ("bool", 1),
        ("bool", "yes"),
        ("str", 5),
        ("int enum", "1"),
        ("int enum", True),
        ("time", 5),
        ("row", [1, True]),
        ("row", [1, "2"]),
        ("row", [1, 2, 3]),
        ("row", [1e300, 0]),
        ("bytes of numbers", [1, 2, 300]),
        ("bytes of numbers", [1, 2, 0.5]),
        ("flags", [0, 1]),
        ("file", {"data": "A"}),
    ],
)
def test_values_that_a_schema_refuses_do_not_bind(name: str, value: Any) -> None:
    signature, validator = signature_of(name)
    assert not validator.is_valid({"value": value})
    assert not binds(signature, value)
