"""A server for the tests of stores that live on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vectors.remote.qdrant_server import QdrantServer, qdrant_server


@pytest.fixture
def qdrant() -> Iterator[QdrantServer]:
    """A stand-in for a Qdrant server, on this machine."""
    with qdrant_server() as server:
        yield server
