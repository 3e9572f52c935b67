"""Rag: answer a question from what a store knows."""

from __future__ import annotations

from typing import Any, Protocol

from conduit_lab.core.spec import Generator
from conduit_lab.core.stage import Stage


class Searchable(Protocol):
    """What `Rag` needs of a store."""

    name: str

    def search(self, query: Any, top_k: int = 5, where: Any = None) -> Any:
        """Return hits, best first, each with `id`, `score`, `content` and `metadata`."""


class Rag(Stage):
    """Retrieve, then generate: a question in, `{"response": …, "sources": […]}` out.

    The `top_k` best passages of `store` are the context of `generator.generate(query=, context=)`.
    """

    def __init__(self, store: Searchable, generator: Generator, *, top_k: int = 3, name: str = "rag") -> None:
        self.store = store
        self.generator = generator
        self.top_k = top_k
        self.name = name

    def run(self, value: Any) -> dict[str, Any]:
        """Answer one question, given as text."""
        hits = self.store.search(value, top_k=self.top_k)
        response = self.generator.generate(query=value, context=[hit.content for hit in hits])
        return {"response": response, "sources": [_source(hit) for hit in hits]}


def _source(hit: Any) -> dict[str, Any]:
    """Return the hit's metadata under its own `id` and `score`, which no metadata replaces."""
    own = {"id": hit.id, "score": hit.score}
    return {**own, **hit.metadata, **own}
