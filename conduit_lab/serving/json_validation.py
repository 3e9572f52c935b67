"""pydantic core schemas for values from JSON: exactly as strict as their JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from conduit_lab.core.errors import EndpointError

MAX_TURN_ITEMS = 2**14  # list items validated without releasing the GIL, at most about 1.5 ms
MAX_PATTERN_CHARACTERS = 100_000  # limit for strings with a pattern but no max_length

_CONTAINERS = frozenset({"list", "tuple", "set", "frozenset", "dict"})
_SEQUENCES = _CONTAINERS - {"dict"}
_SCALARS = frozenset({"int", "float", "bool"})
_TIMES = frozenset({"datetime", "date", "time", "timedelta"})
# core schema keys whose values are not schemas
_VALUES = frozenset({"metadata", "default", "serialization", "expected", "cls", "members"})
_TEXT = core_schema.str_schema(strict=True)
_STRICT: dict[type, Any] = {int: core_schema.int_schema(strict=True), str: _TEXT}


def bounded_core(schema: Any) -> Any:
    """Return a core schema whose patterns take linear time on bounded strings.

    Raises `EndpointError` for patterns of Python's `re`, which may take exponential time.
    """

    def bound(each: dict[str, Any]) -> dict[str, Any]:
        config = each.get("config") or {}
        pattern = each.get("pattern") if each.get("type") == "str" else None
        if config.get("regex_engine") == "python-re" or not isinstance(pattern, str | None):
            raise EndpointError(
                "a pattern of Python's re may take exponential time: "
                "pass it as a string, as in Field(pattern='[a-z]+'), without regex_engine"
            )
        if pattern is not None and each.get("max_length") is None:
            return {**each, "max_length": MAX_PATTERN_CHARACTERS}
        return each

    return _mapped(schema, bound)


def of_json(schema: Any) -> Any:
    """Return a core schema for JSON values that does not coerce between strings and numbers.

    Object keys are strings, so they are still converted.
    """

    def exact(each: dict[str, Any]) -> dict[str, Any]:
        kind = each.get("type")
        if kind in _SCALARS:
            return {**each, "strict": True}
        if kind in _TIMES:
            return {"type": "chain", "steps": [_TEXT, each]}
        if kind == "literal":
            return _with_guard(each, each["expected"])
        if kind == "enum":
            values = [member.value for member in each["members"]]
            return _with_guard(each, values, core_schema.literal_schema(values))
        if kind == "json-or-python":
            inner: dict[str, Any] = each["json_schema"]
            return inner
        return each

    return _mapped(schema, exact, keys=False)


def failing_fast(schema: Any) -> Any:
    """Return a core schema in which each container stops at its first invalid item."""
    return _mapped(
        schema, lambda each: {**each, "fail_fast": True} if each["type"] in _CONTAINERS else each
    )


def in_turns(schema: Any) -> Any:
    """Return a core schema whose validator regularly lets other threads run.

    A validator holds the GIL until it calls a Python function: here, one for each list, each item
    of a long list, and each value of a dict.
    """

    def turn(each: dict[str, Any]) -> dict[str, Any]:
        kind = each.get("type")
        if kind in _SEQUENCES:
            # JSON has no other sequence, and only a lax validator iterates item by item
            lax = {**each, "strict": False} if kind == "list" else each
            return dict(core_schema.no_info_before_validator_function(_in_turns, lax))
        if kind == "dict":
            values = each.get("values_schema") or core_schema.any_schema()
            values = core_schema.no_info_before_validator_function(_unchanged, values)
            return {**each, "values_schema": values}
        if kind == "union":
            return {**each, "choices": [_labelled(choice) for choice in each["choices"]]}
        return each

    return _mapped(schema, turn)


def _labelled(choice: Any) -> Any:
    """Return a union choice labelled with its container type, as shown in errors."""
    if isinstance(choice, tuple):  # already labelled
        return choice
    is_turn = choice["type"] == "function-before" and choice["function"]["function"] is _in_turns
    kind = choice["schema"]["type"] if is_turn else choice["type"]
    return (choice, kind) if kind in _CONTAINERS else choice


def _unchanged(value: Any) -> Any:
    return value


def _in_turns(value: Any) -> Any:
    """Return a long list as a generator, any other value unchanged."""
    long = type(value) is list and len(value) > MAX_TURN_ITEMS
    return (item for item in value) if long else value


def with_whole_floats(schema: Any) -> Any:
    """Return an `of_json` core schema whose integers may be written like 1.0."""

    def allow(each: dict[str, Any]) -> dict[str, Any]:
        if each.get("type") != "int":
            return each
        lax = {key: value for key, value in each.items() if key != "strict"}
        whole = {"type": "chain", "steps": [core_schema.float_schema(strict=True), lax]}
        return {"type": "union", "choices": [each, whole], "mode": "left_to_right"}

    return _mapped(schema, allow, keys=False)


def _with_guard(schema: dict[str, Any], values: list[Any], *steps: Any) -> dict[str, Any]:
    """Return a schema of listed values in which True does not match 1, nor False 0."""
    kinds = {type(getattr(value, "value", value)) for value in values}
    if int not in kinds or bool in kinds:
        return schema
    guards = [_STRICT[kind] for kind in (int, str) if kind in kinds]
    guard = guards[0] if len(guards) == 1 else core_schema.union_schema(guards)
    return {"type": "chain", "steps": [guard, *steps, schema]}


def _mapped(
    schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]], *, keys: bool = True
) -> Any:
    """Return a copy of a core schema with `change` applied to each inner schema."""
    if isinstance(schema, Mapping):
        inner = {
            key: value
            if key in _VALUES or (key == "keys_schema" and not keys)
            else _mapped(value, change, keys=keys)
            for key, value in schema.items()
        }
        return change(inner) if isinstance(schema.get("type"), str) else inner
    if isinstance(schema, list | tuple):
        return type(schema)(_mapped(each, change, keys=keys) for each in schema)
    return schema


class ArgumentsSchema(GenerateJsonSchema):
    """JSON Schema (2020-12) without generated titles; sets may repeat items."""

    def __init__(self, by_alias: bool = True) -> None:
        super().__init__(by_alias=by_alias)
        # omit a default without a JSON form
        self.ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: a title would repeat the property's name."""
        return False

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """Return the schema of an array, since repeated items are accepted."""
        return self._without_uniqueness(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """Return the schema of an array, since repeated items are accepted."""
        return self._without_uniqueness(super().frozenset_schema(schema))

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        """Return an unconstrained schema for a type without a JSON form."""
        return {}

    @staticmethod
    def _without_uniqueness(schema: JsonSchemaValue) -> JsonSchemaValue:
        return {key: value for key, value in schema.items() if key != "uniqueItems"}


def json_schema(core: Any, mode: JsonSchemaMode = "validation") -> Any:
    """Return the JSON Schema of a core schema, without its top-level title."""
    schema = ArgumentsSchema().generate(core, mode=mode)
    schema.pop("title", None)
    return schema
