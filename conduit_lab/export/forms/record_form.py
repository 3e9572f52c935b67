"""The forms of records: enum members, named tuples, dataclasses, attrs and pydantic objects."""

from __future__ import annotations

from enum import Enum, Flag
from typing import Any

from conduit_lab.export.forms.form import Draft, is_name
from conduit_lab.export.forms.instance import InstanceForm
from conduit_lab.export.forms.record_class import is_generated_record, is_named_tuple, record_fields
from conduit_lab.export.forms.value import ObjectForm


class MemberForm(ObjectForm):
    """An enum member is an attribute of its class."""

    aliased = False

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the attribute; combined flags become a call of their class."""
        kind = draft.find(type(value))
        if isinstance(value, Flag) and (value.name is None or "|" in value.name):
            return f"{kind}({draft.find(value.value)})"
        return f"{kind}.{value.name}" if is_name(value.name) else f"{kind}[{value.name!r}]"


class RecordForm(ObjectForm):
    """A record becomes a call of its class with its fields, provided that runs no user code.

    One that contains itself is created empty, as an instance.
    """

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the call, with an expression per field."""
        if draft.is_cyclic(value):
            return InstanceForm().expression(value, draft)
        found = record_fields(value)
        if found is None or not all(map(is_name, found)):
            raise draft.no_form(
                f"this {type(value).__name__} has state beyond its fields",
                "create it in one statement",
            )
        fields = ", ".join(f"{name}={draft.find(item, name)}" for name, item in found.items())
        return f"{draft.find(type(value))}({fields})"


def is_record(value: Any) -> bool:
    """Return whether an object's fields are enough to rebuild it completely."""
    kind = type(value)
    if isinstance(value, Enum) or not is_generated_record(kind):
        return False
    found = record_fields(value)
    if found is None:
        return False
    if getattr(value, "__pydantic_private__", None) or getattr(value, "__pydantic_extra__", None):
        return False
    held = dict(getattr(value, "__dict__", {}))
    if is_named_tuple(kind):
        return not held
    return held.keys() <= _declared(kind)


def _declared(kind: Any) -> set[str]:
    """Return the attributes that the class declares as constructor fields."""
    if (pydantic := getattr(kind, "model_fields", None)) is not None:
        return set(pydantic)
    if attributes := getattr(kind, "__attrs_attrs__", None):
        return {each.name for each in attributes if each.init}
    return {name for name, each in kind.__dataclass_fields__.items() if each.init}
