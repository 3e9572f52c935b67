"""Servers for the tests of stores that live on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from tests.vectors.remote.qdrant_server import QdrantServer, qdrant_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL with pgvector, which listens on a socket in a folder and ends with the tests."""
    # Not in pytest's folder: as root the server runs as another user, and a second pytest would shut that one out.
    with TemporaryDirectory(prefix="postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # pgserver keeps its lock there
        import pgserver

        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url = server.get_uri()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield url
        finally:
            server.cleanup()


@pytest.fixture
def qdrant() -> Iterator[QdrantServer]:
    """A stand-in for a Qdrant server, on this machine."""
    with qdrant_server() as server:
        yield server
