"""Source layout: format generated lines the way `ruff format` does."""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Collection, Iterable, Sequence
from io import StringIO

from conduit_lab.core.syntax import parse_module
from conduit_lab.export.statement import MAX_LINE

_INDENT = "    "
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_BRACKETS: dict[type[ast.expr], tuple[str, str]] = {
    ast.List: ("[", "]"),
    ast.Tuple: ("(", ")"),
    ast.Set: ("{", "}"),
    ast.Dict: ("{", "}"),
}


def formatted(source: str) -> str:
    """Format generated assignments and calls: double quotes, and one item per line if too long.

    A trailing comment on a long line moves above it. Other statements are not changed.
    """
    tree = parse_module(source)
    if not all(isinstance(node, ast.Assign | ast.Expr) for node in tree.body):
        return source
    lines = source.split("\n")
    parts, done = [], 0
    for node in tree.body:
        assert isinstance(node, ast.Assign | ast.Expr)
        assert node.end_lineno is not None
        parts += lines[done : node.lineno - 1]  # the comments above the statement
        done = node.end_lineno
        comment = lines[done - 1].encode()[node.end_col_offset :].decode().strip()
        targets = node.targets if isinstance(node, ast.Assign) else []
        target = "".join(f"{_flat(each)} = " for each in targets)
        line = f"{target}{_flat(node.value)}  {comment}".rstrip()
        if len(line) > MAX_LINE:
            parts += [comment] if comment else []
            line = target + _exploded(node.value, len(target), "")
        parts.append(line)
    return "\n".join(parts)


def imports(lines: Iterable[str], own: Collection[str]) -> str:
    """Return sorted imports in three blocks: standard library, packages, `own` modules."""
    blocks: list[tuple[set[str], dict[str, set[str]]]] = [(set(), {}) for _ in range(3)]
    for line in lines:
        module = line.split()[1]
        top = module.partition(".")[0]
        plain, members = blocks[0 if top in sys.stdlib_module_names else 2 if top in own else 1]
        if line.startswith("from "):
            members.setdefault(module, set()).add(line.partition(" import ")[2])
        else:
            plain.add(line)
    texts = []
    for plain, members in blocks:
        froms = [_from(module, names) for module, names in sorted(members.items())]
        texts.append("\n".join([*sorted(plain), *froms]))
    return "\n\n".join(filter(None, texts))


def spaced(pieces: Sequence[str]) -> str:
    """Return blocks of source, each preceded by the right number of blank lines.

    Two around definitions, one around multi-line statements and comments, none between short lines.
    """
    text, before = "", 1
    for number, piece in enumerate(pieces):
        around = _blank_lines(piece)
        gap = max(before, around) if number else max(1, around)
        text += "\n" * (gap + 1) + piece
        before = around
    return text


def _blank_lines(piece: str) -> int:
    if any(isinstance(node, _Definition) for node in parse_module(piece).body):
        return 2
    return 1 if "\n" in piece else 0


def _from(module: str, names: Iterable[str]) -> str:
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= MAX_LINE:
        return line
    inner = "".join(f"{_INDENT}{name},\n" for name in ordered)
    return f"from {module} import (\n{inner})"


def _exploded(node: ast.expr, used: int, indent: str) -> str:
    """Return an expression that starts after `used` characters, split over lines if necessary."""
    flat = _flat(node)
    if used + len(flat) <= MAX_LINE:
        return flat
    inner = indent + _INDENT
    if isinstance(node, ast.Call) and (node.args or node.keywords):
        arguments: list[tuple[str, ast.expr]] = [("", each) for each in node.args]
        arguments += [(f"{each.arg}=" if each.arg else "**", each.value) for each in node.keywords]
        together = ", ".join(prefix + _flat(value) for prefix, value in arguments)
        head = f"{_flat(node.func)}("
        if len(inner) + len(together) <= MAX_LINE:
            return f"{head}\n{inner}{together}\n{indent})"
        return f"{head}\n{_items(arguments, inner)}{indent})"
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        items = [(f"{_flat(key)}: " if key else "**", value) for key, value in pairs]
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [("", each) for each in node.elts]
    else:
        fits = len(inner) + len(flat) <= MAX_LINE and not indent
        return f"(\n{inner}{flat}\n{indent})" if fits else flat
    opening, closing = _BRACKETS[type(node)]
    return f"{opening}\n{_items(items, inner)}{indent}{closing}" if items else flat


def _items(items: Iterable[tuple[str, ast.expr]], indent: str) -> str:
    """Return one item per line, each followed by a comma."""
    return "".join(
        f"{indent}{prefix}{_exploded(value, len(indent) + len(prefix) + 1, indent)},\n"
        for prefix, value in items
    )


def _flat(node: ast.expr) -> str:
    """Return an expression on one line, with double quotes."""
    text = ast.unparse(node)
    if "'" not in text:
        return text
    parts, done = [], 0
    for token in tokenize.generate_tokens(StringIO(text).readline):
        start, end = token.start[1], token.end[1]
        if token.type == tokenize.STRING:
            parts += [text[done:start], _double_quoted(token.string)]
            done = end
    return "".join([*parts, text[done:]])


def _double_quoted(token: str) -> str:
    """Return a string token in double quotes, unless single quotes avoid more escapes."""
    prefix, quote, body = token.partition("'")
    if not quote or prefix not in ("", "b"):
        return token
    inner = body[:-1].replace("\\'", "'")
    if inner.count('"') > inner.count("'"):
        return token
    escaped = inner.replace('"', '\\"')
    return f'{prefix}"{escaped}"'
