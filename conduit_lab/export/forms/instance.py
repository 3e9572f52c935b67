"""The form of instances of the project's own classes: created empty, then given attributes."""

from __future__ import annotations

import copyreg
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from conduit_lab.export.forms.form import Draft, is_name
from conduit_lab.export.forms.value import ObjectForm

_HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__", "__getattribute__")


class InstanceForm(ObjectForm):
    """An instance is written with its current attributes and items.

    Its `__init__` does not run: it may have read a file, counted or printed. Classes that customize
    copying, or that a library created, are rebuilt by the session's statement.
    """

    def expression(self, value: Any, draft: Draft) -> str:
        """Return a name of the instance, which the preceding statements create."""
        kind = type(value)
        if not all(_is_of_project(base, draft) for base in _own_bases(kind)) or not _is_plain(kind):
            raise draft.no_form(
                f"{draft.name} holds a {kind.__name__}, which cannot be written as an expression",
                "create it in a separate statement",
            )
        made = value.__reduce_ex__(4)
        call, arguments, state, items, pairs = (*made, None, None, None)[:5]
        if call is not copyreg.__newobj__:  # type: ignore[attr-defined]
            raise draft.nameless(value)
        own = draft.find(kind)
        new = ", ".join([own, *(draft.find(each) for each in arguments[1:])])
        name = draft.add_part(value, f"{own}.__new__({new})")
        if _has_record_state(kind):
            state = None, {each.name: getattr(value, each.name) for each in fields(value)}
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        if items is not None:
            base = draft.imported("builtins", "list")
            draft.before.append(f"{base}.extend({name}, {draft.find(list(items))})")
        if pairs is not None:
            base = draft.imported("builtins", "dict")
            draft.before.append(f"{base}.update({name}, {draft.find(dict(pairs))})")
        if attributes:
            shown = ", ".join(_pairs(attributes, draft))
            draft.before.append(f"vars({name}).update({shown})")
        plain: Any = object
        for each, part in (slots or {}).items():
            line = f"{name}.{each} = {draft.find(part, each)}"
            if kind.__setattr__ is not plain.__setattr__:  # it may refuse, or count
                base = draft.imported("builtins", "object")
                line = f"{base}.__setattr__({name}, {each!r}, {draft.find(part, each)})"
            draft.before.append(line)
        return name


def _is_of_project(kind: type, draft: Draft) -> bool:
    """Return whether a class belongs to the session or to a module of its project."""
    if kind.__module__ == draft.namespace.names.get("__name__"):
        return True
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return isinstance(file, str) and draft.packages.is_own(Path(file))


def _own_bases(kind: type) -> list[type]:
    """Return a class and its bases, excluding builtins; a library's base may need its own setup."""
    known = sys.stdlib_module_names - {"__main__"}
    bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in known]
    return bases if kind in bases else [kind, *bases]


def _is_plain(kind: type) -> bool:
    """Return whether instances of a class use the default copy protocol."""
    base = _builtin_base(kind)
    own = [hook for hook in _HOOKS if getattr(kind, hook, None) is not getattr(base, hook, None)]
    return not own or (own == ["__getstate__"] and _has_record_state(kind))


def _has_record_state(kind: Any) -> bool:
    """Return whether a class has the `__getstate__` of frozen dataclasses with slots."""
    hook = getattr(kind, "__getstate__", None)
    return is_dataclass(kind) and getattr(hook, "__module__", "") == "dataclasses"


def _builtin_base(kind: type) -> type:
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")


def _pairs(attributes: dict[str, Any], draft: Draft) -> list[str]:
    if all(map(is_name, attributes)):
        return [f"{key}={draft.find(part, key)}" for key, part in attributes.items()]
    pairs = (f"{key!r}: {draft.find(part, key)}" for key, part in attributes.items())
    return [f"{{{', '.join(pairs)}}}"]
