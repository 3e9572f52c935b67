"""Server backends: Qdrant, and PostgreSQL with pgvector; `connect` opens one by its URL."""
