"""Qdrant: the backend in a Qdrant collection, on a server or in its client's local mode.

Each entry is a point: its id is a hash of the entry's id, its vector is used for distances. Its
payload is the entry itself (`metadata` as JSON text, since Qdrant rounds large numbers), its
insertion number, and the fields for filters (`where_qdrant`) and words (`terms`). With cosine
Qdrant normalises vectors, so `embedding` holds the original.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from conduit_lab.core import forking
from conduit_lab.core.errors import MissingExtra, StoreError, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Match, Matches
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.remote.place import read_place
from conduit_lab.vectors.remote.qdrant_points import (
    ENTRY_FIELDS,
    MATCH_FIELDS,
    entry_to_point,
    point_key,
    point_metadata,
    point_to_entry,
    point_to_match,
    point_vectors,
    terms_text,
)
from conduit_lab.vectors.remote.rescoring import (
    EXTRA_CANDIDATES,
    rescore,
    searchable,
    searchable_entries,
)
from conduit_lab.vectors.remote.terms import FIELD, count_terms, query_terms
from conduit_lab.vectors.remote.where_qdrant import FACETS, to_qdrant

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_DISTANCES = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid", "manhattan": "Manhattan"}
_EF_SEARCH = 256
_MAX_CANDIDATES = 16_384  # per search; beyond it, ties are in no particular order
_TOLERANCE = 1e-5  # for equal scores of a server, absolute below 1 and relative above
_PAGE_POINTS = 1_000
_MAX_REQUEST_BYTES = 32 * 1024 * 1024
_NUMBER_BYTES = 22  # per value of a vector as JSON


class Qdrant:
    """The entries of one store in a collection, created if missing; see `Backend`.

    `url` is `qdrant://host:6333/collection`, or with TLS `qdrants://…` and the key in
    `QDRANT_API_KEY`, which is never sent unencrypted; `qdrant://:memory:/collection` and
    `qdrant:///folder/collection` are the local mode. `dimension` and `metric` default to those of
    the collection. A batch is one request, so it is atomic. The first search by words upgrades
    points of an older version. Ties are in insertion order, up to 16,384 of them. Raises
    `MissingExtra` without qdrant-client, and `StoreError` for a server that cannot be reached and
    for a collection of another kind.
    """

    notes = None

    def __init__(
        self, url: str, collection: str, dimension: int | None, metric: str | None
    ) -> None:
        try:
            from qdrant_client import QdrantClient, models
            from qdrant_client.http.exceptions import UnexpectedResponse
        except ImportError:
            raise MissingExtra("qdrant-client", "remote", "a store in Qdrant") from None
        place = read_place(url, collection)
        self.name, self._collection, self._local = place.name, place.collection, place.local
        self._models = models
        self._refused = UnexpectedResponse
        self._lock = threading.RLock()
        forking.free_in_child(self, "_lock")
        self._closed = False
        self._last = 0  # the largest insertion number assigned here
        self._indexed: set[str] = set()  # fields with a payload index
        self._has_terms = False  # on every point, including those of older versions
        self.version = 0
        with self._translated():
            try:
                self._client = QdrantClient(**place.settings)
            except RuntimeError as error:  # another client has the local folder open
                raise StoreError(f"{self.name}: {error}") from error
        try:
            with self._translated():
                self.dimension, self.metric = self._prepare(dimension, metric)
        except BaseException:
            self._client.close()
            raise

    # Writing

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store `entries` atomically."""
        if not entries:
            return
        vectors = searchable_entries(self.metric, entries)
        with self._asking(writing=True) as client:
            keys = [point_key(entry.id) for entry in entries]
            fields = ["order", "created_at"]
            stored = client.retrieve(self._collection, keys, with_payload=fields)
            known = {str(point.id): point.payload for point in stored}
            first = max(time.time_ns(), self._last + 1)
            self._last = first + len(entries)
            points = []
            terms = count_terms(entry.content for entry in entries)
            for at, (key, entry, vector) in enumerate(zip(keys, entries, vectors, strict=True)):
                kept = known.get(key) or {"order": first + at, "created_at": entry.created_at}
                kept[FIELD] = terms_text(terms[at])
                points.append(entry_to_point(entry, vector, self.metric, kept))
            self._check_size(points)
            client.upsert(self._collection, points, wait=True)
            self.version += 1

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the entries of `ids` that exist; return their number."""
        with self._asking(writing=True) as client:
            keys = [point_key(id) for id in dict.fromkeys(ids)]
            found = client.retrieve(self._collection, keys, with_payload=False) if keys else []
            if found:
                client.delete(self._collection, [point.id for point in found], wait=True)
                self.version += 1
            return len(found)

    # Reading

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None."""
        keys = [point_key(id) for id in ids]
        with self._asking() as client:
            points = []
            if keys:
                points = client.retrieve(self._collection, keys, ENTRY_FIELDS, with_vectors=True)
        form = self.metric, self.dimension
        found = {str(point.id): point_to_entry(point, *form) for point in points}
        return [found.get(key) for key in keys]

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids in insertion order."""
        with self._asking() as client:
            payloads = [point.payload for point in self._scroll(client, where)]
        return [id for _, id in sorted((each["order"], each["id"]) for each in payloads)]

    def count(self, where: Filter | None = None) -> int:
        """Return the number of entries."""
        keep = to_qdrant(where)
        if not keep.exact:
            return len(self.ids(where))
        with self._asking() as client:
            counted = client.count(self._collection, self._filter(keep.condition), exact=True)
            return int(counted.count)

    def search(
        self, queries: FloatArray, top_k: int, where: Filter | None = None, exact: bool = False
    ) -> Matches:
        """Return the best `top_k` for each row of `queries`."""
        vectors = searchable(self.metric, queries, ["the query"] * len(queries))
        scan = exact or where is not None or self._local
        asked: dict[str, Any] = {"with_payload": MATCH_FIELDS, "with_vectors": True}
        if self.metric == "cosine":
            asked = {"with_payload": [*MATCH_FIELDS, "embedding"]}
        if not self._local:
            ef = None if scan else _EF_SEARCH
            asked["search_params"] = self._models.SearchParams(exact=scan, hnsw_ef=ef)
        lists = []
        with self._asking() as client:
            for query, vector in zip(queries, vectors, strict=True):
                asked["query"] = vector.tolist()
                points = self._candidates(client, asked, top_k, where)
                order = [point.payload["order"] for point in points]
                given = point_vectors(points, self.metric, self.dimension)
                found = rescore(self.metric, given, order, query, top_k)
                lists.append([point_to_match(points[at], score) for at, score in found])
        plan = "exact scan in Qdrant" if scan else f"HNSW in Qdrant, ef {_EF_SEARCH}"
        return Matches(lists, [plan] * len(lists))

    def lexical(self, text: str, top_k: int, where: Filter | None = None) -> list[Match]:
        """Return the best `top_k` entries by words, in Qdrant's BM25; needs Qdrant 1.20."""
        terms = query_terms(text)
        if not terms:
            return []
        with self._asking() as client:
            self._index_terms(client)
            asked = {
                "query": self._models.TextQuery(text=" ".join(terms)),
                "using": FIELD,
                "with_payload": MATCH_FIELDS,
            }
            points = self._candidates(client, asked, top_k, where)
        points.sort(key=lambda point: (-point.score, point.payload["order"]))
        return [point_to_match(point, point.score) for point in points[:top_k]]

    # Life

    def facts(self) -> list[str]:
        """Return the facts for a repr."""
        return ["closed" if self._closed else self.name, f"{self.dimension} × float32", self.metric]

    def close(self) -> None:
        """Close the connection, or the local folder; idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._client.close()

    def _candidates(
        self, client: QdrantClient, asked: dict[str, Any], top_k: int, where: Filter | None
    ) -> list[Any]:
        """Return the points that may be among the best `top_k` of the points that `where` keeps.

        The limit grows until enough points are kept and the rest is worse by more than the server's
        rounding.
        """
        keep = to_qdrant(where)
        for field in keep.ranges:
            self._index(client, field, self._models.PayloadSchemaType.FLOAT)
        condition, limit = self._filter(keep.condition), top_k + EXTRA_CANDIDATES
        while True:
            request = {**asked, "query_filter": condition, "limit": limit}
            points = kept = client.query_points(self._collection, **request).points
            if where is not None:
                kept = [point for point in points if where(point_metadata(point))]
            if len(points) < limit:
                return kept
            if len(kept) >= top_k:
                edge, worst = kept[top_k - 1].score, points[-1].score
                if limit >= _MAX_CANDIDATES or abs(edge - worst) > _TOLERANCE * max(1.0, abs(edge)):
                    return kept
            limit *= 4

    def _scroll(self, client: QdrantClient, where: Filter | None) -> Iterator[Any]:
        """Yield the points that `where` keeps, with id, order and optionally metadata."""
        keep = to_qdrant(where)
        for field in keep.ranges:
            self._index(client, field, self._models.PayloadSchemaType.FLOAT)
        fields, offset = ["id", "order", *([] if keep.exact else ["metadata"])], None
        while True:
            points, offset = client.scroll(
                self._collection,
                self._filter(keep.condition),
                limit=_PAGE_POINTS,
                offset=offset,
                with_payload=fields,
            )
            for point in points:
                if keep.exact or where is None or where(point_metadata(point)):
                    yield point
            if offset is None:
                return

    def _filter(self, condition: models.Condition | None) -> models.Filter | None:
        return None if condition is None else self._models.Filter(must=[condition])

    def _index(self, client: QdrantClient, field: str, schema: Any) -> None:
        """Create a payload index if missing; a server in strict mode requires it."""
        if field in self._indexed or (self._local and field != FIELD):
            return
        with suppress(self._refused):  # fails with a read-only key, which may still search
            client.create_payload_index(self._collection, field, schema, wait=True)
        self._indexed.add(field)

    def _index_terms(self, client: QdrantClient) -> None:
        """Index the terms of all points, adding them to points of an older version."""
        if self._has_terms:
            return
        models = self._models
        bm25 = models.TextScoringParams(type=models.TextScoringType.BM25)
        index = models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=bm25)
        self._index(client, FIELD, index)
        empty, offset = models.IsEmptyCondition(is_empty=models.PayloadField(key=FIELD)), None
        while True:
            points, offset = client.scroll(
                self._collection,
                models.Filter(must=[empty]),
                limit=_PAGE_POINTS,
                offset=offset,
                with_payload=["content"],
            )
            if points:
                self._add_terms(client, points, empty)
            if offset is None:
                break
        self._has_terms = True

    def _add_terms(
        self, client: QdrantClient, points: Sequence[Any], empty: models.Condition
    ) -> None:
        models, changes = self._models, []
        counts = count_terms(point.payload["content"] for point in points)
        for point, terms in zip(points, counts, strict=True):
            # Another client may be writing the point; local mode has no other clients, and would
            # apply the filter to every point.
            still = models.Filter(must=[models.HasIdCondition(has_id=[point.id]), empty])
            which: Any = {"points": [point.id]} if self._local else {"filter": still}
            change = models.SetPayload(payload={FIELD: terms_text(terms)}, **which)
            changes.append(models.SetPayloadOperation(set_payload=change))
        try:
            client.batch_update_points(self._collection, changes, wait=True)
        except self._refused as error:
            raise StoreError(
                f"{self.name}: an older version wrote entries without terms, which cannot be added "
                f"({' '.join(str(error).split())}): search once by words with a key that may write"
            ) from error

    def _check_size(self, points: Sequence[models.PointStruct]) -> None:
        if self._local:
            return
        size = sum(
            _NUMBER_BYTES * self.dimension + len(json.dumps(point.payload)) for point in points
        )
        if size > _MAX_REQUEST_BYTES:
            limit = max(1, len(points) * _MAX_REQUEST_BYTES // size)
            raise VectorInputError(
                f"{self.name}: {len(points):,} entries are about {size >> 20} MB, Qdrant accepts "
                f"{_MAX_REQUEST_BYTES >> 20} MB at once: add them in batches of at most {limit:,}"
            )

    def _prepare(self, dimension: int | None, metric: str | None) -> tuple[int, str]:
        """Create the collection if missing; return its dimension and metric."""
        if not self._client.collection_exists(self._collection):
            if dimension is None:
                raise StoreError(
                    f"{self.name}: there is no such collection: give a dimension to create it"
                )
            self._create(dimension, metric or "cosine")
        vectors = self._client.get_collection(self._collection).config.params.vectors
        distances = {distance: name for name, distance in _DISTANCES.items()}
        points, _ = self._client.scroll(self._collection, limit=1, with_payload=["order"])
        whole = all(point.payload for point in points)
        if not whole or not isinstance(vectors, self._models.VectorParams):
            raise StoreError(
                f"{self.name}: this collection is not a vector store of this package: use another "
                "name"
            )
        found = vectors.size, distances[vectors.distance.value]
        given = (("dimension", dimension), ("metric", metric))
        for (what, expected), got in zip(given, found, strict=True):
            if expected not in (None, got):
                raise StoreError(
                    f"{self.name}: expected a collection with {what} {expected}, got {got}: "
                    f"use the {what} that it was created with, or another name"
                )
        return found

    def _create(self, dimension: int, metric: str) -> None:
        models = self._models
        vectors = models.VectorParams(size=dimension, distance=models.Distance(_DISTANCES[metric]))
        try:
            self._client.create_collection(self._collection, vectors)
        except Exception:
            # Another process may have created it; then check it like any other.
            if not self._client.collection_exists(self._collection):
                raise
        if not self._local:
            self._client.create_payload_index(
                self._collection, FACETS, models.PayloadSchemaType.KEYWORD, wait=True
            )

    @contextmanager
    def _asking(self, writing: bool = False) -> Iterator[QdrantClient]:
        """Yield the client to one writer at a time; local mode is not thread-safe at all."""
        if not (writing or self._local):
            self._check_open()
            with self._translated():
                yield self._client
            return
        with self._lock:
            self._check_open()
            with self._translated():
                yield self._client

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.name}: the store is closed: connect again")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise server, network and local-mode errors as `StoreError` naming the store."""
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

        try:
            yield
        except ResponseHandlingException as error:
            raise StoreError(
                f"{self.name}: {error.source}: is the server running, and is the URL right?"
            ) from error
        except (ApiException, OSError) as error:
            raise StoreError(f"{self.name}: {' '.join(str(error).split())}") from error
