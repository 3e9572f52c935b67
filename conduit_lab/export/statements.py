"""Statements: the top-level statements of a session, indexed by the names they bind and change."""

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
_Loop = ast.For | ast.While
_Compound = ast.If | ast.Try | ast.With | _Loop

_RUNNING_MAGICS = frozenset({"time", "prun"})  # they run their line unchanged
_MAX_INNER = 100  # definitions in one loop
# as Python splits lines; str.splitlines() splits at more characters
_LINE_END = re.compile("\r\n|\r|\n")


class Statements:
    """All top-level statements of some cells or modules, in execution order.

    A string counts as a cell that ran completely. The statement at which a cell stopped is left
    out: it bound nothing, and its changes are unknown. `all` lists the statements, and `futures`
    the names of `from __future__ import`.
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
            for part in _parts(node):
                last = _last_line(part if above is node else above)
                if cell.stopped_at is not None and last >= cell.stopped_at:
                    continue
                order, place = len(self.all), (slot, number)
                statement = Statement(part, _text(part, lines), beside, cell.number, order, place)
                self._add(statement, is_inner=part is not node)

    def _add(self, statement: Statement, *, is_inner: bool) -> None:
        """Add a statement; changes inside a block are attributed to the block."""
        self.all.append(statement)
        for name in statement.bound_names:
            self._bindings[name].append(statement)
        for name in () if is_inner else statement.changes:
            self._changes[name].append(statement)

    def definitions(self, name: str) -> list[Statement]:
        """Return the `def` and `class` statements that define `name`, newest first."""
        return [s for s in self.binding(name) if isinstance(s.node, _Definition)]

    def loop_of(self, definition: Statement) -> Statement:
        """Return the loop that contains a definition, or else the definition itself."""
        later = self.all[definition.order : definition.order + _MAX_INNER]
        loops = [each for each in later if definition.node in ast.walk(each.node)]
        return loops[-1]

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
        """Return the last statement that contains the literal `text`, or None."""
        return next((s for s in reversed(self.all) if s.holds(text)), None)

    def reads(self, place: str) -> bool:
        """Return whether an opened `app.py` has a statement that loads its value from this path."""
        return any(f'HERE / "{place}"' in statement.text for statement in self.all)

    def maker(self, name: str) -> Statement | None:
        """Return the statement that created the object `name`, before any changes, or None."""
        found = self.binding(name)
        for statement in found:
            if not statement.builds_on(name):
                return statement
        first = found[-1] if found else None
        return first if first is not None and isinstance(first.node, _Compound) else None

    def changes_since(self, name: str, made: Statement) -> list[Statement]:
        """Return the statements after `made` that rebound `name` or changed its object."""
        found = [*self._bindings.get(name, ()), *self._changes.get(name, ())]
        later = {s.order: s for s in found}
        return [later[order] for order in sorted(later) if order > made.order]


class _Places:
    """The position of each cell in its notebook: that of its first run.

    Without a key, a cell is identified with an earlier one that has the same text or defines the
    same function. Each statement of an opened `app.py` counts as a cell, and a cell that binds one
    of its names again takes its position.
    """

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._opened: dict[str, int] = {}  # keyed by bound name
        self._count = 0

    def of_opened(self, node: ast.stmt) -> int:
        """Number one statement of an opened `app.py` as a new cell."""
        self._count += 1
        for name in effects.bound_names(node):
            self._opened.setdefault(name, self._count)
        return self._count

    def slot(self, cell: CellRun, body: Iterable[ast.stmt]) -> int:
        """Return the number of the cell, in order of first runs."""
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


def _parts(node: ast.stmt) -> list[ast.stmt]:
    """Return a statement and the definitions inside of it.

    A loop comes last: it binds its definitions again and again.
    """
    inner = list(_in_block(node)) if isinstance(node, _Compound) else []
    return [*inner, node] if isinstance(node, _Loop) else [node, *inner]


def _in_block(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the imports and definitions inside blocks and loops."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Import | _Definition):
            yield child
        elif isinstance(child, _Compound | ast.ExceptHandler):
            yield from _in_block(child)


def _opened(body: Iterable[ast.stmt], text: str) -> Iterator[tuple[ast.stmt, ast.stmt, list[str]]]:
    """Yield each statement with its enclosing cell statement, and the lines that contain it.

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
    except (SyntaxError, ValueError):  # a cell that never ran; a null byte raises ValueError
        return []


def _text(node: ast.stmt, lines: list[str]) -> str:
    """Return a statement verbatim, with the comment lines just above it."""
    first, last = _first_line(node), _last_line(node)
    behind = lines[last - 1].encode()[node.end_col_offset :].strip()
    before = lines[first - 1].encode()[: node.col_offset].strip()
    if before or behind.startswith(b";"):  # shares its line with another statement
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
