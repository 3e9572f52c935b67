"""SourcePiece: one block of an exported `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from conduit_lab.export.statement import Statement


@dataclass(frozen=True)
class SourcePiece:
    """One block of source for `name`, with the chain of names that needs it.

    It binds or changes `binds`, and uses `needs`, also inside its functions. `origin` is the
    session's statement behind it. `order` counts the statements as they ran; None for source that
    holds the live values. With `changes` it changes objects that other pieces made.
    """

    name: str
    source: str
    chain: tuple[str, ...]
    binds: frozenset[str]
    needs: frozenset[str] = frozenset()
    origin: Statement | None = None
    order: int | None = None
    changes: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the notebook; first for an object that no statement made."""
        return (-1, 0) if self.origin is None else self.origin.place

    @property
    def key(self) -> int | str:
        """The same for two pieces that are one statement."""
        if self.origin is not None and self.source == self.origin.text:
            return self.origin.order
        return self.source

    def joined(self, other: SourcePiece) -> Self:
        """Return this piece, joined with the effects of the same statement in `other`."""
        return replace(
            self,
            binds=self.binds | other.binds,
            needs=self.needs | other.needs,
            changes=self.changes or other.changes,
        )
