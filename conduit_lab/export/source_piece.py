"""SourcePiece: one block of an exported `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from conduit_lab.export.statement import Statement


@dataclass(frozen=True)
class SourcePiece:
    """A block of source for `name`, with the chain of names that needs it.

    It binds or changes `binds`, and uses `needs`, including uses inside its functions. `origin` is
    the session's statement that it comes from. `order` is the statement's position in execution
    order; None for source that holds live values. `changes` says that it changes objects that other
    pieces create.
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
        """Its position in the notebook; an object without a statement comes first."""
        return (-1, 0) if self.origin is None else self.origin.place

    @property
    def key(self) -> int | str:
        """Equal for two pieces that come from the same statement."""
        if self.origin is not None and self.source == self.origin.text:
            return self.origin.order
        return self.source

    def joined(self, other: SourcePiece) -> Self:
        """Merge the effects that `other` records for the same statement into this piece."""
        return replace(
            self,
            binds=self.binds | other.binds,
            needs=self.needs | other.needs,
            changes=self.changes or other.changes,
        )
