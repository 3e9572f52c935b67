"""Arguments: validation against a function's types, with bounded work and message size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from conduit_lab.serving.plain_arguments import PlainArguments, is_plain


class Arguments(Protocol):
    """Converts the arguments of one function to the types of its parameters."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, of type object."""

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return Python arguments converted, with defaults filled in.

        Raises `InputError` with the first ten problems and the number of further ones.
        """

    def check_json(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return JSON arguments converted; `size` is the number of bytes in their body.

        A value is valid if it validates against `schema()`. In a body over 256 KiB each list is
        checked up to its first problem.
        """


def arguments_of(function: str, fields: Mapping[str, tuple[Any, Any]]) -> Arguments:
    """Return the validator for these `fields`: name to (type, default or `...`).

    pydantic is loaded only for types other than arrays and Any. Raises `EndpointError` for a type
    that cannot be validated in bounded time.
    """
    if all(is_plain(kind) for kind, _ in fields.values()):
        return PlainArguments(fields)
    from conduit_lab.serving.typed_arguments import TypedArguments

    return TypedArguments(function, fields)
