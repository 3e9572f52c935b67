"""Filters for Qdrant, over facets stored with each entry.

Qdrant's comparisons differ: an array matches if any of its items does, floats cannot be tested for
equality, null counts as missing, and a key cannot contain a quote. So each entry has `facets`, one
word per exact test of a filter, and `numbers` for ranges. Conditions that Qdrant lacks (text order,
substrings) keep too many entries; the caller applies the filter itself to the results.
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

_MAX_FACET_CHARACTERS = 100  # longer facets are stored as hashes
_RANGES = {"$gt": "gte", "$gte": "gte", "$lt": "lte", "$lte": "lte"}
# Relative widening of ranges: integers are rounded to float64, as in some JSON parsers.
_SLACK = 1e-12
_MAX_FLOAT = sys.float_info.max


class QdrantCondition(NamedTuple):
    """A condition (None for all entries), and whether it keeps exactly the filter's entries.

    `ranges` are the payload fields that it compares with ranges.
    """

    condition: models.Condition | None
    exact: bool
    ranges: frozenset[str] = frozenset()


def to_qdrant(where: Filter | None) -> QdrantCondition:
    """Return a condition that is true for every entry that `where` keeps, and possibly for more."""
    return QdrantCondition(None, True) if where is None else translate(where.where, _Qdrant())


def payload(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload fields for conditions."""
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
    def test(self, key: str, operator: str, operand: Any) -> QdrantCondition:
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

    def every(self, parts: Sequence[QdrantCondition]) -> QdrantCondition:
        conditions = [part.condition for part in parts if part.condition is not None]
        return _combined("must" if conditions else None, conditions, parts)

    def some(self, parts: Sequence[QdrantCondition]) -> QdrantCondition:
        conditions = [part.condition for part in parts if part.condition is not None]
        return _combined("should" if len(conditions) == len(parts) else None, conditions, parts)

    def negated(self, part: QdrantCondition) -> QdrantCondition:
        if not part.exact:
            return QdrantCondition(None, False)  # its negation would keep too few
        return _combined(
            "must_not", [_everything() if part.condition is None else part.condition], [part]
        )


def _combined(
    how: str | None, conditions: list[Any], parts: Sequence[QdrantCondition]
) -> QdrantCondition:
    from qdrant_client import models

    condition = None if how is None else models.Filter.model_validate({how: conditions})
    ranges = frozenset[str]().union(*(part.ranges for part in parts))
    return QdrantCondition(
        condition, all(part.exact for part in parts), ranges if how else frozenset()
    )


def _has(*facets: str) -> QdrantCondition:
    from qdrant_client import models

    return QdrantCondition(
        models.FieldCondition(key=FACETS, match=models.MatchAny(any=list(facets))), True
    )


def _everything() -> Any:
    from qdrant_client import models

    return models.Filter(must=[])


def _within(field: str, border: str, operand: float) -> QdrantCondition:
    from qdrant_client import models

    number = _float(operand)
    number += abs(number) * (_SLACK if border == "lte" else -_SLACK)
    number = min(_MAX_FLOAT, max(-_MAX_FLOAT, number))
    condition = models.FieldCondition(key=field, range=models.Range(**{border: number}))
    return QdrantCondition(condition, False, frozenset([field]))


def _facet(key: str, kind: str, *value: Any) -> str:
    text = json.dumps(key, ensure_ascii=False) + kind + "".join(map(canonical, value))
    return text if len(text) <= _MAX_FACET_CHARACTERS else f"#{_hash(text)}"


def _name(key: str) -> str:
    """Return a field name for a key; Qdrant's paths do not allow quotes, and dots mean nesting."""
    return f"n{_hash(key)}"


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _float(number: float) -> float:
    """Return the nearest finite float64."""
    try:
        return float(number)
    except OverflowError:
        return _MAX_FLOAT if number > 0 else -_MAX_FLOAT
