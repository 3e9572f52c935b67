"""PostgreSQL only: connections, transactions, indexes and foreign tables."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors import filters
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.remote import terms_sql
from conduit_lab.vectors.remote.connect import connect_backend
from conduit_lab.vectors.remote.connections import Connections
from conduit_lab.vectors.remote.postgres import Postgres
from conduit_lab.vectors.remote.terms import FIELD
from tests.vectors.conformance import DIMENSION, entry


@pytest.fixture
def table(tmp_path: Path) -> str:
    return tmp_path.name


@pytest.fixture
def store(postgres: str, table: str) -> Iterator[Postgres]:
    backend = Postgres(postgres, table, DIMENSION, "cosine")
    yield backend
    backend.close()


@pytest.fixture
def admin(postgres: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


def end_other_connections(admin: psycopg.Connection[Any]) -> None:
    admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


def test_a_batch_is_stored_whole_or_not_at_all(store: Postgres) -> None:
    store.upsert([entry("a", 1.0)])
    never: Any = None
    refused = replace(entry("c"), updated_at=never)
    with pytest.raises(StoreError, match="updated_at"):
        store.upsert([entry("a", 2.0), entry("b"), refused])
    assert store.ids() == ["a"]
    [found] = store.get(["a"])
    assert found is not None
    assert found.embedding.tolist() == [1.0] * DIMENSION
    assert store.version == 1


def test_a_dropped_connection_is_made_again(
    store: Postgres, admin: psycopg.Connection[Any]
) -> None:
    store.upsert([entry("a")])
    end_other_connections(admin)
    assert store.ids() == ["a"]
    end_other_connections(admin)
    store.upsert([entry("b")])
    end_other_connections(admin)
    assert store.delete(["a", "b"]) == 2


def test_one_caller_needs_one_connection(
    store: Postgres, table: str, admin: psycopg.Connection[Any]
) -> None:
    for _ in range(3):
        store.ids()
    query = "SELECT count(*) FROM pg_stat_activity WHERE query ~ %s AND pid <> pg_backend_pid()"
    assert admin.execute(query, (table,)).fetchone() == (1,)


def test_close_closes_the_connections(store: Postgres) -> None:
    [connection] = store._connections._idle
    store.close()
    assert connection.closed


def test_a_store_that_is_only_dropped_closes_its_connections(postgres: str, table: str) -> None:
    store = Postgres(postgres, table, DIMENSION, "cosine")
    [connection] = store._connections._idle
    del store
    gc.collect()
    assert connection.closed


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is the server running") as raised:
        connect_backend(f"postgresql://ann:s3cret@/shop/handbook?host={tmp_path}", DIMENSION)
    assert f"postgresql://ann@{tmp_path}/shop: " in str(raised.value)
    assert "s3cret" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.parametrize(
    "password", ["s3c%r3t", "s3c/r3t", "s3c#r3t", "s3c?r3t", "s3c@r3t", "s3c r3t"]
)
def test_a_url_that_cannot_be_read_is_not_shown(password: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        connect_backend(f"postgresql://ann:{password}@/shop/handbook?host={tmp_path}", DIMENSION)
    shown = f"{raised.value!r} {raised.value.__cause__!r}"
    assert "s3c" not in shown
    assert "r3t" not in shown


def test_a_url_without_a_host_is_the_servers_socket() -> None:
    connections = Connections("postgresql:///shop/hand%62ook?application_name=x", {})
    assert (connections.name, connections.table) == ("postgresql://localhost/shop", "handbook")


def test_facts_have_no_password(postgres: str, table: str) -> None:
    store = connect_backend(
        postgres.replace("postgres:@", "postgres:s3cret@"), DIMENSION, name=table
    )
    assert "s3cret" not in f"{store.facts()} {store!r}"
    assert f"table {table!r}" in store.facts()[0]
    store.close()


def test_the_table_stands_in_the_url(postgres: str, table: str) -> None:
    first = connect_backend(
        postgres.replace("/postgres?", f"/postgres/{table}?"), DIMENSION, "dot", name="other"
    )
    first.upsert([entry("a")])
    second = connect_backend(postgres, name=table)
    assert (second.dimension, second.metric, second.ids()) == (DIMENSION, "dot", ["a"])
    first.close()
    second.close()


def test_a_new_table_needs_a_dimension(postgres: str, table: str) -> None:
    with pytest.raises(StoreError, match="no such table: give a dimension"):
        connect_backend(postgres, name=table)


@pytest.mark.parametrize("columns", ["n int", "nearby vector(6)"])
def test_a_table_of_another_program_is_left_alone(
    postgres: str, table: str, store: Postgres, admin: psycopg.Connection[Any], columns: str
) -> None:
    admin.execute(f'CREATE TABLE "{table}_other" ({columns})'.encode())
    with pytest.raises(StoreError, match="not a vector store"):
        connect_backend(postgres, DIMENSION, name=f"{table}_other")


@pytest.mark.parametrize("name", ["", "a b", 'a"; DROP TABLE x --', "x" * 64, "a.b.c", "é"])
def test_a_name_that_is_no_table_is_refused(postgres: str, name: str) -> None:
    with pytest.raises(StoreError, match="letters, digits"):
        connect_backend(postgres, DIMENSION, name=name)


def test_a_table_in_another_schema(
    postgres: str, table: str, admin: psycopg.Connection[Any]
) -> None:
    admin.execute(f'CREATE SCHEMA "{table}"'.encode())
    store = connect_backend(postgres, DIMENSION, name=f"{table}.handbook")
    store.upsert([entry("a")])
    assert admin.execute(f'SELECT id FROM "{table}".handbook'.encode()).fetchall() == [("a",)]
    store.close()


def test_an_hnsw_index_is_used_but_never_under_a_filter(
    store: Postgres, table: str, admin: psycopg.Connection[Any]
) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((600, DIMENSION), np.float32)
    store.upsert([Entry(f"id {i}", row, {"n": i}, None, 0.0, 0.0) for i, row in enumerate(rows)])
    store.upsert([entry("zero", 0.0)])
    assert store.search(rows[:1], 5).plan == "exact scan in PostgreSQL"
    exact = store.search(rows[:40], 10, exact=True)
    admin.execute(f'CREATE INDEX ON "{table}" USING hnsw (nearby vector_ip_ops)'.encode())
    found = store.search(rows[:40], 10)
    assert found.plan == "HNSW in PostgreSQL, 74 rescored"
    alike = [
        len({m.id for m in a} & {m.id for m in b})
        for a, b in zip(found.lists, exact.lists, strict=True)
    ]
    assert sum(alike) >= 0.95 * 400
    rare = store.search(rows[:1], 10, filters.parse_filter({"n": {"$gte": 590}}))
    assert (len(rare.lists[0]), rare.plan) == (10, "exact scan in PostgreSQL")
    assert len(store.search(rows[:1], 300).lists[0]) == 300
    assert store.search(rows[:1], 5, exact=True).plan == "exact scan in PostgreSQL"


def test_a_value_that_would_overflow_is_refused(postgres: str, table: str) -> None:
    store = connect_backend(postgres, DIMENSION, "l2", name=table)
    with pytest.raises(ValueError, match="the embedding of 'b' has a value beyond"):
        store.upsert([entry("a"), entry("b", 1e30)])
    with pytest.raises(ValueError, match="the query has a value beyond"):
        store.search(np.full((1, DIMENSION), 1e30, np.float32), 1)
    assert store.count() == 0
    store.close()


def test_a_forked_child_has_connections_of_its_own(store: Postgres) -> None:
    store.upsert([entry("a")])
    store._connections._process = -1  # as it looks in a child
    kept = list(store._connections._idle)
    assert store.ids() == ["a"]
    assert store._connections._process == os.getpid()
    assert not set(kept) & set(store._connections._idle)
    for connection in kept:
        connection.close()


def as_an_older_version_made_it(admin: psycopg.Connection[Any], table: str) -> None:
    words = "tsvector GENERATED ALWAYS AS (to_tsvector('english', left(content, 100000))) STORED"
    for change in (f"DROP {FIELD}, DROP counts, DROP length", f"ADD words {words}"):
        admin.execute(f'ALTER TABLE "{table}" {change}'.encode())


TEXTS = {"a": "The Café returns", "b": "ёлка\0", "empty": "", "none": None}


def fill(store: Postgres) -> None:
    store.upsert([entry(id, content=text) for id, text in TEXTS.items()])
    store.upsert([entry(str(n), content=f"lamp {n}") for n in range(20)])


def test_a_table_of_an_older_version_is_upgraded_when_it_opens(
    postgres: str,
    table: str,
    store: Postgres,
    admin: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(store)
    expected = [store.lexical(query, 30) for query in ("lamps", "the cafe", "ЕЛКА")]
    rows = f'SELECT id, {FIELD}, counts, length FROM "{table}" ORDER BY id'.encode()
    before, ids = admin.execute(rows).fetchall(), store.ids()
    as_an_older_version_made_it(admin, table)
    monkeypatch.setattr(terms_sql, "_PAGE_ROWS", 7)
    for _ in range(2):
        again = Postgres(postgres, table, DIMENSION, "cosine")
        assert [again.lexical(query, 30) for query in ("lamps", "the cafe", "ЕЛКА")] == expected
        assert again.ids() == ids
        again.close()
    assert [
        (id, sorted(zip(*row[:2], strict=True)), row[2])
        for id, *row in admin.execute(rows).fetchall()
    ] == [(id, sorted(zip(*row[:2], strict=True)), row[2]) for id, *row in before]


def test_an_older_version_cannot_add_entries_without_their_words(
    table: str, store: Postgres, admin: psycopg.Connection[Any]
) -> None:
    columns = "key, id, embedding, nearby, metadata, attributes, content, created_at, updated_at"
    values = "gen_random_uuid(), 'a', '', '[1,1,1,1,1,1]', '{}', '{}', 'kettle', 0, 0"
    with pytest.raises(psycopg.errors.NotNullViolation):
        admin.execute(f'INSERT INTO "{table}" ({columns}) VALUES ({values})'.encode())


@pytest.fixture
def reader(
    postgres: str, table: str, store: Postgres, admin: psycopg.Connection[Any]
) -> Iterator[str]:
    """The URL for a user who may read and write the table's rows, and does not own it."""
    name = f"{table}_reader"
    admin.execute(f'CREATE ROLE "{name}" LOGIN'.encode())
    admin.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{table}" TO "{name}"'.encode())
    yield postgres.replace("postgres:@", f"{name}:@")
    admin.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"'.encode())


def test_a_user_who_cannot_upgrade_a_table_searches_by_meaning_alone(
    reader: str, table: str, store: Postgres, admin: psycopg.Connection[Any], postgres: str
) -> None:
    fill(store)
    as_an_older_version_made_it(admin, table)
    other = Postgres(reader, table, DIMENSION, "cosine")
    assert len(other.search(np.ones((1, DIMENSION), np.float32), 30).lists[0]) == 24
    for use in (lambda: other.lexical("lamp", 3), lambda: other.upsert([entry("c")])):
        with pytest.raises(StoreError, match=r"must be owner.*connect once as the owner"):
            use()
    Postgres(postgres, table, DIMENSION, "cosine").close()
    other.close()
    other = Postgres(reader, table, DIMENSION, "cosine")
    assert len(other.lexical("lamp", 30)) == 20
    other.close()
