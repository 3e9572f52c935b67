"""PlanNode: one object of an export, with its form, its size and the names that need it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, Self

from conduit_lab.core.text import clip
from conduit_lab.export.literals import is_literal
from conduit_lab.export.source_piece import SourcePiece
from conduit_lab.export.statement import Statement
from conduit_lab.serving.endpoint import Endpoint

_SNAPSHOT = "# snapshot"
_MAX_NAME = 40  # characters


@dataclass(frozen=True)
class PlanNode:
    """One object: its `name`, its `kind` and the `form` in which it is exported.

    `size` is the size of its source and files in bytes, `cell` the execution count of the cell that
    created it (0 if unknown), and `chain` the names that need it. A refused object has a `problem`
    and the code that fixes it.
    """

    name: str
    kind: str
    form: str
    size: int
    cell: int
    chain: tuple[str, ...]
    problem: str = ""

    @classmethod
    def of(
        cls,
        piece: SourcePiece,
        value: Any,
        form: str = "",
        files: Mapping[PurePath, int] | None = None,
    ) -> Self:
        """Create the node of a piece of source, with the sizes of its `files` by path."""
        sizes = files or {}
        shown = form or _files_shown(list(sizes)) or _form(piece, value)
        size = len(piece.source.encode()) + sum(sizes.values())
        cell = 0 if piece.origin is None else piece.origin.cell
        name = piece.name
        if piece.changes and piece.origin is not None:
            name = clip(piece.origin.first_line, _MAX_NAME)
        return cls(name, _kind(value), shown, size, cell, piece.chain)

    @classmethod
    def refused(
        cls, name: str, value: Any, chain: tuple[str, ...], problem: str, origin: Statement | None
    ) -> Self:
        """Create the node of an object that cannot be exported."""
        cell = 0 if origin is None else origin.cell
        return cls(name, _kind(value), "refused", 0, cell, chain, problem)


def _kind(value: Any) -> str:
    if isinstance(value, Endpoint):
        return "endpoint"
    if isinstance(value, type):
        return "class"
    if isinstance(value, ModuleType):
        return "module"
    return "function" if isinstance(value, FunctionType) else type(value).__name__


def _form(piece: SourcePiece, value: Any) -> str:
    if not piece.source:
        return "import"
    if piece.changes:
        return "repeated change"
    if _SNAPSHOT in piece.source:
        return "snapshot"
    if piece.order is None:
        return "expression"
    is_code = isinstance(value, FunctionType | type | Endpoint)
    return "source" if is_code or is_literal(value) else "repeated statement"


def _files_shown(places: list[PurePath]) -> str:
    """Return a single file's path, or the folder of several."""
    if len(places) < 2:
        return "".join(place.as_posix() for place in places)
    folder = os.path.commonpath([place.as_posix() for place in places])
    return f"{folder}/ ({len(places)} files)" if folder else f"{len(places)} files"
