"""Statement: one top-level statement of a session, with its text and its place."""

from __future__ import annotations

import ast
import inspect
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, FunctionType

from conduit_lab.core.syntax import parse_expression
from conduit_lab.export import effects
from conduit_lab.export.effects import ChangeKind
from conduit_lab.export.literals import same_literal

_Import = ast.Import | ast.ImportFrom

MAX_LINE = 88  # ruff's default line length

_ARGUMENT_FLAGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement: its syntax tree, and its text with the comment lines just above it.

    `beside` are the imports of the same cell, which affect how Python compiles calls on the
    imported names. `cell` is the execution count, `order` the position in execution order, and
    `place` the position in the notebook, where a cell that runs again keeps its place.
    """

    node: ast.stmt
    text: str
    beside: tuple[ast.stmt, ...] = ()
    cell: int = 0
    order: int = 0
    place: tuple[int, int] = (0, 0)

    @cached_property
    def bound_names(self) -> frozenset[str]:
        """The names that the statement binds."""
        return frozenset(effects.bound_names(self.node))

    @cached_property
    def changes(self) -> dict[str, ChangeKind]:
        """The names whose objects the statement changes, and how."""
        return effects.changes(self.node)

    @cached_property
    def free_names(self) -> list[str]:
        """The global names that the statement looks up, including inside its function."""
        return list(dict.fromkeys(_globals(symtable.symtable(self.text, "statement", "exec"))))

    @property
    def first_line(self) -> str:
        """The first line of its code, for error messages."""
        return next(line for line in self.text.split("\n") if not line.startswith("#"))

    @property
    def decorated(self) -> bool:
        """Whether it is a decorated definition."""
        return bool(getattr(self.node, "decorator_list", []))

    @property
    def is_import(self) -> bool:
        """Whether it is an import."""
        return isinstance(self.node, _Import)

    @property
    def awaits(self) -> bool:
        """Whether it uses top-level await, which a module cannot."""
        return any(isinstance(part, ast.Await) for part in effects.run_at_once(self.node))

    @property
    def assigned(self) -> ast.expr | None:
        """The expression that it assigns; None for other statements, including `+=`."""
        return self.node.value if isinstance(self.node, ast.Assign | ast.AnnAssign) else None

    def binds_only(self, name: str) -> bool:
        """Return whether it assigns one expression to `name` and nothing else."""
        if not isinstance(self.node, ast.Assign | ast.AnnAssign):
            return False
        targets = self.node.targets if isinstance(self.node, ast.Assign) else [self.node.target]
        return [ast.unparse(target) for target in targets] == [name]

    def builds_on(self, name: str) -> bool:
        """Return whether the new object of `name` may depend on its previous one.

        True for `x += 1`, `x = f(x)`, and assignments inside an `if` or a loop.
        """
        if isinstance(self.node, ast.AugAssign | ast.If | ast.While | ast.Try):
            return name in self.bound_names
        if isinstance(self.node, ast.For):
            return name in self.bound_names and name not in _names(self.node.target)
        if isinstance(self.node, ast.With):
            return name in self.bound_names and name in _names(self.node, ast.Load)
        return self.assigned is not None and name in _names(self.assigned)

    def rebinds(self, name: str) -> bool:
        """Return whether it makes the object of `name` from the one before, as `f = cache(f)`."""
        return self.assigned is not None and self.builds_on(name)

    def gives(self, name: str, expression: str) -> bool:
        """Return whether it assigns this expression to `name`, regardless of formatting."""
        same = parse_expression(expression)
        return self.binds_only(name) and ast.dump(self.assigned or self.node) == ast.dump(same)

    def mentions(self, text: str) -> bool:
        """Return whether a decorator of this definition contains the literal `text`."""
        decorators = getattr(self.node, "decorator_list", [])
        nodes = [node for decorator in decorators for node in ast.walk(decorator)]
        return any(isinstance(node, ast.Constant) and node.value == text for node in nodes)

    def holds(self, text: str) -> bool:
        """Return whether it contains the literal `text` anywhere."""
        nodes = ast.walk(self.node)
        return any(isinstance(node, ast.Constant) and node.value == text for node in nodes)

    def commented(self, source: str) -> str:
        """Return other source for the same name, with this statement's comments.

        Its trailing comment stays at the end of the line if that remains short.
        """
        *above, last = self.text.split("\n")
        comments = [line for line in above if line.startswith("#")]
        behind = last.encode()[self.node.end_col_offset or 0 :].decode().strip()
        if not comments and not behind.startswith("#"):
            return source
        whole = f"{source}  {behind}"
        is_short = behind.startswith("#") and "\n" not in whole and len(whole) <= MAX_LINE
        return "\n".join([*comments, whole if is_short and "#" not in source else source])

    def makes(self, function: FunctionType) -> bool:
        """Return whether running this statement creates the code of `function`."""
        return self.compiles(self.node, function)

    def compiles(self, node: ast.stmt | ast.expr, function: FunctionType) -> bool:
        """Return whether running a part of this statement creates the code of `function`."""
        part = node if isinstance(node, ast.stmt) else ast.Expr(node)
        codes = [
            compile(
                ast.fix_missing_locations(ast.Module([*before, part], [])),
                "statement",
                "exec",
                dont_inherit=True,
            )
            for before in ((), self.beside)
        ]
        return any(
            isinstance(const, CodeType)
            and const.co_name == function.__name__
            and _same_code(const, function.__code__)
            for code in codes
            for const in code.co_consts
        )


def _names(node: ast.AST, context: type[ast.expr_context] = ast.expr_context) -> set[str]:
    found = (part for part in ast.walk(node) if isinstance(part, ast.Name))
    return {part.id for part in found if isinstance(part.ctx, context)}


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that a block of code looks up outside of itself."""
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        free = not symbol.is_assigned() if at_top else symbol.is_global()
        if symbol.is_referenced() and free:
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _same_code(a: CodeType, b: CodeType) -> bool:
    """Return whether two code objects are equivalent, wherever they were compiled."""
    return (
        _shape(a) == _shape(b)
        and len(a.co_consts) == len(b.co_consts)
        and all(
            _same_code(x, y)
            if isinstance(x, CodeType) and isinstance(y, CodeType)
            else same_literal(x, y)
            for x, y in zip(a.co_consts, b.co_consts, strict=True)
        )
    )


def _shape(code: CodeType) -> tuple[object, ...]:
    """Return everything in a code object except constants and positions.

    Includes variable names and argument counts, which determine how it is called.
    """
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_exceptiontable,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_flags & _ARGUMENT_FLAGS,
    )
