"""Mermaid: the text of a flowchart, which JupyterLab, GitHub and Markdown pages draw."""

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
# a quote ends a label, a hash begins a character's code, a backtick makes Markdown of the label
_SPECIAL = frozenset('"#`<>&')
_BACKSLASH = "#92;#8203;"  # a space of no width, since a backslash and an n would begin a line
_LIST = re.compile(r"(\d+[.)]|[-+*])(?= )")  # Mermaid draws no label that begins as a list


def flowchart(
    nodes: Iterable[tuple[str, str, NodeShape]],
    edges: Iterable[tuple[str, str, str]],
    direction: Direction = "LR",
) -> str:
    """Return a flowchart of `nodes` (id, label, shape) and `edges` (from, to, label).

    An id is a letter and then letters, digits and underscores, `ValueError` for any other; any text
    is a label, a newline in it begins a line. An edge with an empty label has none.
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
    if not _ID.fullmatch(name) or name == "end":  # a word of Mermaid's own
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
