"""Backend: where a store's entries live, here or on a server; everything else of a store stands on this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.filters import Filter


class Match(NamedTuple):
    """One found entry."""

    id: str
    score: float
    content: str | None
    metadata: dict[str, Any]


class Matches(NamedTuple):
    """The matches of each query, best first, and the plan of each search in words."""

    lists: list[list[Match]]
    plans: list[str]

    @property
    def plan(self) -> str:
        """The distinct plans of all queries."""
        return "; ".join(dict.fromkeys(self.plans))


class Notes(Protocol):
    """Texts by key that a backend keeps beside its entries, which no search finds."""

    def read_notes(self, prefix: str) -> dict[str, str]:
        """Return the notes whose keys begin with `prefix`, by the rest of the key."""

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write the notes under `prefix` and a key each, all of them or none; None removes one."""


class Backend(Protocol):
    """The entries of one store and the search over them; safe to use from several threads.

    A score is the similarity for the metrics cosine and dot, the distance for l2 and manhattan.
    Matches come best first, ties in the order of adding, and never fewer than there are, up to
    `top_k`. A zero vector scores 0 with cosine. Every method raises `StoreError` when it cannot
    read or write.
    """

    dimension: int
    metric: str

    @property
    def version(self) -> int:
        """A number that grows with every change made or seen here."""

    @property
    def notes(self) -> Notes | None:
        """Its notes, None where it keeps none."""

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store all of `entries` or none; one with a known id is replaced, keeps `created_at` and its place."""

    def delete(self, ids: Sequence[str]) -> int:
        """Remove what is there of `ids`, all or nothing, and return how many there were."""

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, embeddings as they were given, or None."""

    def search(
        self, queries: FloatArray, top_k: int, where: Filter | None = None, exact: bool = False
    ) -> Matches:
        """Return the best `top_k` for each row of `queries` `[n, dimension]` among the entries that `where` keeps."""

    def lexical(self, text: str, top_k: int, where: Filter | None = None) -> list[Match]:
        """Return the best `top_k` entries by the words of `text`; a score is comparable within one answer only."""

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids in the order of adding."""

    def count(self, where: Filter | None = None) -> int:
        """Return how many entries there are."""

    def facts(self) -> list[str]:
        """Return what a repr shows; asks no network."""

    def close(self) -> None:
        """Let go of files, connections and memory; safe to call twice."""
