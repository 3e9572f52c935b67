"""Postgres: the backend in a PostgreSQL table, with pgvector.

A table holds the original entries (`id`, `embedding` as little-endian float32, `metadata`,
`content`) and columns for search: `nearby`, the vector used for distances; `attributes`, the
metadata for comparison (`where_sql`); the terms of the content (`terms`), their frequencies, and
their number, `length`. `order` numbers the entries in insertion order.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core import forking
from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Match, Matches
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.remote import terms_sql
from conduit_lab.vectors.remote.connections import Connections
from conduit_lab.vectors.remote.postgres_rows import (
    ENTRY_SELECT,
    MATCH_SELECT,
    embedding_vector,
    entry_to_row,
    row_key,
    row_to_entry,
    row_to_match,
    vector_text,
)
from conduit_lab.vectors.remote.rescoring import (
    EXTRA_CANDIDATES,
    rescore,
    searchable,
    searchable_entries,
)
from conduit_lab.vectors.remote.terms import FIELD, count_terms, query_terms
from conduit_lab.vectors.remote.where_sql import decode_text, encode_text, to_sql

if TYPE_CHECKING:
    from psycopg import Connection

_NAME = re.compile(r"([a-zA-Z0-9_]{1,63}\.)?[a-zA-Z0-9_]{1,63}")
_FORMAT = "conduit-lab vector store 1, "  # then the metric; the table's comment
_OPERATORS = {"cosine": "<#>", "dot": "<#>", "l2": "<->"}
_EF_SEARCH = 400  # of an HNSW index; also the maximum number of its candidates
_SCHEMA = """
CREATE TABLE {table} (
    "order" bigint GENERATED ALWAYS AS IDENTITY,
    key uuid PRIMARY KEY,
    id text NOT NULL,
    embedding bytea NOT NULL,
    nearby vector({dimension}) NOT NULL,
    metadata json NOT NULL,
    attributes jsonb NOT NULL,
    content text,
    created_at double precision NOT NULL,
    updated_at double precision NOT NULL,
    {terms} text[] NOT NULL,
    counts integer[] NOT NULL,
    length integer
);
ALTER TABLE {table} ALTER COLUMN nearby SET STORAGE MAIN,
    ALTER COLUMN embedding SET STORAGE EXTERNAL, ALTER COLUMN {terms} SET STORAGE MAIN,
    ALTER COLUMN counts SET STORAGE MAIN;
