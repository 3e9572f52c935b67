"""Sample code that calls an endpoint, generated from its signature."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from conduit_lab.serving.pydantic_models import is_model_type

if TYPE_CHECKING:
    from pydantic import BaseModel

    from conduit_lab.serving.endpoint import Endpoint

_SAMPLES = {str: '"…"', int: "1", float: "1.0", bool: "True", bytes: 'b"…"', type(None): "None"}
_MAX_DEPTH = 3  # of nested models


def call_code(endpoint: Endpoint[..., Any], name: str = "") -> str:
    """Return sample code that calls `endpoint`, such as `ask("…")`; `name` replaces its name.

    Only required arguments are given: a sample of their type, or `{...}` for a body to fill in.
    """
    signature = endpoint.signature
    names = signature.required
    if not names and signature.request is not None:
        arguments = ["{...}"]
    else:
        samples = {each: _sample(endpoint, each) for each in names}
        alone = len(samples) == 1
        arguments = [text if alone else f"{each}={text}" for each, text in samples.items()]
    call = f"{name or code_name(endpoint)}({', '.join(arguments)})"
    return f"await {call}" if endpoint.is_async else call


def code_name(endpoint: Endpoint[..., Any], app: str = "lab") -> str:
    """Return the name its `def` binds, else the code to look it up in `app`."""
    named = endpoint.is_bound and endpoint.name.isidentifier()
    return endpoint.name if named else f'{app}.endpoints["{endpoint.path}"]'


def _sample(endpoint: Endpoint[..., Any], name: str) -> str:
    kind = endpoint.signature.types.get(name, Any)
    if kind is Any and endpoint.signature.whole == name:
        return "{...}"
    return sample_code(kind)


def sample_code(kind: Any, depth: int = 0) -> str:
    """Return a sample value of a type as code, with an ellipsis for parts to fill in."""
    if kind in _SAMPLES:
        return _SAMPLES[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return sample_code(parts[0], depth)
    if origin is Literal:
        return repr(parts[0])
    if origin in (Union, types.UnionType):
        return sample_code(parts[0], depth)
    kind = origin or kind
    if not isinstance(kind, type):
        return "..."
    if issubclass(kind, Enum):
        return repr(next(iter(kind)).value)
    if is_model_type(kind):
        return _model(kind, depth)
    if issubclass(kind, Mapping):
        return "{...}"
    if issubclass(kind, Sequence | set | frozenset):
        return f"[{sample_code(parts[0], depth) if parts and parts[0] is str else '...'}]"
    return "..."


def _model(kind: type[BaseModel], depth: int) -> str:
    if depth == _MAX_DEPTH:
        return "{...}"
    fields = {
        field.alias or name: sample_code(field.annotation, depth + 1)
        for name, field in kind.model_fields.items()
        if field.is_required()
    }
    inner = ", ".join(f'"{name}": {text}' for name, text in fields.items())
    return f"{{{inner}}}"
