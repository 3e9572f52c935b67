"""Arguments: JSON values checked against a function's types, with bounded work and messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import SchemaValidator

from conduit_lab.core.errors import InputError
from conduit_lab.core.text import clip

MAX_PROBLEMS = 10  # per answer; it counts the others
MAX_COUNTED_BYTES = 2**18  # of a body whose problems are all counted: at most about 0.1 s of work

_MAX_LISTED = 1000  # problems that pydantic may list, at 3 µs each
_MAX_PROBLEM_CHARACTERS = 200
_CONTAINERS = frozenset({"list", "tuple", "set", "frozenset", "dict"})
# keys of a core schema whose values are no schemas
_VALUES = frozenset({"metadata", "default", "serialization", "expected", "config", "cls"})


class Arguments:
    """Converts arguments to the types in `fields`: name to (type, default or `...`)."""

    def __init__(self, function: str, fields: Mapping[str, tuple[Any, Any]]) -> None:
        self._names = list(fields)
        # under aliases: a parameter may be named like a method of BaseModel
        aliased: dict[str, Any] = {
            f"of_{name}": (kind, Field(default, alias=name))
            for name, (kind, default) in fields.items()
        }
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        self._model: type[BaseModel] = create_model(function, __config__=config, **aliased)
        schema = _failing_fast(self._model.__pydantic_core_schema__)
        # not prebuilt: inner models fail fast too
        self._fail_fast = SchemaValidator(schema, _use_prebuilt=False)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, an object."""
        return self._model.model_json_schema(by_alias=True)

    def check(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return the arguments converted, defaults filled in; `size` is the bytes of their body.

        Raises `InputError` with the first ten problems and the number of the others. In a body over
        256 KiB each list is checked up to its first problem.
        """
        if len(arguments) > len(self._names) + MAX_PROBLEMS:
            unknown = [name for name in arguments if name not in self._names]
            problems = (f"{name}: Extra inputs are not permitted" for name in unknown)
            raise InputError(_listed(problems, len(unknown)))
        try:
            checked = self._fail_fast.validate_python(arguments)
        except ValidationError as error:
            raise InputError(
                self._problems(arguments, error, counted=size <= MAX_COUNTED_BYTES)
            ) from error
        return {name: getattr(checked, f"of_{name}") for name in self._names}

    def _problems(
        self, arguments: Mapping[str, Any], first: ValidationError, *, counted: bool
    ) -> str:
        every = first
        if counted:
            try:
                self._model.__pydantic_validator__.validate_python(arguments)
            except ValidationError as error:
                every = error
        count = every.error_count()
        shown = every if count <= _MAX_LISTED else first
        if shown.error_count() > _MAX_LISTED:
            return (
                f"the body has {count:,} problems, too many to list: send fewer values to see them"
            )
        errors = shown.errors(include_url=False, include_context=False, include_input=False)
        listed = _listed(map(_problem, errors), count)
        if counted:
            return listed
        return f"{listed}; in a body this large each list is checked up to its first problem"


def _failing_fast(schema: Any) -> Any:
    """Return a copy of a core schema in which each container stops at its first wrong item."""
    if isinstance(schema, Mapping):
        inner = {
            key: value if key in _VALUES else _failing_fast(value) for key, value in schema.items()
        }
        return {**inner, "fail_fast": True} if schema.get("type") in _CONTAINERS else inner
    if isinstance(schema, list | tuple):
        return type(schema)(map(_failing_fast, schema))
    return schema


def _listed(problems: Iterable[str], count: int) -> str:
    named = [clip(problem, _MAX_PROBLEM_CHARACTERS) for problem in islice(problems, MAX_PROBLEMS)]
    more = count - len(named)
    return "; ".join(named) + (f"; and {more:,} more" if more > 0 else "")


def _problem(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
