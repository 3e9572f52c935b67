"""Mermaid: the source of a flowchart, which JupyterLab, GitHub and Markdown pages render."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

NodeShape = Literal["box", "round", "stadium", "circle", "diamond", "subroutine"]
Direction = Literal["LR", "TB"]

_BRACKETS: dict[NodeShape, tuple[str, str]] = {
    "box": ("[", "]"),
    "round": ("(", ")"),
    "stadium": ("([", "])"),
    "circle": ("((", "))"),
    "diamond": ("{", "}"),
    "subroutine": ("[[", "]]"),
}
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# a quote ends a label, a hash starts a character code, a backtick turns the label into Markdown
_SPECIAL = frozenset('"#`<>&')
# followed by a zero-width space, as a backslash and an n would be a line break
_BACKSLASH = "#92;#8203;"
_LIST = re.compile(r"(\d+[.)]|[-+*])(?= )")  # Mermaid does not draw labels that start like a list


def flowchart(
    nodes: Iterable[tuple[str, str, NodeShape]],
    edges: Iterable[tuple[str, str, str]],
    direction: Direction = "LR",
) -> str:
    """Return a flowchart of `nodes` (id, label, shape) and `edges` (from, to, label).

    IDs consist of a letter, then letters, digits and underscores; others raise `ValueError`. Labels
    may be any text, with newlines as line breaks. An empty label draws an edge without one.
    """
    lines = [f"flowchart {direction}"]
    for name, label, shape in nodes:
        start, end = _BRACKETS[shape]
        lines.append(f"    {_checked(name)}{start}{_quoted(label)}{end}")
    for tail, head, label in edges:
        arrow = f"-->|{_quoted(label)}|" if label else "-->"
        lines.append(f"    {_checked(tail)} {arrow} {_checked(head)}")
    return "\n".join(lines)


def _checked(name: str) -> str:
    if not _ID.fullmatch(name) or name == "end":  # a reserved word in Mermaid
        raise ValueError(f"a node's id expects letters, digits and underscores, got {name!r}")
    return name


def _quoted(label: str) -> str:
    lines = [" ".join(line.split()) for line in label.split("\n")]
    return f'"{"<br>".join(map(_escaped, lines)) or " "}"'


def _escaped(line: str) -> str:
    marker = _LIST.match(line)
    last = marker.end() - 1 if marker else -1
    return "".join(_code(c, always=place == last) for place, c in enumerate(line))


def _code(character: str, *, always: bool) -> str:
    if character == "\\":
        return _BACKSLASH
    if always or character in _SPECIAL or not character.isprintable():
        return f"#{ord(character)};"
    return character
