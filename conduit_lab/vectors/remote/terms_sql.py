"""Terms of texts in PostgreSQL: arrays of terms and frequencies, and their number, `length`."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from conduit_lab.vectors.remote.terms import FIELD, count_terms
from conduit_lab.vectors.remote.where_sql import decode_text

if TYPE_CHECKING:
    from psycopg import Connection

_PAGE_ROWS = 1_000  # of an older table, upgraded together

# BM25 as in FTS5 (k1 = 1.2, b = 0.75), for the same order as in the local store.
SEARCH = """
WITH size AS MATERIALIZED (
    SELECT count(length)::float8 AS texts, 0.9 / nullif(avg(length), 0)::float8 AS slope
    FROM {table}
), asked AS MATERIALIZED (
    SELECT term, slope,
        2.2 * greatest(ln((texts - holding + 0.5) / (holding + 0.5)), 1e-6) AS weight
    FROM unnest(%s::text[]) AS term, size,
        LATERAL (SELECT count(*) AS holding FROM {table} WHERE {terms} @> ARRAY[term]) AS frequency
)
SELECT {match}, (
    SELECT sum(weight / (1 + (0.3 + slope * length) / counts[array_position({terms}, term)]))
    FROM asked
) AS score
FROM {table} WHERE {terms} && %s::text[] AND {where}
ORDER BY score DESC, "order" LIMIT %s
"""

_HAS = (
    "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped"
)
_ADD = (
    "ALTER TABLE {table} ADD {terms} text[], ADD counts integer[], ADD length integer",
    "ALTER TABLE {table} ALTER {terms} SET STORAGE MAIN, ALTER counts SET STORAGE MAIN",
)
_READ = "SELECT key, content FROM {table} WHERE key > %s ORDER BY key LIMIT %s"
_FILL = "UPDATE {table} SET {terms} = %s, counts = %s, length = %s WHERE key = %s"
_FINISH = (
    # From now on older versions cannot add rows without terms.
    "ALTER TABLE {table} ALTER {terms} SET NOT NULL, ALTER counts SET NOT NULL, "
    "DROP IF EXISTS words",
    "CREATE INDEX ON {table} USING gin ({terms})",
    "CREATE INDEX ON {table} (length)",
)


def term_columns(content: str | None, terms: Counter[str]) -> tuple[str, str, int | None]:
    """Return the three columns of a row, arrays in PostgreSQL's text form."""
    return _array(terms), _array(terms.values()), None if content is None else terms.total()


def _array(items: Iterable[str | int]) -> str:
    return "{" + ",".join(f'"{item}"' for item in items) + "}"  # quoted, since a term may be "null"


def add_terms(connection: Connection[Any], table: str) -> None:
    """Add the columns to the table of an older version atomically."""

    def sql(statement: str) -> bytes:
        return statement.format(table=table, terms=FIELD).encode()

    if connection.execute(_HAS, (table, FIELD)).fetchone() is not None:
        return
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")  # indexing a large table takes long
        for statement in _ADD:
            cursor.execute(sql(statement))
        last = uuid.UUID(int=0)
        while rows := cursor.execute(sql(_READ), (last, _PAGE_ROWS)).fetchall():
            contents = [None if content is None else decode_text(content) for _, content in rows]
            filled = map(term_columns, contents, count_terms(contents))
            last = rows[-1][0]
            values = [(*row, key) for row, (key, _) in zip(filled, rows, strict=True)]
            cursor.executemany(sql(_FILL), values)
        for statement in _FINISH:
            cursor.execute(sql(statement))
