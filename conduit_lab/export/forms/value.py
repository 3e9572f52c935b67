"""The forms of values: the user's own statement, a snapshot, or a data file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from conduit_lab.export.forms.evaluation import evaluated
from conduit_lab.export.forms.form import Draft, Form, NoForm
from conduit_lab.export.forms.likeness import Likeness
from conduit_lab.export.literals import is_literal, literal, same_literal
from conduit_lab.export.namespace import Namespace, is_notebook_only
from conduit_lab.export.statement import Statement

MAX_INLINE_CHARACTERS = 4096

_EMPTY: dict[type, str] = {list: "[]", dict: "{}", set: ""}  # an empty set has no literal
_SNAPSHOT = "  # snapshot of its value at the export"


class ObjectForm(Form):
    """An object becomes the user's own statement if that recreates it, else its form's expression.

    Without an expression, the session's own statement is repeated.
    """

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the user's own statement, a snapshot, or the statement that created the object."""
        draft.check_secret(draft.name, value)
        place = draft.place(value) if self.is_aliased(value) else None
        if place is not None:
            return f"{draft.name} = {place}"
        own = draft.own
        if own is not None and still_gives(own, value, draft):
            return draft.repeat(own)
        try:
            expression = draft.composed(value, self.expression)
        except NoForm as reason:
            source = repeat_assignment(value, draft, reason)
            names = [str(getattr(each, "__name__", "")) for each in _parts(value)]
            _fill(draft, draft.namespace.filling(draft.name, names))
            return source
        filling = draft.namespace.filling(draft.name, draft.needs)
        if filling:  # the decorators of its items fill it again
            filled = {name for statement in filling for name in statement.bound_names}
            draft.needs[:] = [name for name in draft.needs if name not in filled]
            draft.before.clear()
            source = repeat_assignment(value, draft)
            _fill(draft, filling)
            return source
        if own is not None and not draft.before and own.gives(draft.name, expression):
            return own.text
        return self.bound(expression, draft)

    def bound(self, expression: str, draft: Draft) -> str:
        """Return the statements that bind the expression, marked as a snapshot."""
        lines = [*draft.before]
        if expression != draft.name:
            lines.append(f"{draft.name} = {expression}")
        return "\n".join(lines) + ("" if draft.has_file else _SNAPSHOT)


class ExpressionForm(ObjectForm):
    """An object composed of others: written as its expression, or else like any object."""

    def bound(self, expression: str, draft: Draft) -> str:
        """Return the statement; it is no snapshot, as it refers to live objects."""
        return "\n".join([*draft.before, f"{draft.name} = {expression}"])


class ContainerForm(ObjectForm):
    """A list, dict or set is written with its current items, one expression each."""

    exact = True
    named = False

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether it was imported and is not a literal."""
        return not is_literal(value) and super().is_imported(name, value, namespace)

    def expression(self, value: Any, draft: Draft) -> str:
        """Return a literal, a call that loads it from a file, or an expression per item."""
        if draft.is_cyclic(value) and type(value) in _EMPTY:
            empty = _EMPTY[type(value)] or f"{draft.imported('builtins', 'set')}()"
            name = draft.add_part(value, empty)
            fill = "extend" if isinstance(value, list) else "update"
            draft.before.append(f"{name}.{fill}({self._items(value, draft)})")
            return name
        if is_literal(value) and _is_tree(value, draft):
            return _literal_or_file(value, draft)
        return self._items(value, draft)

    def _items(self, value: Any, draft: Draft) -> str:
        if isinstance(value, dict):
            pairs = (
                f"{draft.find(key)}: {draft.find(item, key if isinstance(key, str) else '')}"
                for key, item in value.items()
            )
            return f"{{{', '.join(pairs)}}}"
        items = ", ".join(draft.find(item) for item in value)
        if isinstance(value, list):
            return f"[{items}]"
        if isinstance(value, tuple):
            return f"({items},)" if len(value) == 1 else f"({items})"
        return f"frozenset({{{items}}})" if isinstance(value, frozenset) else f"{{{items}}}"


class ShellOutputForm(ContainerForm):
    """The output lines of `!cmd` become a plain list."""

    def expression(self, value: Any, draft: Draft) -> str:
        """Return the lines; `check_source` refuses uses of IPython's own attributes."""
        return super().expression(list(value), draft)


