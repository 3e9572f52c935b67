"""A filter as Qdrant has it, over words that are stored with each entry.

Qdrant compares values by rules of its own: an array matches by any of its items, a float never
equals, null is absent, and a key cannot hold a quote. So an entry carries `facets`, one word for
each thing that a filter can ask exactly, and `numbers` for ranges. What Qdrant cannot answer (text
in order, a part of a text) keeps too many entries; the caller asks the filter itself about each
that comes back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.remote.where import canonical, translate

if TYPE_CHECKING:
    from qdrant_client import models

FACETS, NUMBERS = "facets", "numbers"

_LONGEST = 100  # characters of a word; a longer one is known by its hash
_RANGES = {"$gt": "gte", "$gte": "gte", "$lt": "lte", "$lte": "lte"}
# by which a range is wider, relative: whole numbers are rounded to float64, and JSON may be read so
_SLACK = 1e-12
_MOST = sys.float_info.max


class Kept(NamedTuple):
    """What Qdrant is asked to keep, and whether these are exactly the entries that the filter
    keeps.

    `condition` is None for all entries. `ranges` are the payload fields that it orders by.
    """

    condition: models.Condition | None
    exact: bool
    ranges: frozenset[str] = frozenset()


def to_qdrant(where: Filter | None) -> Kept:
    """Return a condition that holds for every entry that `where` keeps, and maybe for more."""
    return Kept(None, True) if where is None else translate(where.where, _Qdrant())


def payload(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload fields that conditions look at."""
    facets: list[str] = []
    numbers: dict[str, float] = {}
    for key, value in metadata.items():
        facets += [_facet(key, "?"), _facet(key, "=", value)]
        match value:
            case str():
                facets.append(_facet(key, "text"))
            case list():
                facets += [_facet(key, "~", item) for item in value]
            case int() | float() if not isinstance(value, bool):
                numbers[_name(key)] = _float(value)
    return {FACETS: list(dict.fromkeys(facets)), NUMBERS: numbers}


class _Qdrant:
    def test(self, key: str, operator: str, operand: Any) -> Kept:
        match operator:
            case "$eq":
                return _has(_facet(key, "=", operand))
            case "$in":
                return _has(*(_facet(key, "=", item) for item in operand))
            case "$exists":
                return _has(_facet(key, "?")) if operand else self.negated(_has(_facet(key, "?")))
            case "$contains" if isinstance(operand, str):
                return _has(_facet(key, "~", operand), _facet(key, "text"))._replace(exact=False)
            case "$contains":
                return _has(_facet(key, "~", operand))
            case _ if isinstance(operand, str):
                return _has(_facet(key, "text"))._replace(exact=False)
            case _:
                return _within(f"{NUMBERS}.{_name(key)}", _RANGES[operator], operand)

    def every(self, parts: Sequence[Kept]) -> Kept:
        conditions = [part.condition for part in parts if part.condition is not None]
        return _combined("must" if conditions else None, conditions, parts)

    def some(self, parts: Sequence[Kept]) -> Kept:
        conditions = [part.condition for part in parts if part.condition is not None]
        return _combined("should" if len(conditions) == len(parts) else None, conditions, parts)

    def negated(self, part: Kept) -> Kept:
        if not part.exact:
            return Kept(None, False)  # the opposite of too many would be too few
        return _combined(
            "must_not", [_everything() if part.condition is None else part.condition], [part]
        )


def _combined(how: str | None, conditions: list[Any], parts: Sequence[Kept]) -> Kept:
    from qdrant_client import models

    condition = None if how is None else models.Filter.model_validate({how: conditions})
    ranges = frozenset[str]().union(*(part.ranges for part in parts))
    return Kept(condition, all(part.exact for part in parts), ranges if how else frozenset())


def _has(*facets: str) -> Kept:
    from qdrant_client import models

    return Kept(models.FieldCondition(key=FACETS, match=models.MatchAny(any=list(facets))), True)


def _everything() -> Any:
    from qdrant_client import models

    return models.Filter(must=[])


def _within(field: str, border: str, operand: float) -> Kept:
    from qdrant_client import models

    number = _float(operand)
    number += abs(number) * (_SLACK if border == "lte" else -_SLACK)
    number = min(_MOST, max(-_MOST, number))
    condition = models.FieldCondition(key=field, range=models.Range(**{border: number}))
    return Kept(condition, False, frozenset([field]))


def _facet(key: str, kind: str, *value: Any) -> str:
    text = json.dumps(key, ensure_ascii=False) + kind + "".join(map(canonical, value))
    return text if len(text) <= _LONGEST else f"#{_hash(text)}"


def _name(key: str) -> str:
    """Return a field name for a key; Qdrant's paths take no quotes, and dots mean nesting."""
    return f"n{_hash(key)}"


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _float(number: float) -> float:
    """Return the nearest float64, in the order of the numbers even where they are beyond it."""
    try:
        return float(number)
    except OverflowError:
        return _MOST if number > 0 else -_MOST
