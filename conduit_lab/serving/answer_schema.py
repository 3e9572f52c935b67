"""JSON Schema of an endpoint's answer, derived from its return type."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.checkable import checkable
from conduit_lab.serving.json_validation import json_schema

_STREAMS = (Iterator, AsyncIterator, Stream)


def answer_schema(hint: Any) -> dict[str, Any] | None:
    """Return the JSON Schema of a return type; for an iterator or stream, that of an item.

    None if the type is unconstrained or has no JSON Schema.
    """
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, _STREAMS):
        hint = next(iter(get_args(hint)), Any)
    if not _says_something(hint):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(checkable(hint))
        schema: dict[str, Any] = json_schema(adapter.core_schema, "serialization")
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError):
        return None
    return schema or None


def _says_something(hint: Any) -> bool:
    """Return whether the type constrains the answer at all."""
    if hint is Any or hint is object:
        return False
    if get_origin(hint) in (Union, types.UnionType):
        return all(map(_says_something, get_args(hint)))
    return True
