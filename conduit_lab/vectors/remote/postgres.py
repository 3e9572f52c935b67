"""Postgres: the backend in a PostgreSQL table, with pgvector.

A table holds the entries as they were given (`id`, `embedding` as little-endian float32,
`metadata`, `content`) and what searches look at: `nearby`, the vector that distances are taken to;
`attributes`, the metadata for comparison (`where_sql`); the terms of the content (`terms`), how
often each occurs, and their number, `length`. `order` counts the entries in the order of adding.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections import Counter
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
from conduit_lab.vectors.remote.rescoring import MARGIN, best, searchable, searchable_entries
from conduit_lab.vectors.remote.terms import FIELD, count_terms, query_terms
from conduit_lab.vectors.remote.where_sql import attributes, read, to_sql, write

if TYPE_CHECKING:
    from psycopg import Connection

_NAME = re.compile(r"([a-zA-Z0-9_]{1,63}\.)?[a-zA-Z0-9_]{1,63}")
_FORMAT = "conduit-lab vector store 1, "  # then the metric; the table's comment
_OPERATORS = {"cosine": "<#>", "dot": "<#>", "l2": "<->"}
_EF_SEARCH = (
    400  # how far a search in an HNSW index looks around; the most candidates that it gives
)
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
ALTER TABLE {table} ALTER COLUMN nearby SET STORAGE MAIN, ALTER COLUMN embedding SET STORAGE EXTERNAL,
    ALTER COLUMN {terms} SET STORAGE MAIN, ALTER COLUMN counts SET STORAGE MAIN;
CREATE INDEX ON {table} USING gin (attributes jsonb_path_ops);
CREATE INDEX ON {table} USING gin ({terms});
CREATE INDEX ON {table} (length);
COMMENT ON TABLE {table} IS {comment}
"""
_PUT = """
INSERT INTO {table} (
    key, id, embedding, nearby, metadata, attributes, content, created_at, updated_at, {terms}, counts, length
)
VALUES (%s, %s, %s, %s::vector, %s::json, %s::jsonb, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO UPDATE SET embedding = excluded.embedding, nearby = excluded.nearby,
    metadata = excluded.metadata, attributes = excluded.attributes, content = excluded.content,
    updated_at = excluded.updated_at,
    {terms} = excluded.{terms}, counts = excluded.counts, length = excluded.length
"""
_MATCH = 'id, content, metadata::text, "order"'
_GRAPHS = """
SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = %s::regclass AND amname = 'hnsw' AND indisvalid
"""


