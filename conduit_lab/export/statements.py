"""Sources: which statement of the session made which name."""

from __future__ import annotations

import ast
import re
import symtable
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Statement:
    """One top-level statement: its syntax tree, and its text with the comment lines right above it.

    `beside` are the imports of the same cell: Python compiles calls on names that it sees imported
    in another way.
    """

    node: ast.stmt
    text: str
    beside: tuple[ast.stmt, ...] = ()

    @property
    def free_names(self) -> list[str]:
        """The global names that running it, or calling what it defines, looks up."""
        return list(dict.fromkeys(_globals(symtable.symtable(self.text, "statement", "exec"))))

    @property
    def decorated(self) -> bool:
        """Whether it is a definition below a decorator."""
        return bool(getattr(self.node, "decorator_list", []))

    def mentions(self, text: str) -> bool:
        """Whether a decorator of this definition holds the literal `text`."""
        decorators = getattr(self.node, "decorator_list", [])
        nodes = [node for decorator in decorators for node in ast.walk(decorator)]
        return any(isinstance(node, ast.Constant) and node.value == text for node in nodes)

    def makes(self, function: FunctionType) -> bool:
        """Whether running this statement gives the code of `function`."""
        codes = [
            compile(ast.Module([*before, self.node], []), "statement", "exec", dont_inherit=True)
            for before in ((), self.beside)
        ]
        return any(
            isinstance(const, CodeType)
            and const.co_name == function.__name__
            and _same(const, function.__code__)
            for code in codes
            for const in code.co_consts
        )


class Sources:
    """All top-level statements of some cells or modules, by the names they bind, the newest last."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._bindings: dict[str, list[Statement]] = defaultdict(list)
        self.futures: set[str] = set()  # the names of `from __future__ import`
        for text in texts:
            try:
                tree = ast.parse(text)
            except SyntaxError:  # a cell that never ran
                continue
            lines = re.split(
                "\r\n|\r|\n", text
            )  # as Python counts them; splitlines() knows more line ends
            beside = tuple(
                node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
            )
            for node in _top_level(tree.body):
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    self.futures |= {alias.name for alias in node.names}
                    continue
                statement = Statement(node, _text(node, lines), beside)
                for name in _bound(node):
                    self._bindings[name].append(statement)

    def definitions(self, name: str) -> list[Statement]:
        """Return the `def` and `class` statements of that name, the newest first."""
        return [s for s in reversed(self._bindings[name]) if isinstance(s.node, Definition)]

    def imports(self, name: str) -> list[Statement]:
        """Return the import statements that bound `name`, the newest first."""
        return [
            s
            for s in reversed(self._bindings[name])
            if isinstance(s.node, ast.Import | ast.ImportFrom)
        ]

    def newest(self, name: str) -> Statement | None:
        """Return the last statement that bound `name`, or None."""
        return self._bindings[name][-1] if self._bindings[name] else None


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module; for a conditional import, the import."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            inner = [
                child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)
            ]
            yield from inner
        else:
            yield node


def _text(node: ast.stmt, lines: list[str]) -> str:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    assert node.end_lineno is not None
    behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].strip()
    if node.col_offset or behind.startswith(b";"):  # it stood inside a block, or shared its line
        return ast.unparse(node)
    return "\n".join(lines[first - 1 : node.end_lineno])


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds."""
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that a piece of code looks up outside of itself."""
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (
            symbol.is_global() if not at_top else not symbol.is_assigned()
        ):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _same(a: CodeType, b: CodeType) -> bool:
    """Tell whether two code objects do the same, wherever they were compiled."""
    if (a.co_code, a.co_names, a.co_varnames) != (b.co_code, b.co_names, b.co_varnames):
        return False
    return len(a.co_consts) == len(b.co_consts) and all(
        _same(x, y)
        if isinstance(x, CodeType) and isinstance(y, CodeType)
        else type(x) is type(y) and x == y
        for x, y in zip(a.co_consts, b.co_consts, strict=True)
    )
