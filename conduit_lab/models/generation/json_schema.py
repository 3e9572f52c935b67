"""JSON schemas: checks of their cost before compilation, and a workaround for exclusive bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from conduit_lab.core.errors import InputError

# The product of all multipleOf: each remainder is a state that llguidance's limits do not count.
_MAX_MULTIPLE_PRODUCT = 10_000
# Patterns that one string must match together; 20 took 1.6 s, 40 more than a minute.
_MAX_INTERSECTED_PATTERNS = 6
_VALUE_KEYWORDS = ("const", "enum", "default", "examples")  # their values are not schemas
_NAMED_SCHEMAS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_BOUND_SHIFT = 1e-9
_RELATIVE_BOUND_SHIFT = 1e-14  # per unit of a large bound
_MAX_SHIFTED_BOUND = 1e13  # beyond it the shift would reach neighbouring integers


def check_json_schema(schema: Mapping[str, Any]) -> None:
    """Raise `InputError` for a schema whose cost llguidance's own limits do not bound."""
    product = math.prod(map(_multiple_digits, _multiples(schema)))
    if product > _MAX_MULTIPLE_PRODUCT:
        raise InputError(
            f"json_schema expects a product of all multipleOf of at most {_MAX_MULTIPLE_PRODUCT}, "
            f"got {product:g}"
        )
    if _intersected_patterns(schema, schema, {}) > _MAX_INTERSECTED_PATTERNS:
        raise InputError(
            f"json_schema expects at most {_MAX_INTERSECTED_PATTERNS} patterns, formats and "
            "lengths for one string, got more"
        )


def narrow_bounds(schema: Any) -> Any:
    """Return a schema with integral exclusive bounds shifted inwards, off the integer.

    llguidance 1.9.1 generates the integer of an exclusive bound if the other bound has the same
    integer part, as 0 for {"exclusiveMinimum": 0, "maximum": 0.5}. Fractional bounds are correct.
    """
    if isinstance(schema, list):
        return [narrow_bounds(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: value if key in _VALUE_KEYWORDS else narrow_bounds(value)
        for key, value in schema.items()
    }
    for key in _NAMED_SCHEMAS:
        if isinstance(schema.get(key), dict):
            result[key] = {name: narrow_bounds(inner) for name, inner in schema[key].items()}
    for key, inward in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1)):
        bound = result.get(key)
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            continue
        if abs(bound) <= _MAX_SHIFTED_BOUND and bound == int(bound):
            result[key] = bound + inward * max(_BOUND_SHIFT, abs(bound) * _RELATIVE_BOUND_SHIFT)
    return result


def _multiples(schema: Any) -> Iterator[float]:
    """Yield every multipleOf of a schema."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "multipleOf" and isinstance(value, int | float):
                yield value
            else:
                yield from _multiples(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _multiples(value)


def _multiple_digits(multiple: float) -> float:
    """Return the digits of a multipleOf as an integer: 25 for 0.25."""
    digits = f"{abs(multiple):.15g}".partition("e")[0].replace(".", "").strip("0")
    return float(max(abs(multiple), int(digits or 1)))


def _intersected_patterns(schema: Any, root: Mapping[str, Any], known: dict[str, int]) -> int:
    """Return an upper bound of the patterns, formats and lengths that apply to one string.

    `known` holds the results of references already followed.
    """
    if isinstance(schema, list):
        return max((_intersected_patterns(each, root, known) for each in schema), default=0)
    if not isinstance(schema, dict):
        return 0
    if schema is not root and isinstance(schema.get("$id"), str):
        raise InputError("json_schema expects references within itself, got a nested $id")
    here = sum(key in schema for key in ("pattern", "format", "minLength", "maxLength"))
    combined = schema.get("allOf")
    if isinstance(combined, list):
        here += sum(_intersected_patterns(each, root, known) for each in combined)
    here += sum(_intersected_patterns(schema.get(key), root, known) for key in ("anyOf", "oneOf"))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference not in known:
            known[reference] = 0  # a cycle adds nothing
            known[reference] = _intersected_patterns(_resolve(reference, root), root, known)
        here += known[reference]
    others = (
        value
        for key, value in schema.items()
        if key not in ("allOf", "anyOf", "oneOf", "enum", "const")
    )
    return max(here, max((_intersected_patterns(each, root, known) for each in others), default=0))


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """Return the part of a schema that a JSON pointer names; `InputError` for any other."""
    part: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list) and name.isdecimal() and len(name) < 6:
            part = dict(enumerate(part)).get(int(name))
        else:
            part = part.get(name) if isinstance(part, dict) else None
    local = reference.startswith("#") and isinstance(part, dict | bool)
    if not local or (part is root and reference != "#"):
        raise InputError(
            "json_schema expects references to its own parts, such as '#/$defs/name', "
            f"got {reference[:100]!r}"
        )
    return part
