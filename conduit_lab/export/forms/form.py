"""Form: how the live objects of one family are written; Draft: one piece in the making."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conduit_lab.core.errors import ExportError
from conduit_lab.export.assets import Assets
from conduit_lab.export.namespace import Namespace
from conduit_lab.export.packages import Packages
from conduit_lab.export.statement import Statement

Chain = tuple[str, ...]


class Form:
    """The form of some types: the source, the needs and the files of a live object, or a refusal.

    A subclass writes `expression` for objects that one expression makes, else `statement`. Both
    are given a `Draft`, through which they ask for names, imports and files, and refuse.
    """

    exact = False  # whether instances of a subclass have another form
    aliased = True  # whether a second name of one object stays a second name

    def key(self, value: Any) -> str:
        """Return a key under which the object is written only once; empty for ordinary objects."""
        return ""

    def binds(self, name: str, value: Any, namespace: Namespace) -> Sequence[str]:
        """Return the names that the statement binds."""
        return (name,)

    def first_name(self, name: str, value: Any, namespace: Namespace) -> str:
        """Return which of the object's names the statement binds, where `name` is one of them."""
        return namespace.origin(name)

    def is_imported(self, name: str, value: Any, namespace: Namespace) -> bool:
        """Return whether the object came by an import, and is imported again."""
        statement = namespace.statements.newest(name)
        return statement is not None and statement.is_import

    def files(self, value: Any) -> Sequence[Path]:
        """Return the files that a user's own statement reads when it makes such an object."""
        return ()

    def expression(self, value: Any, draft: Draft) -> str | None:
        """Return an expression that makes the object; None where it needs a name of its own."""
        return None

    def statement(self, value: Any, draft: Draft) -> str:
        """Return the statement that binds the object to `draft.name`; empty for an import."""
        expression = self.expression(value, draft)
        if expression is None:
            raise draft.nameless(value)
        return f"{draft.name} = {expression}"


@dataclass
class Draft:
    """One piece of source in the making: its context, and the names that it needs before it.

    `chain` are the names that lead to it, from the endpoint to `name`.
    """

    name: str
    chain: Chain
    namespace: Namespace
    assets: Assets
    packages: Packages
    warnings: list[str]
    form_of: Callable[[Any], Form]
    needs: list[str] = field(default_factory=list)
    follows: list[Statement] = field(default_factory=list)  # they run after its own

    @property
    def shown_chain(self) -> str:
        """The chain as errors show it."""
        return shown(self.chain)

    @property
    def own(self) -> Statement | None:
        """The session's last statement that bound the name, or None."""
        return self.namespace.statements.newest(self.name)

    def find(self, value: Any) -> str | None:
        """Return an expression for another object: a name that holds it, else its form's own."""
        name = self.namespace.name_of(value)
        if name is None:
            return self.form_of(value).expression(value, self)
        self.needs.append(name)
        return name

    def reference(self, value: Any) -> str:
        """Return an expression for another object; `ExportError` where it has none."""
        found = self.find(value)
        if found is None:
            raise self.nameless(value)
        return found

    def library(self, kind: type) -> str:
        """Return the name of a public class of this package, and import it."""
        name = self.namespace.name_of(kind)
        if name is not None:
            self.needs.append(name)
            return name
        public = kind.__name__
        taken = public in self.namespace.names
        line = f"from conduit_lab import {public}" + (f" as _{public}" if taken else "")
        self.packages.add(line, "conduit_lab")
        return f"_{public}" if taken else public

    def repeat(self, statement: Statement) -> str:
        """Return a statement of the session word for word, and ask for the names it looks up."""
        self.needs += [name for name in statement.free_names if name != self.name]
        self.packages.pin_below(statement.node)  # imports inside a function bring packages too
        return statement.text

    def remake(self, made: Statement) -> str:
        """Return the statement that made the object; those that changed it since follow it."""
        self.follows += self.namespace.changes_since(self.name, made, self.shown_chain)
        return self.repeat(made)

    def refusal(self, problem: str, mend: str) -> ExportError:
        """Return the error for an object without a form."""
        return ExportError(f"{problem} ({self.shown_chain}): {mend}")

    def nameless(self, value: Any) -> ExportError:
        """Return the error for an object that only a name could refer to."""
        kind = type(value).__name__
        return self.refusal(f"a {kind} has no name in this session", "give it one")


def shown(chain: Chain) -> str:
    """Return a chain of names as errors show it."""
    return " → ".join(chain)
