"""TypedArguments: validation by pydantic against a function's types, with bounded work."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    PydanticUserError,
    ValidationError,
    create_model,
)
from pydantic_core import SchemaError, SchemaValidator

from conduit_lab.core.errors import EndpointError, InputError
from conduit_lab.serving.argument_problems import MAX_PROBLEMS, extra, listed, problem
from conduit_lab.serving.checkable import checkable
from conduit_lab.serving.json_validation import (
    bounded_core,
    failing_fast,
    in_turns,
    json_schema,
    of_json,
    with_whole_floats,
)

# a body up to this size is validated in one call with all problems counted: about 0.1 s at most
MAX_COUNTED_BYTES = 2**18

_MAX_LISTED = 1000  # problems listed by pydantic, at 3 µs each


class TypedArguments:
    """Converts arguments to the types in `fields`: name to (type, default or `...`).

    Raises `EndpointError` for types that cannot be validated in bounded time.
    """

    def __init__(self, function: str, fields: Mapping[str, tuple[Any, Any]]) -> None:
        self._names = list(fields)
        # aliased, since a parameter may be named like a method of BaseModel
        aliased: dict[str, Any] = {
            f"of_{name}": (checkable(kind), Field(default, alias=name))
            for name, (kind, default) in fields.items()
        }
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        try:
            model: type[BaseModel] = create_model(function, __config__=config, **aliased)
            core = bounded_core(model.__pydantic_core_schema__)
            json_core = of_json(core)
            self._here = _Validators(core)
            self._there = _Validators(json_core)
        except (PydanticUserError, PydanticSchemaGenerationError, SchemaError) as error:
            reason = str(error).partition("\n")[0]
            raise EndpointError(
                f"{function} has a type that cannot be validated: {reason}"
            ) from error
        self._core, self._json_core = core, json_core

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, of type object."""
        schema: dict[str, Any] = json_schema(self._core)
        return schema

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return Python arguments converted, with defaults filled in.

        Raises `InputError` with the first ten problems and the number of further ones.
        """
        return self._checked(arguments, self._here, 0)

    def check_json(self, arguments: Mapping[str, Any], size: int = 0) -> dict[str, Any]:
        """Return JSON arguments converted; `size` is the number of bytes in their body.

        A value is valid if it validates against `schema()`. In a body over 256 KiB each list is
        checked up to its first problem, and other threads can run meanwhile.
        """
        return self._checked(arguments, self._there, size)

    def _checked(
        self, arguments: Mapping[str, Any], validators: _Validators, size: int
    ) -> dict[str, Any]:
        if len(arguments) > len(self._names) + MAX_PROBLEMS:
            unknown = [name for name in arguments if name not in self._names]
            raise InputError(listed(map(extra, unknown), len(unknown)))
        fail_fast = validators.fail_fast if size <= MAX_COUNTED_BYTES else self._in_turns
        try:
            checked = fail_fast.validate_python(arguments)
        except ValidationError as error:
            checked = self._with_whole_floats(arguments, validators, error)
            if checked is None:
                counted = size <= MAX_COUNTED_BYTES
                raise InputError(
                    _problems(arguments, error, validators.all_problems if counted else None)
                ) from error
        return {name: getattr(checked, f"of_{name}") for name in self._names}

    @functools.cached_property
    def _in_turns(self) -> SchemaValidator:
        return SchemaValidator(failing_fast(in_turns(self._json_core)), _use_prebuilt=False)

    @functools.cached_property
    def _whole_floats(self) -> SchemaValidator:
        lenient = with_whole_floats(in_turns(self._json_core))
        return SchemaValidator(failing_fast(lenient), _use_prebuilt=False)

    def _with_whole_floats(
        self, arguments: Mapping[str, Any], validators: _Validators, error: ValidationError
    ) -> Any:
        """Validate again with 1.0 accepted as an integer; return None for other errors.

        JSON Schema accepts it, while pydantic's strict integer validator does not.
        """
        known = validators is self._there and error.error_count() <= _MAX_LISTED
        if not known or not any(
            each["type"] == "int_type" and isinstance(each["input"], float)
            for each in error.errors(include_url=False, include_context=False)
        ):
            return None
        try:
            return self._whole_floats.validate_python(arguments)
        except ValidationError:
            return None


class _Validators:
    """The validators of one core schema: one fails fast, one finds every problem."""

    def __init__(self, core: Any) -> None:
        # not prebuilt, since inner models change too
        self.fail_fast = SchemaValidator(failing_fast(core), _use_prebuilt=False)
        self.all_problems = SchemaValidator(core, _use_prebuilt=False)


def _problems(
    arguments: Mapping[str, Any], first: ValidationError, all_problems: SchemaValidator | None
) -> str:
    every = first
    if all_problems is not None:
        try:
            all_problems.validate_python(arguments)
        except ValidationError as error:
            every = error
    count = every.error_count()
    shown = every if count <= _MAX_LISTED else first
    if shown.error_count() > _MAX_LISTED:
        return f"the body has {count:,} problems, too many to list: send fewer values to see them"
    problems = listed(map(problem, shown.errors(include_url=False)), count)
    if all_problems is not None:
        return problems
    return f"{problems}; in a body this large each list is checked up to its first problem"
