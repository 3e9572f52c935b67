"""Order: sort the pieces of an export in notebook order, each after its dependencies."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence

from conduit_lab.core.syntax import parse_module
from conduit_lab.export.effects import run_at_once
from conduit_lab.export.source_piece import SourcePiece


def in_order(pieces: Sequence[SourcePiece]) -> list[SourcePiece]:
    """Return the pieces in notebook order, each after the pieces it depends on.

    A `def` depends on its decorators and defaults; any other statement on everything looked up by
    the functions it may call. A session statement also depends on the changes that ran before it.
    """
    return _Ordering(pieces).ordered


class _Ordering:
    """Place the pieces one by one, each after its dependencies; notebook order breaks cycles."""

    def __init__(self, pieces: Sequence[SourcePiece]) -> None:
        self.ordered: list[SourcePiece] = []
        self._met: set[int] = set()
        self._by_name: dict[str, list[SourcePiece]] = defaultdict(list)
        for piece in pieces:
            for name in piece.binds:
                self._by_name[name].append(piece)
        for piece in sorted(pieces, key=_notebook_order):
            self._add(piece)

    def _add(self, piece: SourcePiece) -> None:
        if id(piece) in self._met:
            return
        self._met.add(id(piece))
        for needed in self._needed(piece):
            self._add(needed)
        self.ordered.append(piece)

    def _needed(self, piece: SourcePiece) -> list[SourcePiece]:
        found: dict[int, SourcePiece] = {}
        known: set[str] = set()
        pending = {
            *_used_at_once(parse_module(piece.source)),
            *(piece.binds if piece.changes else ()),
        }
        while pending:
            name = pending.pop()
            known.add(name)
            for other in self._by_name.get(name, ()):
                if other is not piece and _runs_before(other, piece):
                    found[id(other)] = other
                    pending |= other.needs - known
        return sorted(found.values(), key=_notebook_order)


def _notebook_order(piece: SourcePiece) -> tuple[tuple[int, int], int]:
    return piece.place, -1 if piece.origin is None else piece.origin.order


def _runs_before(other: SourcePiece, piece: SourcePiece) -> bool:
    """Return whether `other` must precede `piece`; a change must only if it ran earlier."""
    if not other.changes or piece.order is None or other.order is None:
        return True
    return other.order < piece.order


def _used_at_once(node: ast.AST) -> Iterator[str]:
    """Yield the names that running a node looks up, excluding function bodies."""
    for part in run_at_once(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.ClassDef):
            for inner in part.body:
                yield from _used_at_once(inner)
