"""Filters as parametrised SQL over the column `attributes` (jsonb), the metadata for comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.remote.where import canonical, translate

# PostgreSQL's text cannot contain NUL. Six control characters are encoded as pairs, which preserves
# the order of texts. No pair starts inside another, so a text contains another exactly if its
# encoded form does.
_ENCODED = dict(enumerate(first + second for first in "\1\2" for second in "\3\4\5"))
_DECODED = {pair: chr(code) for code, pair in _ENCODED.items()}
_PAIR = re.compile("[\1\2][\3-\5]")

_MAX_LOOKUPS = 16  # values of `$in` looked up one by one in the index
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class Sql(NamedTuple):
    """A condition, never NULL, and the values of its `%s`."""

    text: str
    values: list[Any]


def to_sql(where: Filter | None) -> Sql:
    """Return the SQL condition that is true for exactly the entries that `where` keeps."""
    return Sql("TRUE", []) if where is None else translate(where.where, _Postgres())


def attributes(metadata: Mapping[str, Any]) -> str:
    """Return the column `attributes` of an entry, as JSON text."""
    return canonical(_encoded(metadata))


def encode_text(text: str) -> str:
    """Return text in a form that PostgreSQL can store."""
    return text.translate(_ENCODED)


def decode_text(text: str) -> str:
    """Return the original text; the inverse of `encode_text`."""
    return _PAIR.sub(lambda pair: _DECODED[pair[0]], text)


class _Postgres:
    def test(self, key: str, operator: str, operand: Any) -> Sql:
        name = encode_text(key)
        value = "attributes -> %s::text"
        match operator:
            case "$eq":
                # Containment is true for every equal value and uses the index.
                whole = canonical(_encoded({key: operand}))
                return Sql(
                    f"(attributes @> %s::jsonb AND {value} = %s::jsonb)",
                    [whole, name, _json(operand)],
                )
            case "$in" if len(operand) <= _MAX_LOOKUPS:
                return self.some([self.test(key, "$eq", item) for item in operand])
            case "$in":
                return Sql(
                    f"coalesce({value} = ANY(%s::jsonb[]), FALSE)",
                    [name, [_json(item) for item in operand]],
                )
            case "$exists":
                found = Sql("attributes ? %s::text", [name])
                return found if operand else self.negated(found)
            case "$contains":
                return self._contains(name, operand)
            case _:
                return self._ordered(name, _COMPARISONS[operator], operand)

    def every(self, parts: Sequence[Sql]) -> Sql:
        return _joined(" AND ", parts, "TRUE")

    def some(self, parts: Sequence[Sql]) -> Sql:
        return _joined(" OR ", parts, "FALSE")

    def negated(self, part: Sql) -> Sql:
        return Sql(f"NOT ({part.text})", part.values)

    def _ordered(self, name: str, comparison: str, operand: Any) -> Sql:
        kind = "jsonb_typeof(attributes -> %s::text)"
        if isinstance(operand, str):
            # "C" orders by code point, like Python; the database's own collation may not.
            text = f'(attributes ->> %s::text) COLLATE "C" {comparison} %s::text'
            return Sql(
                f"coalesce({kind} = 'string' AND {text}, FALSE)", [name, name, encode_text(operand)]
            )
        number = f"attributes -> %s::text {comparison} %s::jsonb"
        return Sql(f"coalesce({kind} = 'number' AND {number}, FALSE)", [name, name, _json(operand)])

    def _contains(self, name: str, operand: Any) -> Sql:
        item = (
            "EXISTS (SELECT FROM jsonb_array_elements(attributes -> %s::text) AS item "
            "WHERE item = %s::jsonb)"
        )
        cases, values = f"WHEN 'array' THEN {item}", [name, name, _json(operand)]
        if isinstance(operand, str):
            cases += " WHEN 'string' THEN strpos(attributes ->> %s::text, %s::text) > 0"
            values += [name, encode_text(operand)]
        return Sql(f"CASE jsonb_typeof(attributes -> %s::text) {cases} ELSE FALSE END", values)


def _joined(word: str, parts: Sequence[Sql], empty: str) -> Sql:
    text = f"({word.join(part.text for part in parts)})" if parts else empty
    return Sql(text, [value for part in parts for value in part.values])


def _json(value: Any) -> str:
    return canonical(_encoded(value))


def _encoded(value: Any) -> Any:
    """Return a JSON value with all text encoded for PostgreSQL."""
    match value:
        case str():
            return encode_text(value)
        case Mapping():
            return {encode_text(key): _encoded(item) for key, item in value.items()}
        case list():
            return [_encoded(item) for item in value]
        case _:
            return value
