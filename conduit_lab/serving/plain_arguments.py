"""PlainArguments: untyped and array parameters, validated without pydantic."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

from conduit_lab.core.errors import InputError
from conduit_lab.serving import codec
from conduit_lab.serving.argument_problems import extra, listed, missing
from conduit_lab.serving.array_shape import array_type


def is_plain(kind: Any) -> bool:
    """Return whether a parameter type is Any or an array."""
    return kind is Any or array_type(kind) is not None


class PlainArguments:
    """Accepts any value for an untyped parameter, and converts arrays.

    Equivalent to `TypedArguments` for `fields` that are all plain.
    """

    def __init__(self, fields: Mapping[str, tuple[Any, Any]]) -> None:
        self._arrays = {name: array_type(kind) for name, (kind, _) in fields.items()}
        self._defaults = {name: value for name, (_, value) in fields.items() if value is not ...}

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, of type object."""
        properties = {
            name: {
                **_json_default(self._defaults, name),
                **({} if array is None else array.schema()),
            }
            for name, array in self._arrays.items()
        }
        required = [name for name in self._arrays if name not in self._defaults]
        schema = {"additionalProperties": False, "properties": properties, "type": "object"}
        return {**schema, "required": required} if required else schema

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return Python arguments converted, with defaults filled in."""
        return self.check_json(arguments)

    def check_json(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return JSON arguments converted, with defaults filled in."""
        checked: dict[str, Any] = {}
        problems: list[str] = []
        left = len(arguments)
        for name, array in self._arrays.items():
            if name in arguments:
                left -= 1
                value = arguments[name]
                if array is not None:
                    try:
                        value = array.convert(value)
                    except InputError as error:
                        problems.append(f"{name}: {error}")
                checked[name] = value
            elif name in self._defaults:
                checked[name] = _own(self._defaults[name])
            else:
                problems.append(missing(name))
        if problems or left:
            unknown = (extra(name) for name in arguments if name not in self._arrays)
            raise InputError(listed(chain(problems, unknown), len(problems) + left))
        return checked


def _own(default: Any) -> Any:
    """Return a default for one call; copy a mutable one, so calls do not share it."""
    return default if default.__hash__ is not None else copy.deepcopy(default)


def _json_default(defaults: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the default's entry in a JSON Schema; empty if it has no JSON form."""
    if name not in defaults:
        return {}
    try:
        return {"default": codec.loads(codec.dumps(defaults[name]))}
    except TypeError:
        return {}
