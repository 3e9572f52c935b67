"""Statements: the top-level statements of a session, by the names that they bind and change."""

from __future__ import annotations

import ast
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator

from conduit_lab.core.syntax import parse_module
from conduit_lab.export import effects
from conduit_lab.export.cell_run import CellRun
from conduit_lab.export.statement import Statement

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Import = ast.Import | ast.ImportFrom
_Block = ast.If | ast.Try | ast.With
_Compound = _Block | ast.For | ast.While

_RUNNING_MAGICS = frozenset({"time", "prun"})  # they run their line as it is
_LINE_END = re.compile("\r\n|\r|\n")  # Python's; str.splitlines() knows more


class Statements:
    """All top-level statements of some cells or modules, in the order in which they ran.

    A text stands for a cell that ran whole. The statement at which a cell stopped is left out: it
    bound nothing, and its changes are unknown. `all` are the statements, `futures` the names of
    `from __future__ import`.
    """

    def __init__(self, cells: Iterable[CellRun | str]) -> None:
        self.futures: set[str] = set()
        self.all: list[Statement] = []
        self._bindings: dict[str, list[Statement]] = defaultdict(list)
        self._changes: dict[str, list[Statement]] = defaultdict(list)
        places = _Places()
        for number, cell in enumerate(cells, 1):
            cell = CellRun(number, cell) if isinstance(cell, str) else cell
            self._read(cell, places)

    def _read(self, cell: CellRun, places: _Places) -> None:
        body = _parsed(cell.source)
        beside = tuple(node for node in body if isinstance(node, _Import))
        slot = 0 if cell.opened else places.slot(cell, body)
        for number, (above, node, lines) in enumerate(_opened(body, cell.source)):
            slot = places.of_opened(node) if cell.opened else slot
            if cell.stopped_at is not None and _first_line(above) > cell.stopped_at:
                break
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                self.futures |= {alias.name for alias in node.names}
                continue
            for part in [node, *(_in_block(node) if isinstance(node, _Block) else ())]:
                last = _last_line(part if above is node else above)
                if cell.stopped_at is not None and last >= cell.stopped_at:
                    continue
                order, place = len(self.all), (slot, number)
                statement = Statement(part, _text(part, lines), beside, cell.number, order, place)
                self._add(statement, is_inner=part is not node)

    def _add(self, statement: Statement, *, is_inner: bool) -> None:
        """Add a statement; the changes of one inside a block are those of the block."""
        self.all.append(statement)
        for name in statement.bound_names:
            self._bindings[name].append(statement)
        for name in () if is_inner else statement.changes:
            self._changes[name].append(statement)

    def definitions(self, name: str) -> list[Statement]:
        """Return the `def` and `class` statements of that name, newest first."""
        return [s for s in self.binding(name) if isinstance(s.node, _Definition)]

    def imports(self, name: str) -> list[Statement]:
        """Return the import statements that bound `name`, newest first."""
        return [s for s in self.binding(name) if s.is_import]

    def newest(self, name: str) -> Statement | None:
        """Return the last statement that bound `name`, or None."""
        return next(iter(self.binding(name)), None)

    def binding(self, name: str) -> list[Statement]:
        """Return the statements that bound `name`, newest first."""
        return self._bindings.get(name, [])[::-1]

    def holding(self, text: str) -> Statement | None:
        """Return the last statement with the literal `text`, or None."""
        return next((s for s in reversed(self.all) if s.holds(text)), None)

    def reads(self, place: str) -> bool:
        """Return whether a statement is that of a value which an opened `app.py` reads there."""
        return any(f'HERE / "{place}"' in statement.text for statement in self.all)

    def maker(self, name: str) -> Statement | None:
        """Return the statement that made the object `name`, before it was changed, or None."""
        found = self.binding(name)
        for statement in found:
            if not statement.builds_on(name):
                return statement
        first = found[-1] if found else None
        return first if first is not None and isinstance(first.node, _Compound) else None

    def changes_since(self, name: str, made: Statement) -> list[Statement]:
        """Return the statements after `made` that bound `name` again or changed its object."""
        found = [*self._bindings.get(name, ()), *self._changes.get(name, ())]
        later = {s.order: s for s in found}
        return [later[order] for order in sorted(later) if order > made.order]


class _Places:
    """The place of each cell in its notebook: that of its first run.

    Without a key, a cell is the earlier one that has its text, or defines a function of it. Each
    statement of an opened `app.py` is a cell, and the one that binds its names again is that cell.
    """

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._opened: dict[str, int] = {}  # by bound name
        self._count = 0

    def of_opened(self, node: ast.stmt) -> int:
        """Return the number of a new cell with one statement of an opened `app.py`."""
        self._count += 1
        for name in effects.bound_names(node):
            self._opened.setdefault(name, self._count)
        return self._count

    def slot(self, cell: CellRun, body: Iterable[ast.stmt]) -> int:
        """Return the number of the cell, counted by first runs."""
        defined = [f"def {node.name}" for node in body if isinstance(node, _Definition)]
        marks = [f"key {cell.key}"] if cell.key else [*defined, f"text {cell.source}"]
        known = [self._slots[mark] for mark in marks if mark in self._slots]
        if not known and self._opened:
            bound = [name for node in body for name in effects.bound_names(node)]
            known = [self._opened[name] for name in bound if name in self._opened]
        if not known:
            self._count += 1
        slot = known[0] if known else self._count
        self._slots |= dict.fromkeys(marks, slot)
        return slot


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def _in_block(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the imports and definitions inside of an `if`, `try` or `with`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Import | _Definition):
            yield child
        elif isinstance(child, _Block | ast.ExceptHandler):
            yield from _in_block(child)


def _opened(body: Iterable[ast.stmt], text: str) -> Iterator[tuple[ast.stmt, ast.stmt, list[str]]]:
    """Yield each statement with that of the cell which holds it, and the lines that it is in.

    The code of a line magic such as `%time x = f()` counts as statements. IPython turns it into
    `get_ipython().run_line_magic(name, code)`.
    """
    lines = _LINE_END.split(text)
    for node in body:
        match node:
            case ast.Expr(
                ast.Call(ast.Attribute(attr="run_line_magic"), [ast.Constant(name), code])
            ) if name in _RUNNING_MAGICS and isinstance(code, ast.Constant):
                inner = str(code.value)
                for each in _parsed(inner):
                    yield node, each, _LINE_END.split(inner)
            case _:
                yield node, node, lines


def _parsed(text: str) -> list[ast.stmt]:
    try:
        return parse_module(text).body
    except (SyntaxError, ValueError):  # a cell that never ran; a null byte is a ValueError
        return []


def _text(node: ast.stmt, lines: list[str]) -> str:
    """Return a statement word for word, with the comment lines right above it."""
    first, last = _first_line(node), _last_line(node)
    behind = lines[last - 1].encode()[node.end_col_offset :].strip()
    before = lines[first - 1].encode()[: node.col_offset].strip()
    if before or behind.startswith(b";"):  # beside another statement
        return ast.get_source_segment("\n".join(lines), node) or ast.unparse(node)
    indent = lines[first - 1][: node.col_offset]
    while first > 1 and lines[first - 2].startswith(f"{indent}#"):
        first -= 1
    text = "\n".join(lines[first - 1 : last])
    if not indent:
        return text
    inner = textwrap.dedent(text)
    same = ast.dump(parse_module(inner)) == ast.dump(ast.Module([node], []))
    return inner if same else ast.unparse(node)
