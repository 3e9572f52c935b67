"""EntryMap: the entries of a store placed in the plane, in named clusters."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.explore.cluster_names import NAMED_TEXTS, cluster_names
from conduit_lab.vectors.explore.clusters import Clusters, cluster_count, k_means
from conduit_lab.vectors.explore.coloring import CLUSTERS, Coloring, by_cluster, by_field
from conduit_lab.vectors.explore.neighbourhood import Neighbourhood, find_neighbourhood
from conduit_lab.vectors.explore.projection import places_of, principal_directions
from conduit_lab.vectors.explore.sample import VectorScale, read_sample
from conduit_lab.vectors.local_backend import LocalBackend


class EntryMap:
    """The positions of at most `limit` of a store's current entries.

    `ids`, `metadatas` and `xy` float32 `[n, 2]` belong to the shown entries, `total` is the number
    of all entries. `sentence` describes the projection. Thread-safe once created.
    """

    def __init__(self, backend: Backend, where: Any, method: str, limit: int) -> None:
        self.ids, vectors, self.metadatas, self.total = read_sample(backend, where, limit)
        self._backend = backend
        self._metric = backend.metric
        self.place_of = {id: place for place, id in enumerate(self.ids)}
        self._scale = VectorScale(vectors, self._metric)
        self._scaled = self._scale(vectors)
        fit = self._scaled if len(vectors) else np.zeros((1, backend.dimension), np.float32)
        self._axes = principal_directions(fit)
        self._components = self._axes(self._scaled)
        self._places = places_of(method, self._axes, self._components)
        self.xy = self._places.xy
        self.sentence = self._places.sentence if self.ids else "no entries"
        self._colorings: dict[str, Coloring] = {}
        self._lock = threading.Lock()  # one thread computes the neighbourhood

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, vectors: FloatArray) -> FloatArray:
        """Return the positions `[m, 2]` of other vectors `[m, dimension]`."""
        if not len(vectors):
            return np.zeros((0, 2), np.float32)
        return self._places.place(components=self._axes(self._scale(vectors)))

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters, by k-means along the principal directions."""
        if not self.ids:
            return Clusters(np.zeros(0, np.int64), np.zeros((0, 1), np.float32))
        return k_means(self._components, cluster_count(len(self.ids)))

    @cached_property
    def cluster_names(self) -> list[str]:
        """A name for each cluster."""
        members = [self._members(place) for place in range(len(self.clusters.centres))]
        return cluster_names(
            [[text for text in self.texts(each[:NAMED_TEXTS]) if text] for each in members],
            [[self.metadatas[place] for place in each.tolist()] for each in members],
        )

    @property
    def neighbourhood(self) -> Neighbourhood:
        """Near-duplicates and outliers, computed once; takes seconds for 100,000 entries."""
        with self._lock:
            return self._neighbourhood

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        units = self._scaled
        if self._metric != "cosine":
            units = VectorScale(units, "cosine")(units)
        return find_neighbourhood(units, self._components)

    def coloring(self, field: str) -> Coloring:
        """Return the colours by a metadata key, or by "clusters"."""
        if (known := self._colorings.get(field)) is None:
            if field == CLUSTERS:
                known = by_cluster(self.clusters, self.cluster_names)
            else:
                known = by_field(self.metadatas, field)
            self._colorings[field] = known
        return known

    def check_field(self, field: str) -> str:
        """Return `field`; raise `VectorInputError` if no entry has such a key."""
        if field != CLUSTERS and not any(field in metadata for metadata in self.metadatas):
            keys = {key for metadata in self.metadatas for key in metadata}
            raise VectorInputError(
                f"color_by expects a metadata key or 'clusters', and no entry has the key {field!r}"
                + did_you_mean(field, keys)
            )
        return field

    def texts(self, places: Sequence[int] | IntArray) -> list[str | None]:
        """Return the contents of entries by index; None for an entry deleted meanwhile."""
        ids = [self.ids[place] for place in np.asarray(places, np.int64).tolist()]
        if isinstance(self._backend, LocalBackend):
            return self._backend.contents(ids)
        return [None if entry is None else entry.content for entry in self._backend.get(ids)]

    def central(self, cluster: int, count: int) -> list[int]:
        """Return the indices of the entries nearest to a cluster's centre."""
        members = np.flatnonzero(self.clusters.labels == cluster)
        off = self._components[members] - self.clusters.centres[cluster]
        nearest: list[int] = members[
            np.argsort(np.vecdot(off, off), kind="stable")[:count]
        ].tolist()
        return nearest

    def _members(self, cluster: int) -> IntArray:
        """Return the indices of a cluster's entries in a reproducible random order."""
        members = np.flatnonzero(self.clusters.labels == cluster)
        return np.random.default_rng(0).permutation(members)
