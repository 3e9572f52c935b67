"""Sections: separated tables and cards, code to copy, and views with a name above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import indent
from typing import Protocol

from conduit_lab.core.views.pieces import Columns, Line, ViewPiece

_CODE = (
    "font-family:monospace;font-size:13px;line-height:20px;margin:4px 0;padding:4px 8px;"
    "max-width:704px;white-space:pre-wrap;overflow-wrap:break-word;"
    "background:rgba(128,128,128,.12);border-radius:4px"
)
_NAME = (
    "font-size:13px;line-height:20px;margin:8px 0 2px 0;padding-top:4px;"
    "border-top:1px solid rgba(128,128,128,.35)"
)


class Shown(Protocol):
    """A view or a piece: text and static HTML."""

    def plain(self) -> str:
        """Return it as text."""

    def html(self) -> str:
        """Return it as static HTML."""


@dataclass(frozen=True)
class Code(ViewPiece):
    """Lines of code to copy, below a muted `note`."""

    lines: Sequence[str]
    note: str = ""

    def plain(self) -> str:
        """Return the note and the indented lines."""
        code = indent("\n".join(self.lines), "    ")
        return f"{self.note}\n{code}" if self.note else code

    def html(self) -> str:
        """Return the lines in a code font on a faint background."""
        note = Line(self.note, "quiet").html() if self.note else ""
        return f'{note}<pre style="{_CODE}">{escape(chr(10).join(self.lines))}</pre>'


@dataclass(frozen=True)
class Sections(ViewPiece):
    """Groups of pieces side by side if there is room; in text, separated by empty lines."""

    groups: Sequence[Sequence[ViewPiece]]

    def plain(self) -> str:
        """Return the pieces one after another, each preceded by an empty line."""
        shown = (piece.plain() for group in self.groups for piece in group)
        return "\n".join(f"\n{text}" for text in shown if text)

    def html(self) -> str:
        """Return the groups as columns."""
        return Columns(self.groups).html()


@dataclass(frozen=True)
class Named(ViewPiece):
    """A view, or a line of text, under the `name` by which another value holds it."""

    name: str
    shown: Shown

    def plain(self) -> str:
        """Return the name with the view indented below; a single line stays beside the name."""
        lines = self.shown.plain().split("\n")
        if len(lines) == 1:
            return f"{self.name}: {lines[0]}"
        return "\n".join([f"{self.name}:", *(f"  {line}".rstrip() for line in lines)])

    def html(self) -> str:
        """Return the name in a code font above the view."""
        name = f'<b style="font-family:monospace">{escape(self.name)}</b>'
        return f'<div style="{_NAME}">{name}</div>{self.shown.html()}'
