"""Entity: a labelled span of a text; Entities: those of one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conduit_lab.core.views import figures, html

_COLUMNS = ("text", "label", "score", "start", "end")
_NUMERIC = ("score", "start", "end")


@dataclass(frozen=True, slots=True)
class Entity:
    """The characters `start` to `end` of a text, which are `text`, with their label and its score from 0 to 1."""

    label: str
    score: float
    start: int
    end: int
    text: str


class Entities(Sequence[Entity]):
    """The entities of one text, in its order; in JSON a list of objects."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._entities = tuple(entities)

    def __getitem__(self, index: Any) -> Any:
        return (
            Entities(self._entities[index]) if isinstance(index, slice) else self._entities[index]
        )

    def __len__(self) -> int:
        return len(self._entities)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._entities)

    def to_pandas(self) -> Any:
        """Return a DataFrame, one row per entity."""
        import pandas as pd

        return pd.DataFrame([asdict(entity) for entity in self], columns=[*Entity.__slots__])

    def _rows(self) -> list[tuple[str, ...]]:
        return [(e.text, e.label, f"{e.score:.3f}", str(e.start), str(e.end)) for e in self]

    def __repr__(self) -> str:
        if not self._entities:
            return "no entities"
        table = html.columns(_COLUMNS, self._rows()[: html.MAX_ROWS], numeric=_NUMERIC)
        more = len(self) - html.MAX_ROWS
        return f"{table}\n{figures.count(more)} more rows" if more > 0 else table

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header("Entities", figures.count(len(self)))
        if self._entities:
            shown += html.table(_COLUMNS, self._rows(), numeric=_NUMERIC)
        return html.bundle(repr(self), shown)
