"""Record classes: classes whose generated constructors take exactly their fields."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from typing import Any, cast

_GENERATED = ("<string>", "<attrs generated")


def record_fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a record keyed by constructor argument; None for any other object."""
    kind = type(value)
    if is_named_tuple(kind):
        return dict(zip(kind._fields, value, strict=True))
    if is_dataclass(kind):
        return {
            each.name: getattr(value, each.name) for each in fields(cast("Any", value)) if each.init
        }
    if attributes := getattr(kind, "__attrs_attrs__", None):
        return {each.alias: getattr(value, each.name) for each in attributes if each.init}
    if is_pydantic(kind):
        given = [name for name in kind.model_fields if name in value.model_fields_set]
        return {_alias(kind, name): getattr(value, name) for name in given}
    return None


def is_named_tuple(kind: type) -> bool:
    """Return whether a class was created by `namedtuple` or `NamedTuple`."""
    names = getattr(kind, "_fields", None)
    return issubclass(kind, tuple) and isinstance(names, tuple)


def is_pydantic(kind: type) -> bool:
    """Return whether a class is a pydantic model; pydantic is not imported."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and issubclass(kind, base)


def is_generated_record(kind: Any) -> bool:
    """Return whether instantiating a class runs only generated code, none of the user's."""
    if is_named_tuple(kind):
        return _is_generated(kind.__new__)
    if is_pydantic(kind):
        return _is_plain_pydantic(kind)
    if not (is_dataclass(kind) or hasattr(kind, "__attrs_attrs__")):
        return False
    hooks = ("__post_init__", "__attrs_post_init__", "__attrs_pre_init__")
    if any(hasattr(kind, hook) for hook in hooks) or kind.__new__ is not object.__new__:
        return False
    return _is_generated(kind.__init__)


def _is_plain_pydantic(kind: Any) -> bool:
    found = kind.__pydantic_decorators__
    kinds = ("validators", "field_validators", "root_validators", "model_validators")
    return not any(getattr(found, each) for each in kinds) and kind.__pydantic_post_init__ is None


def _is_generated(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and (
        code.co_filename.startswith(_GENERATED) or "namedtuple" in code.co_filename
    )


def _alias(kind: Any, name: str) -> str:
    found = kind.model_fields.get(name)
    by_name = kind.model_config.get("populate_by_name") or kind.model_config.get("validate_by_name")
    alias = None if found is None or by_name else found.validation_alias or found.alias
    return alias if isinstance(alias, str) else name