class Postgres:
    """The entries of one store in the table `table`, made where it is missing; see `Backend`.

    A search looks at every row. Where that takes too long, make an index yourself, when the rows
    are there: `CREATE INDEX ON handbook USING hnsw (nearby vector_ip_ops) WITH (m = 32,
    ef_construction = 200)`, for l2 with `vector_l2_ops`. A search without a filter then uses it,
    unless `exact`; one with a filter never does, for pgvector filters what the index has found, and
    so finds too few.

    `url` is a libpq URL, perhaps with the table after the database. `dimension` and `metric` None
    are what the table has. Every call is one transaction. Raises `MissingExtra` without psycopg,
    and `StoreError` for a server that cannot be reached or lacks pgvector, and for a table of
    another kind.
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
        self._unindexed = ""  # why the rows have no terms
        try:
            self.dimension, self.metric = self._connections.run(
                lambda c: self._prepare(c, table, dimension, metric)
            )
        except BaseException:
            self.close()
            raise

    # Writing

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store all of `entries` or none."""
        if not entries:
            return
        nearby = searchable_entries(self.metric, entries)
        self._check_terms()
        terms = count_terms(entry.content for entry in entries)
        rows = [_row(*each) for each in zip(entries, nearby, terms, strict=True)]

        def put(connection: Connection[Any]) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                self._take_turn(connection)
                cursor.executemany(self._sql(_PUT), rows)

        self._connections.run(put)
        self._changed()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove what is there of `ids` and return how many there were."""
        query = self._sql("DELETE FROM {table} WHERE key = ANY(%s)")

        def remove(connection: Connection[Any]) -> int:
            with connection.transaction():
                self._take_turn(connection)
                return connection.execute(query, ([_key(id) for id in ids],)).rowcount

        count = self._connections.run(remove)
        if count:
            self._changed()
        return count

    # Reading

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None."""
        rows = self._ask(
            "SELECT id, embedding, metadata::text, content, created_at, updated_at FROM {table} WHERE key = ANY(%s)",
            [[_key(id) for id in ids]],
        )
        found = {row[0]: _entry(*row) for row in rows}
        return [found.get(write(id)) for id in ids]

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids in the order of adding."""
        keep = to_sql(where)
        rows = self._ask(
            'SELECT id FROM {table} WHERE {where} ORDER BY "order"', keep.values, where=keep.text
        )
        return [read(id) for (id,) in rows]

    def count(self, where: Filter | None = None) -> int:
        """Return how many entries there are."""
        keep = to_sql(where)
        return int(
            self._ask("SELECT count(*) FROM {table} WHERE {where}", keep.values, where=keep.text)[
                0
            ][0]
        )

    def search(
        self, queries: FloatArray, top_k: int, where: Filter | None = None, exact: bool = False
    ) -> Matches:
        """Return the best `top_k` for each row of `queries`."""
        wanted = top_k + MARGIN
        nearby = searchable(self.metric, queries, ["the query"] * len(queries))
        scan = exact or where is not None or wanted > _EF_SEARCH or not self._has_graph()
        lists = []
        for query, vector in zip(queries, nearby, strict=True):
            rows = self._nearest(vector, wanted, where, scan)
            if len(rows) < wanted and not scan:
                rows = self._nearest(vector, wanted, where, scan=True)
            lists.append(self._best(rows, query, top_k))
        plan = "exact scan in PostgreSQL" if scan else f"HNSW in PostgreSQL, {wanted} rescored"
        return Matches(lists, [plan] * len(lists))

    def lexical(self, text: str, top_k: int, where: Filter | None = None) -> list[Match]:
        """Return the best `top_k` entries by the words of `text`."""
        asked = query_terms(text)
        if not asked:
            return []
        self._check_terms()
        keep = to_sql(where)
        rows = self._ask(terms_sql.SEARCH, [asked, asked, *keep.values, top_k], where=keep.text)
        return [_match(row, row[4]) for row in rows]

    # Life

    def facts(self) -> list[str]:
        """Return what a repr shows."""
        return [
            "closed" if self._connections.closed else self.name,
            f"{self.dimension} × float32",
            self.metric,
        ]

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._connections.close()

    def _nearest(
        self, vector: FloatArray, wanted: int, where: Filter | None, scan: bool
    ) -> list[Any]:
        """Return candidates by what the server calculates: rows of id, content, metadata, order, embedding."""
        keep = to_sql(where)
        distance = "l1_distance(nearby, %s::vector)"
        if self.metric in _OPERATORS:
            distance = f"nearby {_OPERATORS[self.metric]} %s::vector"
        # An index cannot answer a sum, nor two columns.
        ordered = f'({distance}) + 0, "order"' if scan else distance
        query = (
            f"SELECT {_MATCH}, embedding FROM {{table}} WHERE {{where}} ORDER BY {ordered} LIMIT %s"
        )
        return self._ask(query, [*keep.values, _vector(vector), wanted], where=keep.text)

    def _best(self, rows: Sequence[Any], query: FloatArray, top_k: int) -> list[Match]:
        if not rows:
            return []
        vectors = np.stack([_floats(row[4]) for row in rows])
        found = best(self.metric, vectors, [row[3] for row in rows], query, top_k)
        return [_match(rows[at], score) for at, score in found]

    def _has_graph(self) -> bool:
        """Tell whether somebody has made an HNSW index over the vectors that answers this metric."""
        return self.metric in _OPERATORS and bool(self._ask(_GRAPHS, [self._table]))

    def _ask(self, query: str, values: Sequence[Any], where: str = "TRUE") -> list[Any]:
        text = self._sql(query, where)
        return self._connections.run(lambda connection: connection.execute(text, values).fetchall())

    def _sql(self, query: str, where: str = "TRUE") -> bytes:
        return query.format(table=self._table, terms=FIELD, match=_MATCH, where=where).encode()

    def _changed(self) -> None:
        with self._lock:
            self.version += 1

    def _take_turn(self, connection: Connection[Any]) -> None:
        """Let one writer in at a time, so that two batches never wait for each other's rows."""
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s::regclass::oid::bigint)", (self._table,)
        )

    def _prepare(
        self, connection: Connection[Any], table: str, dimension: int | None, metric: str | None
    ) -> tuple[int, str]:
        """Make the table where it is missing, and return the dimension and metric of the one that is there."""
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"{self.name}: the database's encoding is {encoding}, wanted UTF8: use another database"
            )
        with connection.transaction():
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"conduit-lab {table}",)
            )
            found = self._found(connection)
            if found is None:
                if dimension is None:
                    raise StoreError(
                        f"{self.name}: there is no such table: give a dimension to make it"
                    )
                found = dimension, metric or "cosine"
                self._create(connection, *found)
            self._upgrade(connection)
        for what, got, wanted in zip(
            ("dimension", "metric"), found, (dimension, metric), strict=True
        ):
            if wanted not in (None, got):
                raise StoreError(
                    f"{self.name}: the table has {what} {got}, wanted {wanted}: "
                    f"use the {what} it was made with, or another name"
                )
        return found

    def _found(self, connection: Connection[Any]) -> tuple[int, str] | None:
        row = connection.execute(
            "SELECT obj_description(c.oid, 'pg_class'), atttypmod FROM pg_class c LEFT JOIN pg_attribute "
            "ON attrelid = c.oid AND attname = 'nearby' WHERE c.oid = to_regclass(%s)",
            (self._table,),
        ).fetchone()
        if row is None:
            return None
        comment, dimension = row
        if dimension is None or not str(comment).startswith(_FORMAT):
            raise StoreError(
                f"{self.name}: there is a table of this name that is not a vector store: use another name"
            )
        return int(dimension), comment.removeprefix(_FORMAT)

    def _create(self, connection: Connection[Any], dimension: int, metric: str) -> None:
        if (
            connection.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchone()
            is None
        ):
            with self._connections.told(
                "pgvector is missing, and an administrator must run CREATE EXTENSION vector"
            ):
                connection.execute("CREATE EXTENSION vector")
        comment = f"'{_FORMAT}{metric}'"
        connection.execute(
            _SCHEMA.format(
                table=self._table, terms=FIELD, dimension=dimension, comment=comment
            ).encode()
        )

    def _upgrade(self, connection: Connection[Any]) -> None:
        """Add the terms that a table of an older version lacks, where this user may change it."""
        from psycopg import errors

        try:
            terms_sql.add(connection, self._table)
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
            self._unindexed = " ".join(str(error).split())

    def _check_terms(self) -> None:
        if self._unindexed:
            raise StoreError(
                f"{self.name}: an older version made this table, and this user cannot upgrade it "
                f"({self._unindexed}): connect once as the owner of the table"
            )


