"""Backends on a server: Qdrant, and PostgreSQL with pgvector; `connect` opens one by its URL."""