CREATE INDEX ON {table} USING gin (attributes jsonb_path_ops);
CREATE INDEX ON {table} USING gin ({terms});
CREATE INDEX ON {table} (length);
COMMENT ON TABLE {table} IS {comment}
"""
_PUT = """
INSERT INTO {table} (
    key, id, embedding, nearby, metadata, attributes, content, created_at, updated_at, {terms},
    counts, length
)
VALUES (%s, %s, %s, %s::vector, %s::json, %s::jsonb, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO UPDATE SET embedding = excluded.embedding, nearby = excluded.nearby,
    metadata = excluded.metadata, attributes = excluded.attributes, content = excluded.content,
    updated_at = excluded.updated_at,
    {terms} = excluded.{terms}, counts = excluded.counts, length = excluded.length
"""
_GRAPHS = """
SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = %s::regclass AND amname = 'hnsw' AND indisvalid
"""


class Postgres:
    """The entries of one store in the table `table`, created if missing; see `Backend`.

    A search scans every row. If that takes too long, create an index once the rows are inserted:
    `CREATE INDEX ON handbook USING hnsw (nearby vector_ip_ops) WITH (m = 32, ef_construction =
    200)`, for l2 with `vector_l2_ops`. A search without a filter then uses it, unless `exact` is
    set; a search with a filter never does, because pgvector filters the results of the index and
    would find too few.

    `url` is a libpq URL, optionally with the table after the database. `dimension` and `metric`
    default to those of the table. Every call is one transaction. Raises `MissingExtra` without
    psycopg, and `StoreError` for a server that cannot be reached or lacks pgvector, and for a table
    of another kind.
    """

    notes = None

    def __init__(self, url: str, table: str, dimension: int | None, metric: str | None) -> None:
        self._connections = Connections(url, {"hnsw.ef_search": _EF_SEARCH})
        table = self._connections.table or table
        self.name = f"{self._connections.name} table {table!r}"
        self._table = _quoted(table)
        self._lock = threading.Lock()
        forking.free_in_child(self, "_lock")
        self.version = 0
        self._unindexed = ""  # the reason why rows have no terms
        try:
            self.dimension, self.metric = self._connections.run(
                lambda c: self._prepare(c, table, dimension, metric)
            )
        except BaseException:
            self.close()
            raise

    # Writing

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store `entries` atomically."""
        if not entries:
            return
        nearby = searchable_entries(self.metric, entries)
        self._check_terms()
        terms = count_terms(entry.content for entry in entries)
        rows = [entry_to_row(*each) for each in zip(entries, nearby, terms, strict=True)]

        def put(connection: Connection[Any]) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                self._lock_writes(connection)
                cursor.executemany(self._sql(_PUT), rows)

        self._connections.run(put)
        self._changed()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the entries of `ids` that exist; return their number."""
        query = self._sql("DELETE FROM {table} WHERE key = ANY(%s)")

        def remove(connection: Connection[Any]) -> int:
            with connection.transaction():
                self._lock_writes(connection)
                return connection.execute(query, ([row_key(id) for id in ids],)).rowcount

        count = self._connections.run(remove)
        if count:
            self._changed()
        return count

    # Reading

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None."""
        query = f"SELECT {ENTRY_SELECT} FROM {{table}} WHERE key = ANY(%s)"
        rows = self._ask(query, [[row_key(id) for id in ids]])
        found = {row[0]: row_to_entry(*row) for row in rows}
        return [found.get(encode_text(id)) for id in ids]

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids in insertion order."""
        keep = to_sql(where)
        query = 'SELECT id FROM {table} WHERE {where} ORDER BY "order"'
        rows = self._ask(query, keep.values, where=keep.text)
        return [decode_text(id) for (id,) in rows]

    def count(self, where: Filter | None = None) -> int:
        """Return the number of entries."""
        keep = to_sql(where)
        query = "SELECT count(*) FROM {table} WHERE {where}"
        [(count,)] = self._ask(query, keep.values, where=keep.text)
        return int(count)

    def search(
        self, queries: FloatArray, top_k: int, where: Filter | None = None, exact: bool = False
    ) -> Matches:
        """Return the best `top_k` for each row of `queries`."""
        count = top_k + EXTRA_CANDIDATES
        nearby = searchable(self.metric, queries, ["the query"] * len(queries))
        scan = exact or where is not None or count > _EF_SEARCH or not self._has_graph()
        lists = []
        for query, vector in zip(queries, nearby, strict=True):
            rows = self._nearest(vector, count, where, scan)
            if len(rows) < count and not scan:
                rows = self._nearest(vector, count, where, scan=True)
            lists.append(self._best(rows, query, top_k))
        plan = "exact scan in PostgreSQL" if scan else f"HNSW in PostgreSQL, {count} rescored"
        return Matches(lists, [plan] * len(lists))

    def lexical(self, text: str, top_k: int, where: Filter | None = None) -> list[Match]:
        """Return the best `top_k` entries by the words of `text`."""
        asked = query_terms(text)
        if not asked:
            return []
        self._check_terms()
        keep = to_sql(where)
        rows = self._ask(terms_sql.SEARCH, [asked, asked, *keep.values, top_k], where=keep.text)
        return [row_to_match(row, row[4]) for row in rows]

    # Life

    def facts(self) -> list[str]:
        """Return the facts for a repr."""
        return [
            "closed" if self._connections.closed else self.name,
            f"{self.dimension} × float32",
            self.metric,
        ]

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._connections.close()

    def _nearest(
        self, vector: FloatArray, count: int, where: Filter | None, scan: bool
    ) -> list[Any]:
        """Return the server's candidates: rows of id, content, metadata, order, embedding."""
        keep = to_sql(where)
        distance = "l1_distance(nearby, %s::vector)"
        if self.metric in _OPERATORS:
            distance = f"nearby {_OPERATORS[self.metric]} %s::vector"
        # The planner does not use the index for a sum or for two columns.
        ordered = f'({distance}) + 0, "order"' if scan else distance
        rows = f"SELECT {MATCH_SELECT}, embedding FROM {{table}} WHERE {{where}}"
        values = [*keep.values, vector_text(vector), count]
        return self._ask(f"{rows} ORDER BY {ordered} LIMIT %s", values, where=keep.text)

    def _best(self, rows: Sequence[Any], query: FloatArray, top_k: int) -> list[Match]:
        if not rows:
            return []
        vectors = np.stack([embedding_vector(row[4]) for row in rows])
        found = rescore(self.metric, vectors, [row[3] for row in rows], query, top_k)
        return [row_to_match(rows[at], score) for at, score in found]

    def _has_graph(self) -> bool:
        """Return whether the table has a valid HNSW index, for a metric that it supports."""
        return self.metric in _OPERATORS and bool(self._ask(_GRAPHS, [self._table]))

    def _ask(self, query: str, values: Sequence[Any], where: str = "TRUE") -> list[Any]:
        text = self._sql(query, where)
        return self._connections.run(lambda connection: connection.execute(text, values).fetchall())

    def _sql(self, query: str, where: str = "TRUE") -> bytes:
        return query.format(
            table=self._table, terms=FIELD, match=MATCH_SELECT, where=where
        ).encode()

    def _changed(self) -> None:
        with self._lock:
            self.version += 1

    def _lock_writes(self, connection: Connection[Any]) -> None:
        """Admit one writer at a time, so two batches cannot deadlock on each other's rows."""
        lock = "SELECT pg_advisory_xact_lock(%s::regclass::oid::bigint)"
        connection.execute(lock, (self._table,))

    def _prepare(
        self, connection: Connection[Any], table: str, dimension: int | None, metric: str | None
    ) -> tuple[int, str]:
        """Create the table if missing; return its dimension and metric."""
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"{self.name}: expected a database with encoding UTF8, got {encoding}: use another"
            )
        with connection.transaction():
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"conduit-lab {table}",)
            )
            found = self._found(connection)
            if found is None:
                if dimension is None:
                    raise StoreError(
                        f"{self.name}: there is no such table: give a dimension to create it"
                    )
                found = dimension, metric or "cosine"
                self._create(connection, *found)
            self._upgrade(connection)
        given = (("dimension", dimension), ("metric", metric))
        for (what, expected), got in zip(given, found, strict=True):
            if expected not in (None, got):
                raise StoreError(
                    f"{self.name}: expected a table with {what} {expected}, got {got}: "
                    f"use the {what} that it was created with, or another name"
                )
        return found

    def _found(self, connection: Connection[Any]) -> tuple[int, str] | None:
        row = connection.execute(
            "SELECT obj_description(c.oid, 'pg_class'), atttypmod "
            "FROM pg_class c LEFT JOIN pg_attribute ON attrelid = c.oid AND attname = 'nearby' "
            "WHERE c.oid = to_regclass(%s)",
            (self._table,),
        ).fetchone()
        if row is None:
            return None
        comment, dimension = row
        if dimension is None or not str(comment).startswith(_FORMAT):
            raise StoreError(
                f"{self.name}: the table of this name is not a vector store: use another name"
            )
        return int(dimension), comment.removeprefix(_FORMAT)

    def _create(self, connection: Connection[Any], dimension: int, metric: str) -> None:
        installed = "SELECT FROM pg_extension WHERE extname = 'vector'"
        if connection.execute(installed).fetchone() is None:
            advice = "pgvector is missing, and an administrator must run CREATE EXTENSION vector"
            with self._connections.translated(advice):
                connection.execute("CREATE EXTENSION vector")
        names = {"table": self._table, "terms": FIELD, "comment": f"'{_FORMAT}{metric}'"}
        connection.execute(_SCHEMA.format(dimension=dimension, **names).encode())

    def _upgrade(self, connection: Connection[Any]) -> None:
        """Add the missing terms to a table of an older version, if this user may change it."""
        from psycopg import errors

        try:
            terms_sql.add_terms(connection, self._table)
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
            self._unindexed = " ".join(str(error).split())

    def _check_terms(self) -> None:
        if self._unindexed:
            raise StoreError(
                f"{self.name}: an older version created this table, which this user cannot upgrade "
                f"({self._unindexed}): connect once as the owner of the table"
            )


def _quoted(table: str) -> str:
    """Return the quoted name of a table, `schema.table` in two parts."""
    if not _NAME.fullmatch(table):
        raise StoreError(
            "a table's name has 1 to 63 letters, digits and underscores, perhaps after a schema's, "
            f"got {table!r}"
        )
    return ".".join(f'"{part}"' for part in table.split("."))
