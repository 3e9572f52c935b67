"""Program: an endpoint as steps that a browser runs, from the JSON body to the JSON answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from conduit_lab.export.web.symbol import Symbol
from conduit_lab.serving import codec

MAX_CONSTANT_NUMBERS = 10_000  # of an array in a program; larger ones belong in a model


class Untraceable(Exception):
    """Why a function cannot run in a browser, with the chain of stages that leads to it."""

    def __init__(self, reason: str, chain: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.chain = chain


@dataclass
class Program:
    """The steps of one endpoint, in execution order.

    `parameters` have the name, location, JSON Schema and default of each argument. A step has the
    name of its operation and its arguments, each an expression: `{"step": 3}` is the result of that
    step, `{"argument": "text"}` an argument. Lists, objects, strings, numbers and arrays are
    written with their types, since 1 is not 1.0. `answer` is the expression of the answer.
    """

    method: str
    path: str
    name: str
    parameters: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the program in the JSON form that the page reads."""
        return dict(vars(self))


def expression(value: Any) -> dict[str, Any]:
    """Return the expression of a value that may contain symbols; `Untraceable` if it has none."""
    kind = type(value)
    if kind is Symbol:
        return dict(value.reference)
    if value is None or kind in (bool, str):
        return {"value": value}
    if kind is int:
        return {"int": str(value)}
    if kind is float:
        return {"float": value if np.isfinite(value) else None}
    if isinstance(value, Iterator) or kind in (list, tuple):
        return {"list": [expression(each) for each in value]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return _array(np.asarray(value))
    if isinstance(value, Mapping) and hasattr(value, "items"):
        return {"object": [[_key(key), expression(each)] for key, each in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        return expression({each.name: getattr(value, each.name) for each in fields(value)})
    if hasattr(value, "_asdict"):
        return expression(value._asdict())
    try:  # such as an enum, a date or a pydantic model: serialized as the app would
        plain = codec.loads(codec.dumps(value))
    except TypeError as error:
        raise Untraceable(f"answers with {kind.__name__}: {error}") from error
    return expression(plain)


def _key(key: Any) -> str:
    if type(key) is not str:
        raise Untraceable(f"has an object with a key of type {type(key).__name__}, not text")
    return key


def _array(array: Any) -> dict[str, Any]:
    if array.size > MAX_CONSTANT_NUMBERS:
        raise Untraceable(
            f"holds an array of {array.size:,} numbers, of which a page can hold "
            f"{MAX_CONSTANT_NUMBERS:,}: make it part of a model"
        )
    data = [str(each) if array.dtype.kind in "iu" else each for each in array.ravel().tolist()]
    return {"array": {"dtype": str(array.dtype), "shape": list(array.shape), "data": data}}
