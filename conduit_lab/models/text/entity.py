"""Entity: a labelled span of a text; Entities: the entities of one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

from conduit_lab.core.frames import to_frame
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled span: the characters `start` to `end` of a text, with a `score` from 0 to 1."""

    label: str
    score: float
    start: int
    end: int
    text: str


class Entities(Sequence[Entity], Viewed):
    """The entities of one text, in text order; in JSON a list of objects."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._entities = tuple(entities)

    @overload
    def __getitem__(self, index: int) -> Entity: ...
    @overload
    def __getitem__(self, index: slice) -> Entities: ...
    def __getitem__(self, index: int | slice) -> Entity | Entities:
        if isinstance(index, slice):
            return Entities(self._entities[index])
        return self._entities[index]

    def __len__(self) -> int:
        return len(self._entities)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._entities)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row per entity. Needs the `[lab]` extra."""
        return to_frame(map(asdict, self), Entity.__slots__, purpose="Entities.to_pandas()")

    def _table(self) -> Table:
        rows = [(e.text, e.label, f"{e.score:.3f}", str(e.start), str(e.end)) for e in self]
        columns = ("text", "label", "score", "start", "end")
        more = f"entities[{html.MAX_ROWS}:]"
        return Table(columns, rows, numeric=("score", "start", "end"), whole=more)

    def _view(self) -> View:
        return View("Entities", figures.count(len(self)), tables=[self._table()])

    def __repr__(self) -> str:
        return self._table().plain() if self._entities else "no entities"
