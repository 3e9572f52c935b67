"""Backend: the protocol of a store's storage, local or on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.filters import Filter


class Match(NamedTuple):
    """One matching entry."""

    id: str
    score: float
    content: str | None
    metadata: dict[str, Any]


class Matches(NamedTuple):
    """The matches of each query, best first, and a description of each search's plan."""

    lists: list[list[Match]]
    plans: list[str]

    @property
    def plan(self) -> str:
        """The distinct plans of all queries."""
        return "; ".join(dict.fromkeys(self.plans))


class Notes(Protocol):
    """Texts by key that a backend stores beside its entries and excludes from searches."""

    def read_notes(self, prefix: str) -> dict[str, str]:
        """Return the notes whose keys start with `prefix`, by the rest of the key."""

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write notes under `prefix` + key, atomically; None removes a note."""


class Backend(Protocol):
    """The entries of one store and the search over them; thread-safe.

    A score is the similarity for the metrics cosine and dot, the distance for l2 and manhattan.
    Matches are sorted best first, with ties in insertion order; up to `top_k` none are missed. A
    zero vector scores 0 with cosine. Every method raises `StoreError` if it cannot read or write.
    """

    dimension: int
    metric: str

    @property
    def version(self) -> int:
        """A number that increases with every change made or seen here."""

    @property
    def notes(self) -> Notes | None:
        """The backend's notes, or None if it does not support them."""

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store `entries` atomically; a replaced entry keeps its position and `created_at`."""

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the entries of `ids` atomically, ignoring unknown ids; return their number."""

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id with its original embedding, or None."""

    def search(
        self, queries: FloatArray, top_k: int, where: Filter | None = None, exact: bool = False
    ) -> Matches:
        """Return the best `top_k` entries for each row of `queries` `[n, dimension]`."""

    def lexical(self, text: str, top_k: int, where: Filter | None = None) -> list[Match]:
        """Return the best `top_k` entries by words; scores compare only within one result."""

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids in insertion order."""

    def count(self, where: Filter | None = None) -> int:
        """Return the number of entries."""

    def facts(self) -> list[str]:
        """Return the facts for a repr, without network access."""

    def close(self) -> None:
        """Free files, connections and memory; idempotent."""
