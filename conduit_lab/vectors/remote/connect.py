"""Connect: open a server backend by its URL."""

from __future__ import annotations

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.remote.postgres import Postgres
from conduit_lab.vectors.remote.qdrant import Qdrant


def connect_backend(
    url: str, dimension: int | None = None, metric: str | None = None, name: str = "vectors"
) -> Backend:
    """Open the store at `url`, or create it.

        postgresql://user@host:5432/database/table    PostgreSQL with pgvector; PGPASSWORD works too
        qdrant://host:6333/collection                 Qdrant; qdrants:// over TLS, QDRANT_API_KEY
        qdrant:///folder/collection                   Qdrant's local mode; also qdrant://:memory:

    `name` is the table or collection if the URL has none. `dimension` and `metric` default to those
    of an existing store; a new store needs a dimension, and its metric defaults to cosine. Raises
    `StoreError` if the store cannot be reached or is of another kind, and `MissingExtra` without
    its client. Passwords are never shown.
    """
    match url.partition("://")[0]:
        case "postgresql" | "postgres":
            return Postgres(url, name, dimension, metric)
        case "qdrant" | "qdrants":
            return Qdrant(url, name, dimension, metric)
    raise StoreError(
        "expected a store's URL that starts with qdrant://, qdrants:// or postgresql://, "
        "got another: pass a path to VectorStore(path=…) for a local store"
    )
