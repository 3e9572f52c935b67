"""The forms of values: a literal, a data file, or the statement that made the object."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.export.forms.form import Draft, Form
from conduit_lab.export.literals import is_literal, same_literal
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.secret import looks_secret
from conduit_lab.export.statement import Statement

MAX_INLINE_CHARACTERS = 4096


class ObjectForm(Form):
    """Any other object is made by the session's own statement, run again."""

    def statement(self, value: Any, draft: Draft) -> str:
        """Repeat the statement that made the object."""
        check_secret(draft.name, value, draft)
        return repeat_assignment(value, draft)


class ExpressionForm(ObjectForm):
    """An object that is made of others: by its expression, or where it has none as any object."""

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the user's own statement where it says the same, or no expression does."""
        expression, own = self.expression(value, draft), draft.own
        if expression is None:
            return super().statement(value, draft)
        same = own is not None and own.gives(draft.name, expression)
        return own.text if own is not None and same else f"{draft.name} = {expression}"


class ContainerForm(ObjectForm):
    """A list, dict or set of literals is written as it is now; any other is made again."""

    exact = True

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether it came by an import and is no literal."""
        return not is_literal(value) and super().is_imported(name, value, namespace)

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the user's own literal where it still holds, else a snapshot or a JSON file."""
        check_secret(draft.name, value, draft)
        if not is_literal(value):
            return super().statement(value, draft)
        if draft.own is not None and _still_gives(draft.own, draft.name, value):
            return draft.repeat(draft.own)
        text = repr(value)
        if len(text) <= MAX_INLINE_CHARACTERS:
            return f"{draft.name} = {text}  # snapshot of its value at the export"
        return f"{draft.name} = {_json_file(value, draft)}"


class ConstantForm(ContainerForm):
    """An immutable value: two names of it are two values."""

    aliased = False


class ArrayForm(Form):
    """An array becomes an `.npy` file; a subclass, such as a masked array, would lose its rest."""

    exact = True

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the call that reads the file."""
        if value.dtype.hasobject:
            raise _no_file_form(draft, "use an array of numbers or text")
        draft.packages.add("import numpy", "numpy")
        place = draft.assets.add_value(draft.name, ".npy", lambda path: _save_array(path, value))
        return f'{draft.name} = numpy.load(HERE / "{place}")'


def check_secret(name: str, value: Any, draft: Draft) -> None:
    """Refuse a value that looks like a secret."""
    if looks_secret(name, value):
        raise draft.refusal(
            f"{name} looks like a secret", "read it with os.environ[...] inside the function"
        )


def repeat_assignment(value: Any, draft: Draft) -> str:
    """Return the statement that made a live object, to be run again in the export."""
    statement = draft.namespace.statements.maker(draft.name)
    if statement is None or statement.awaits:
        raise draft.refusal(
            f"a live {type(value).__name__} has no file form",
            f"make {draft.name} in one statement of its own, or inside the function that uses it",
        )
    for part in _parts(value):
        for path in draft.form_of(part).files(part):
            draft.assets.add_named(path, draft.shown_chain)
    return draft.remake(statement)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()


def _still_gives(statement: Statement, name: str, value: Any) -> bool:
    """Return whether the statement assigns exactly this literal."""
    if statement.assigned is None or not statement.binds_only(name):
        return False
    try:
        return same_literal(ast.literal_eval(statement.assigned), value)
    except ValueError:
        return False


def _json_file(value: Any, draft: Draft) -> str:
    """Return the expression that reads a long literal from a JSON file, unless JSON changes it."""
    mend = "use lists, and dicts with text as keys"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        raise _no_file_form(draft, mend) from None
    if not same_literal(json.loads(text), value):
        raise _no_file_form(draft, mend)
    draft.packages.add("import json", "json")
    place = draft.assets.add_value(draft.name, ".json", lambda path: path.write_text(text, "utf-8"))
    return f'json.loads((HERE / "{place}").read_text("utf-8"))'


def _save_array(path: Path, array: Any) -> None:
    np.save(path, array, allow_pickle=False)


def _no_file_form(draft: Draft, mend: str) -> Exception:
    return draft.refusal(f"{draft.name} has no file form without pickle", mend)