def _quoted(table: str) -> str:
    """Return the name of a table as SQL has it, `schema.table` in two parts."""
    if not _NAME.fullmatch(table):
        raise StoreError(
            f"a table's name has 1 to 63 letters, digits and underscores, perhaps a schema's before it, got {table!r}"
        )
    return ".".join(f'"{part}"' for part in table.split("."))


def _key(id: str) -> uuid.UUID:
    """Return the primary key of an id, which may be longer than an index can hold."""
    return uuid.uuid5(uuid.NAMESPACE_OID, id)


def _row(entry: Entry, nearby: FloatArray, terms: Counter[str]) -> tuple[Any, ...]:
    return (
        _key(entry.id),
        write(entry.id),
        entry.embedding.astype("<f4").tobytes(),
        _vector(nearby),
        json.dumps(entry.metadata),
        attributes(entry.metadata),
        None if entry.content is None else write(entry.content),
        entry.created_at,
        entry.updated_at,
        *terms_sql.columns(entry.content, terms),
    )


def _entry(
    id: str, embedding: bytes, metadata: str, content: str | None, created: float, updated: float
) -> Entry:
    text = None if content is None else read(content)
    return Entry(read(id), _floats(embedding), json.loads(metadata), text, created, updated)


def _match(row: Sequence[Any], score: Any) -> Match:
    id, content, metadata, *_ = row
    return Match(
        read(id), float(score), None if content is None else read(content), json.loads(metadata)
    )


def _floats(embedding: bytes) -> FloatArray:
    return np.frombuffer(embedding, "<f4").astype(np.float32)


def _vector(vector: FloatArray) -> str:
    """Return the text form of a vector; it is read as exactly these float32 values."""
    return str(vector.astype(np.float64).tolist())
