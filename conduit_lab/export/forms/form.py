"""Form: how to write the live objects of one family. Draft: one piece of source in progress."""

from __future__ import annotations

import ast
import importlib
import keyword
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.export.assets import Assets
from conduit_lab.export.forms.places import ObjectPlaces
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.packages import Packages
from conduit_lab.export.refusal import Refusal
from conduit_lab.export.secret import looks_secret
from conduit_lab.export.statement import Statement

_MAX_HELD = 10_000  # objects below a named one that are searched for a cycle
MAX_LEVELS = 50  # nesting of expressions; Python's own parser stops at about 200

Chain = tuple[str, ...]

# modules imported under their conventional names; from others the object itself is imported
_MODULE_NAMES = {
    "ast": "ast",
    "json": "json",
    "logging": "logging",
    "numpy": "np",
    "pandas": "pd",
    "random": "random",
    "re": "re",
}


class NoForm(Refusal):
    """No expression creates the object; the message says why, and what to do."""


class Form:
    """How to write live objects of some types: their source, dependencies and files, or a refusal.

    Subclasses implement `expression` for objects that a single expression creates, and `statement`
    otherwise. Both receive a `Draft`, through which they request names, imports and files, or
    refuse.
    """

    exact = False  # whether subclasses need a form of their own
    aliased = True  # whether two names of one object must stay aliases, see `is_aliased`
    named = True  # whether other objects refer to it by its name in the session

    def is_aliased(self, value: Any) -> bool:
        """Return whether two names of this object must stay aliases."""
        return self.aliased

    def key(self, value: Any) -> str:
        """Return a key under which the object is written only once; empty for ordinary objects."""
        return ""

    def binds(self, name: str, value: Any, namespace: Namespace) -> Sequence[str]:
        """Return the names that the statement binds."""
        return (name,)

    def first_name(self, name: str, value: Any, namespace: Namespace) -> str:
        """Return the name that the statement binds, given one of the object's names."""
        return namespace.origin(name)

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether the object was imported, and is to be imported again."""
        statement = namespace.statements.newest(name)
        return statement is not None and statement.is_import

    def files(self, value: Any) -> Sequence[Path]:
        """Return the files that a user's own statement reads to create such an object."""
        return ()

    def expression(self, value: Any, draft: Draft) -> str:
        """Return an expression that creates the object; raise `NoForm` if it needs its own name."""
        raise draft.nameless(value)

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the statement that binds the object to `draft.name`; empty for an import."""
        return f"{draft.name} = {self.expression(value, draft)}"


@dataclass
class Draft:
    """One piece of source in progress: its context, and the names it depends on.

    `chain` lists the names that lead to it, from the endpoint to `name`, and `places` the objects
    that earlier pieces hold. `before` are the statements to put in front of its own.
    """

    name: str
    chain: Chain
    namespace: Namespace
    assets: Assets
    packages: Packages
    warnings: list[str]
    form_of: Callable[[Any], Form]
    places: ObjectPlaces = field(default_factory=ObjectPlaces)
    needs: list[str] = field(default_factory=list)
    follows: list[Statement] = field(default_factory=list)  # statements that run after it
    before: list[str] = field(default_factory=list)
    _data: list[str] = field(default_factory=list)  # paths of its data files
    _composing: bool = False
    _labels: list[str] = field(default_factory=list)
    _open: list[int] = field(default_factory=list)  # objects whose expressions are in progress
    _met: dict[int, Any] = field(default_factory=dict)
    _shared: set[int] = field(default_factory=set)  # objects that occur more than once
    _cyclic: set[int] = field(default_factory=set)  # objects that contain themselves
    _needed: ObjectPlaces = field(default_factory=ObjectPlaces)  # in earlier pieces
    _parts: dict[int, str] = field(default_factory=dict)  # names of parts already written

    @property
    def shown_chain(self) -> str:
        """The chain as shown in errors."""
        return shown(self.chain)

    @property
    def own(self) -> Statement | None:
        """The session's last statement that bound the name, or None."""
        return self.namespace.statements.newest(self.name)

    @property
    def has_file(self) -> bool:
        """Whether the piece reads a data file."""
        return bool(self._data)

    @property
    def is_part(self) -> bool:
        """Whether the current expression belongs to a part of the object."""
        return len(self._open) > 1

    def find(self, value: Any, label: str = "") -> str:
        """Return an expression for another object: a name that holds it, or else one from its form.

        `label` is the key or attribute that holds the object. Raises `NoForm` for an object that
        has neither a name nor an expression.
        """
        form = self.form_of(value)
        self.check_secret(label or self.name, value)
        if not form.is_aliased(value):
            return self._expression(value, form, label)
        name = self._parts.get(id(value))
        if name is not None:
            return name
        if id(value) in self._open:
            if self._composing and not self.is_cyclic(value):
                self._cyclic.add(id(value))
                raise _Again
            raise self.no_form(f"{self.name} contains itself", "store a key or a name instead")
        if (place := self.place(value)) is not None:
            return place
        is_named = form.named and self.namespace.name_of(value) is not None
        is_in_cycle = is_named and self._holds_open(value)
        if is_named and not is_in_cycle:
            return str(self.named(value))
        if id(value) in self._met:
            self._shared.add(id(value))
        self._met[id(value)] = value
        expression = self._expression(value, form, label)
        if id(value) in self._parts:
            return expression
        if id(value) in self._shared or is_in_cycle:
            return self.add_part(value, expression)
        return expression

    def is_cyclic(self, value: Any) -> bool:
        """Return whether an object contains itself, so that it must be created empty."""
        return id(value) in self._cyclic

    def _holds_open(self, value: Any) -> bool:
        """Return whether an object contains one whose expression is in progress.

        Its own piece would need that of the other, and the other way round.
        """
        pending, seen = [value], set[int]()
        while pending and len(seen) < _MAX_HELD:
            each = pending.pop()
            if id(each) in self._open:
                return True
            if id(each) not in seen:
                seen.add(id(each))
                pending += each if type(each) is set else ()
                pending += (part for _, part in self.places.parts(each))
        return False

    def is_elsewhere(self, value: Any) -> bool:
        """Return whether an object has a place, or belongs to another part of this one."""
        known = id(value) in self._met or id(value) in self._shared
        return known or self.places.of(value) is not None or self._needed.of(value) is not None

    def part_places(self) -> Iterator[tuple[str, Any]]:
        """Yield the names of the parts bound in front of the statement, each with its object."""
        yield from ((name, self._met[key]) for key, name in self._parts.items() if key in self._met)

    def meet(self, values: dict[int, Any]) -> None:
        """Record, by id, objects contained in the current expression."""
        self._met |= values

    def named(self, value: Any) -> str | None:
        """Return a name that the session gives to an object, or None."""
        name = self.namespace.name_of(value)
        if name is not None:
            self.needs.append(name)
            self._needed.record(name, value)
        return name

    def _expression(self, value: Any, form: Form, label: str) -> str:
        if len(self._open) > MAX_LEVELS:
            raise self.no_form(f"{self.name} has more than {MAX_LEVELS} levels", "flatten it")
        self._open.append(id(value))
        self._labels.append(label)
        try:
            return form.expression(value, self)
        finally:
            self._open.pop()
            self._labels.pop()

    def add_part(self, value: Any, expression: str) -> str:
        """Bind a part in front of the statement and return its name, for use by later pieces.

        The object of this piece keeps the piece's name.
        """
        if not self._composing:  # its statement has no preceding lines
            raise self.nameless(value)
        name = self.name if self._open == [id(value)] else self._part_name(value)
        self.before.append(f"{name} = {expression}")
        self._parts[id(value)] = name
        return name

    def _part_name(self, value: Any) -> str:
        number = len(self._parts) + 1
        while self.namespace.names.get(name := f"_{self.name}_{number}", value) is not value:
            number += 1  # an opened app.py already has a part with this name
        return name

    def place(self, value: Any) -> str | None:
        """Return the expression by which an earlier piece holds this object, or None."""
        found = self.places.of(value) or self._needed.of(value)
        if found is None or found.name == self.name:
            return None
        self.needs.append(found.name)
        return found.expression

    def composed(self, value: Any, expression: Callable[[Any, Draft], str]) -> str:
        """Return the object's expression; parts that occur twice are bound first, in `before`.

        If it raises `NoForm`, the names and files that its parts requested are rolled back.
        """
        self._composing = True
        with self._undone_by(NoForm):
            while True:
                known = set(self._shared)
                with self._undone_by(_Again):
                    self._open, self._met, self._parts = [id(value)], {}, {}
                    self._needed = ObjectPlaces(str(self.namespace.names.get("__name__")))
                    text = expression(value, self)
                    if self._shared <= known:
                        return text
                    raise _Again

    @contextmanager
    def _undone_by(self, kind: type[Exception]) -> Iterator[None]:
        """Roll back requests made in the block if it raises this kind of error.

        Copies of models and stores stay: the session's own statement needs them too.
        """
        held: list[Any] = [self.needs, self.before, self._labels, *self.packages.held]
        copies = [each.copy() for each in held]
        data = len(self._data)
        try:
            yield
        except kind as error:
            for each, copy in zip(held, copies, strict=True):
                each.clear()
                each.extend(copy) if isinstance(each, list) else each.update(copy)
            while len(self._data) > data:
                self.assets.drop_value(self._data.pop())
            if not isinstance(error, _Again):
                raise

    def library(self, kind: type) -> str:
        """Import a public class of this package and return its name."""
        return self.imported("conduit_lab", kind.__name__)

    def imported(self, module: str, name: str) -> str:
        """Return an expression for a public library object, and add its imports."""
        home = importlib.import_module(module)
        first, dot, rest = name.partition(".")
        held = self.namespace.name_of(getattr(home, first))
        if held is not None:
            self.needs.append(held)
            return f"{held}{dot}{rest}"
        if module == "builtins" and first not in self.namespace.names:
            return name
        held = self.namespace.name_of(home)
        if held is not None:
            self.needs.append(held)
            return f"{held}.{name}"
        if module in _MODULE_NAMES:
            short = _MODULE_NAMES[module]
            alias = self._free(short, home)
            self.packages.add(f"import {module}" + _renamed(module, alias), module)
            return f"{alias}.{name}"
        alias = self._free(first, getattr(home, first))
        self.packages.add(f"from {module} import {first}" + _renamed(first, alias), module)
        return f"{alias}{dot}{rest}"

    def _free(self, name: str, value: Any) -> str:
        """Return a name for an import that no session object uses."""
        return name if self.namespace.names.get(name, value) is value else f"_{name}"

    def data_file(self, suffix: str, write: Callable[[Path], object]) -> str:
        """Reserve a data file that `write` creates later; return the expression of its path."""
        labels = [label for label in self._labels if label.isidentifier()]
        name = "_".join([self.name, *labels[-1:]])
        place = self.assets.add_value(name, suffix, write, self.namespace.statements.reads)
        self._data.append(place)
        return f'HERE / "{place}"'

    def repeat(self, statement: Statement) -> str:
        """Return a session statement verbatim, and request the names it looks up."""
        self.needs += [name for name in statement.free_names if name != self.name]
        self.packages.pin_below(statement.node)  # imports inside functions need their packages too
        return statement.text

    def remake(self, made: Statement) -> str:
        """Return the statement that created the object; statements that changed it follow."""
        self.follows += self.namespace.changes_since(self.name, made, self.shown_chain)
        return self.repeat(made)

    def check_secret(self, name: str, value: Any) -> None:
        """Refuse a value that looks like a secret."""
        try:
            secret = looks_secret(name, value)
        except RecursionError:  # self-referential; its parts are checked one by one
            secret = False
        if secret:
            raise self.refusal(
                f"{name} looks like a secret", "read it with os.environ[...] inside the function"
            )

    @property
    def resource_mend(self) -> str:
        """Instructions to build the object in an `@lab.resource` function, as code."""
        own, name = self.own, self.name
        made = "…"
        if own is not None and own.assigned is not None and not own.builds_on(name):
            made = ast.unparse(own.assigned)
        return (
            f"build it in a function, and call {name}() in place of {name}:\n\n"
            f"    @{self.namespace.app_name}.resource\n    def {name}():\n        return {made}"
        )

    def refusal(self, problem: str, mend: str) -> Refusal:
        """Return the error for an object without a form."""
        return Refusal(problem, self.shown_chain, mend, ends_with_it=True)

    def no_form(self, problem: str, mend: str) -> NoForm:
        """Return the error for an object that no expression creates."""
        return NoForm(problem, self.shown_chain, mend, ends_with_it=True)

    def nameless(self, value: Any) -> NoForm:
        """Return the error for an object that can only be referred to by name."""
        kind = type(value).__name__
        return self.no_form(f"a {kind} has no name in this session", "give it one")


class _Again(Exception):
    """An object occurred again, or inside itself: the expression is rebuilt with a name for it."""


def shown(chain: Chain) -> str:
    """Format a chain of names for errors."""
    return " → ".join(chain)


def is_name(text: str) -> bool:
    """Return whether a text is a valid name in Python source."""
    return text.isidentifier() and not keyword.iskeyword(text)


def _renamed(own: str, alias: str) -> str:
    return "" if own == alias else f" as {alias}"
