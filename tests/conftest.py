"""What all rooms' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from conduit_lab.models.text.embedder import Embedder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def minilm() -> Embedder:
    """The real embedding model, opened once; `data/make/minilm.py` makes its folder."""
    folder = ROOT / "data" / "models" / "minilm"
    if not (folder / "model.onnx").is_file():
        reason = f"no embedding model in {folder}: run `python data/make/minilm.py`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Embedder(folder).open()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL with pgvector, which listens on a socket in a folder and ends with the tests."""
    # Not in pytest's folder: as root the server runs as another user, and a second pytest would
    # shut that one out.
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
