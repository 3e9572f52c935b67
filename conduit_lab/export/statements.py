"""Statements: the top-level statements of a session, by the names that they bind."""

from __future__ import annotations

import ast
import inspect
import re
import symtable
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType

from conduit_lab.export.literals import same_literal

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Import = ast.Import | ast.ImportFrom
_Block = ast.If | ast.Try | ast.With

_RUNNING_MAGICS = frozenset({"time", "capture", "prun"})  # they run their code as it is
_LINE_END = re.compile("\r\n|\r|\n")  # Python's; str.splitlines() knows more
_ARGUMENT_FLAGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


@dataclass(frozen=True)
class Statement:
    """One top-level statement: its syntax tree, and its text with the comment lines right above it.

    `beside` are the imports of the same cell: Python compiles a call on a name differently where it
    sees that name imported.
    """

    node: ast.stmt
    text: str
    beside: tuple[ast.stmt, ...] = ()

    @property
    def free_names(self) -> list[str]:
        """The global names that running it, or calling its function, looks up."""
        return list(dict.fromkeys(_globals(symtable.symtable(self.text, "statement", "exec"))))

    @property
    def decorated(self) -> bool:
        """Whether it is a definition below a decorator."""
        return bool(getattr(self.node, "decorator_list", []))

    @property
    def is_import(self) -> bool:
        """Whether it is an import."""
        return isinstance(self.node, _Import)

    @property
    def assigned(self) -> ast.expr | None:
        """The expression that it assigns; None for any other statement, and for `+=`."""
        return self.node.value if isinstance(self.node, ast.Assign | ast.AnnAssign) else None

    def binds_only(self, name: str) -> bool:
        """Return whether it assigns one expression to `name` and to nothing else."""
        if not isinstance(self.node, ast.Assign | ast.AnnAssign):
            return False
        targets = self.node.targets if isinstance(self.node, ast.Assign) else [self.node.target]
        return [ast.unparse(target) for target in targets] == [name]

    def builds_on(self, name: str) -> bool:
        """Return whether it assigns an expression that uses the value `name` had before."""
        nodes = [] if self.assigned is None else ast.walk(self.assigned)
        return any(isinstance(node, ast.Name) and node.id == name for node in nodes)

    def gives(self, name: str, expression: str) -> bool:
        """Return whether it assigns this expression to `name`, however it is written."""
        same = ast.parse(expression, mode="eval").body
        return self.binds_only(name) and ast.dump(self.assigned or self.node) == ast.dump(same)

    def mentions(self, text: str) -> bool:
        """Return whether a decorator of this definition holds the literal `text`."""
        decorators = getattr(self.node, "decorator_list", [])
        nodes = [node for decorator in decorators for node in ast.walk(decorator)]
        return any(isinstance(node, ast.Constant) and node.value == text for node in nodes)

    def makes(self, function: FunctionType) -> bool:
        """Return whether running this statement gives the code of `function`."""
        codes = [
            compile(ast.Module([*before, self.node], []), "statement", "exec", dont_inherit=True)
            for before in ((), self.beside)
        ]
        return any(
            isinstance(const, CodeType)
            and const.co_name == function.__name__
            and _same_code(const, function.__code__)
            for code in codes
            for const in code.co_consts
        )


class Statements:
    """All top-level statements of some cells or modules, by the names they bind, newest last.

    `futures` are the names of `from __future__ import`.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.futures: set[str] = set()
        self._bindings: dict[str, list[Statement]] = defaultdict(list)
        for text in texts:
            self._read(text)

    def _read(self, text: str) -> None:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):  # a cell that never ran; a null byte is a ValueError
            return
        lines = _LINE_END.split(text)
        beside = tuple(node for node in tree.body if isinstance(node, _Import))
        for node in _top_level(tree.body):
            if (inner := _code_in_magic(node)) is not None:
                self._read(inner)
                continue
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                self.futures |= {alias.name for alias in node.names}
                continue
            statement = Statement(node, _text(node, lines), beside)
            for name in _bound(node):
                self._bindings[name].append(statement)

    def definitions(self, name: str) -> list[Statement]:
        """Return the `def` and `class` statements of that name, newest first."""
        return [s for s in self._newest_first(name) if isinstance(s.node, _Definition)]

    def imports(self, name: str) -> list[Statement]:
        """Return the import statements that bound `name`, newest first."""
        return [s for s in self._newest_first(name) if s.is_import]

    def newest(self, name: str) -> Statement | None:
        """Return the last statement that bound `name`, or None."""
        return next(iter(self._newest_first(name)), None)

    def _newest_first(self, name: str) -> list[Statement]:
        return self._bindings.get(name, [])[::-1]


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module; of an `if`, `try` or `with` its imports and definitions."""
    for node in body:
        if isinstance(node, _Block):
            yield from _in_block(node)
        else:
            yield node


def _in_block(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Import | _Definition):
            yield child
        elif isinstance(child, _Block | ast.ExceptHandler):
            yield from _in_block(child)


def _code_in_magic(node: ast.stmt) -> str | None:
    """Return the code that a magic such as `%%time` ran among the session's names, or None.

    IPython hands a cell magic on as `get_ipython().run_cell_magic(name, line, code)`.
    """
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    values = [each.value if isinstance(each, ast.Constant) else None for each in call.args]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(call.args) or not texts or texts[0] not in _RUNNING_MAGICS:
        return None
    if call.func.attr == "run_line_magic" and len(texts) == 2:
        return texts[1]
    return texts[2] if call.func.attr == "run_cell_magic" and len(texts) == 3 else None


def _text(node: ast.stmt, lines: list[str]) -> str:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    assert node.end_lineno is not None
    behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].strip()
    if node.col_offset or behind.startswith(b";"):  # inside a block, or beside another statement
        return ast.unparse(node)
    return "\n".join(lines[first - 1 : node.end_lineno])


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds."""
    if isinstance(node, _Definition):
        yield node.name
    elif isinstance(node, _Import):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            parts = (part for part in ast.walk(target) if isinstance(part, ast.Name))
            yield from (part.id for part in parts if isinstance(part.ctx, ast.Store))


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that a piece of code looks up outside of itself."""
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        free = not symbol.is_assigned() if at_top else symbol.is_global()
        if symbol.is_referenced() and free:
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _same_code(a: CodeType, b: CodeType) -> bool:
    """Return whether two code objects do the same, wherever they were compiled."""
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
    """Return everything of a code object that its constants do not hold, and no position of it.

    The variables' names and the counts of arguments are part of it: they are how it is called.
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