class ConstantForm(ContainerForm):
    """An immutable value: two names of it may become two values."""

    aliased = False

    def is_aliased(self, value: Any) -> bool:
        """Return whether it is a NaN, which a list contains only if it holds this very object."""
        return bool(value != value) and _public_nan(value) is None

    def expression(self, value: Any, draft: Draft) -> str:
        """Return its literal; infinities and NaN are created from their names."""
        if isinstance(value, float) and not math.isfinite(value):
            if (module := _public_nan(value)) is not None:
                return draft.imported(module, "nan")
            return f'{draft.imported("builtins", "float")}("{value}")'
        if value is NotImplemented:
            return "NotImplemented"
        if isinstance(value, str) and draft.is_part and len(value) <= MAX_INLINE_CHARACTERS:
            return literal(value)
        return super().expression(value, draft)


def _public_nan(value: Any) -> str | None:
    """Return the module whose `nan` is this very object, or None."""
    return next((each.__name__ for each in (np, math) if value is each.nan), None)


def still_gives(statement: Statement, value: Any, draft: Draft) -> bool:
    """Return whether a session statement, evaluated now, still assigns exactly this value.

    Only expressions without side effects are evaluated.
    """
    node, name = statement.assigned, draft.name
    if node is None or not statement.binds_only(name) or statement.builds_on(name):
        return False
    if any(is_notebook_only(draft.namespace.names.get(each)) for each in statement.free_names):
        return False  # the notebook's value can become a snapshot
    try:
        made = evaluated(node, draft.namespace.names)
    except Exception:  # it may have side effects, or no longer works
        return False
    return Likeness(draft.places).same(made, value)


def repeat_assignment(value: Any, draft: Draft, reason: NoForm | None = None) -> str:
    """Return the statement that created a live object, to be repeated in the export.

    `reason` says why no expression creates it.
    """
    statement = draft.namespace.statements.maker(draft.name)
    if statement is None or statement.awaits:
        raise draft.refusal(
            f"a live {type(value).__name__} has no file form",
            f"create {draft.name} in a separate statement, or {draft.resource_mend}",
        ) from reason
    for part in _parts(value):
        for path in draft.form_of(part).files(part):
            draft.assets.add_named(path, draft.shown_chain)
    return draft.remake(statement)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()


def _fill(draft: Draft, filling: Iterable[Statement]) -> None:
    """Let the definitions whose decorators fill the object follow it."""
    draft.follows = sorted({*draft.follows, *filling}, key=lambda each: each.order)


def _is_tree(value: Any, draft: Draft) -> bool:
    """Return whether no mutable part of a literal is shared with another object."""
    met: dict[int, Any] = {}
    pending = list(value.values()) if isinstance(value, dict) else _items(value)
    while pending:
        part = pending.pop()
        if isinstance(part, list | dict | set):
            if id(part) in met or draft.is_elsewhere(part):
                return False
            met[id(part)] = part
        pending += part.values() if isinstance(part, dict) else _items(part)
    draft.meet(met)
    return True


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _literal_or_file(value: Any, draft: Draft) -> str:
    """Return a literal, or for a long one the expression that loads it from a data file."""
    text = repr(value)
    if len(text) <= MAX_INLINE_CHARACTERS:
        return text
    as_json = _json(value)
    suffix, call = (
        (".txt", draft.imported("ast", "literal_eval"))
        if as_json is None
        else (".json", draft.imported("json", "loads"))
    )
    content = text if as_json is None else as_json
    place = draft.data_file(suffix, lambda path: path.write_text(content, "utf-8"))
    return f'{call}(({place}).read_text("utf-8"))'


def _json(value: Any) -> str | None:
    """Return a literal as JSON, or None if JSON would change it."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return None
    return text if same_literal(json.loads(text), value) else None
