"""From a URL to the backend that it names."""

from __future__ import annotations

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.remote.postgres import Postgres
from conduit_lab.vectors.remote.qdrant import Qdrant


def connect(
    url: str, dimension: int | None = None, metric: str | None = None, name: str = "vectors"
) -> Backend:
    """Open the store that `url` names, or make it.

        postgresql://user@host:5432/database/table     PostgreSQL with pgvector; the password also
        in PGPASSWORD qdrant://host:6333/collection                  Qdrant; qdrants:// over TLS,
        with the key in QDRANT_API_KEY qdrant:///folder/collection                    Qdrant's local
        mode, for trying things; also qdrant://:memory:

    `name` is the table or collection where the URL has none. `dimension` and `metric` None are
    those of the store that is there; a new one needs a dimension, and its metric is cosine. Raises
    `StoreError` where the store cannot be reached or is of another kind, and `MissingExtra` without
    its client. No password is ever shown.
    """
    match url.partition("://")[0]:
        case "postgresql" | "postgres":
            return Postgres(url, name, dimension, metric)
        case "qdrant" | "qdrants":
            return Qdrant(url, name, dimension, metric)
    raise StoreError(
        "a store's URL begins with qdrant://, qdrants:// or postgresql://, and this one does not"
    )
