"""Qdrant: the backend in a Qdrant collection, on a server or in its client's local mode.

A point is an entry: its id is a hash of the entry's, its vector what distances are taken to, its
payload the entry itself (`metadata` as JSON text, for Qdrant rounds large numbers), its place in
the order of adding, the fields for filters (`where_qdrant`) and for words (`terms`). With cosine
Qdrant keeps vectors of length 1, so `embedding` has what was given.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from conduit_lab.core import forking
from conduit_lab.core.errors import MissingExtra, StoreError, VectorInputError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.backend import Match, Matches
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.filters import Filter
from conduit_lab.vectors.remote.place import read_place
from conduit_lab.vectors.remote.rescoring import MARGIN, best, searchable, searchable_entries
from conduit_lab.vectors.remote.terms import FIELD, count_terms, query_terms
from conduit_lab.vectors.remote.where_qdrant import FACETS, payload, to_qdrant

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_DISTANCES = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid", "manhattan": "Manhattan"}
_EF_SEARCH = 256
_MOST = 16_384  # candidates of one search, beyond which equal scores are in no order
_NEAR = 1e-5  # how far apart a server may see equal scores, absolute below 1 and relative above
_PAGE = 1_000
_REQUEST = 32 * 1024 * 1024  # bytes of one request that a server takes
_NUMBER = 22  # bytes of a number of a vector as JSON
_MATCH = ["id", "content", "metadata", "order"]
_ENTRY = ["id", "content", "metadata", "created_at", "updated_at", "embedding"]


class Qdrant:
    """The entries of one store in a collection, made where it is missing; see `Backend`.

    `url` is `qdrant://host:6333/collection`, with `qdrants` over TLS and with the key in
    `QDRANT_API_KEY`, which is never sent in the open; `qdrant://:memory:/collection` and
    `qdrant:///folder/collection` are the local mode. `dimension` and `metric` None are what the
    collection has. One batch is one request, so that all of it is stored or nothing. The first
    search by words completes points that an older version wrote. Ties are in the order of adding up
    to 16,384 of them. Raises `MissingExtra` without qdrant-client, and `StoreError` for a server
    that cannot be reached and for a collection of another kind.
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
        self._last = 0  # the largest place given here
        self._made: set[str] = set()  # payload indexes that are known to be there
        self._has_terms = False  # every point, those of an older version too
        self.version = 0
        with self._told():
            try:
                self._client = QdrantClient(**place.settings)
            except RuntimeError as error:  # the local folder is open in another client
                raise StoreError(f"{self.name}: {error}") from error
        try:
            with self._told():
                self.dimension, self.metric = self._prepare(dimension, metric)
        except BaseException:
            self._client.close()
            raise

    # Writing

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store all of `entries` or none."""
        if not entries:
            return
        vectors = searchable_entries(self.metric, entries)
        with self._asking(writing=True) as client:
            keys = [_key(entry.id) for entry in entries]
            fields = ["order", "created_at"]
            known = {
                str(p.id): p.payload
                for p in client.retrieve(self._collection, keys, with_payload=fields)
            }
            first = max(time.time_ns(), self._last + 1)
            self._last = first + len(entries)
            points = []
            terms = count_terms(entry.content for entry in entries)
            for at, (key, entry, vector) in enumerate(zip(keys, entries, vectors, strict=True)):
                kept = known.get(key) or {"order": first + at, "created_at": entry.created_at}
                kept[FIELD] = _words(terms[at])
                points.append(self._point(key, entry, vector, kept))
            self._check_size(points)
            client.upsert(self._collection, points, wait=True)
            self.version += 1

    def delete(self, ids: Sequence[str]) -> int:
        """Remove what is there of `ids` and return how many there were."""
        with self._asking(writing=True) as client:
            keys = [_key(id) for id in dict.fromkeys(ids)]
            there = (
                [point.id for point in client.retrieve(self._collection, keys, with_payload=False)]
                if keys
                else []
            )
            if there:
                client.delete(self._collection, there, wait=True)
                self.version += 1
            return len(there)

    # Reading

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None."""
        keys = [_key(id) for id in ids]
        with self._asking() as client:
            points = (
                client.retrieve(self._collection, keys, _ENTRY, with_vectors=True) if keys else []
            )
            found = {str(point.id): self._entry(point) for point in points}
        return [found.get(key) for key in keys]

    def ids(self, where: Filter | None = None) -> list[str]:
        """Return the ids in the order of adding."""
        with self._asking() as client:
            kept = sorted(
                (point.payload["order"], point.payload["id"])
                for point in self._scroll(client, where)
            )
        return [id for _, id in kept]

    def count(self, where: Filter | None = None) -> int:
        """Return how many entries there are."""
        keep = to_qdrant(where)
        if not keep.exact:
            return len(self.ids(where))
        with self._asking() as client:
            return int(
                client.count(self._collection, self._filter(keep.condition), exact=True).count
            )

    def search(
        self, queries: FloatArray, top_k: int, where: Filter | None = None, exact: bool = False
    ) -> Matches:
        """Return the best `top_k` for each row of `queries`."""
        vectors = searchable(self.metric, queries, ["the query"] * len(queries))
        scan = exact or where is not None or self._local
        params = (
            None
            if self._local
            else self._models.SearchParams(exact=scan, hnsw_ef=None if scan else _EF_SEARCH)
        )
        lists = []
        raw = (
            {"with_payload": [*_MATCH, "embedding"]}
            if self.metric == "cosine"
            else {"with_vectors": True}
        )
        with self._asking() as client:
            for query, vector in zip(queries, vectors, strict=True):
                asked = {
                    "query": vector.tolist(),
                    "search_params": params,
                    "with_payload": _MATCH,
                    **raw,
                }
                points = self._candidates(client, asked, top_k, where)
                order = [point.payload["order"] for point in points]
                found = best(self.metric, self._vectors(points), order, query, top_k)
                lists.append([_match(points[at], score) for at, score in found])
        plan = "exact scan in Qdrant" if scan else f"HNSW in Qdrant, ef {_EF_SEARCH}"
        return Matches(lists, [plan] * len(lists))

    def lexical(self, text: str, top_k: int, where: Filter | None = None) -> list[Match]:
        """Return the best `top_k` entries by the words of `text`, in Qdrant's BM25; needs Qdrant 1.20."""
        terms = query_terms(text)
        if not terms:
            return []
        with self._asking() as client:
            self._index_terms(client)
            asked = {
                "query": self._models.TextQuery(text=" ".join(terms)),
                "using": FIELD,
                "with_payload": _MATCH,
            }
            points = self._candidates(client, asked, top_k, where)
        points.sort(key=lambda point: (-point.score, point.payload["order"]))
        return [_match(point, point.score) for point in points[:top_k]]

    # Life

    def facts(self) -> list[str]:
        """Return what a repr shows."""
        return ["closed" if self._closed else self.name, f"{self.dimension} × float32", self.metric]

    def close(self) -> None:
        """Let go of the connection, or of the local folder; safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._client.close()

    def _candidates(
        self, client: QdrantClient, asked: dict[str, Any], top_k: int, where: Filter | None
    ) -> list[Any]:
        """Return the points that may be among the best `top_k` of those that `where` keeps.

        More are asked for until enough of them are kept, and what was left out is worse than these
        by more than a server rounds.
        """
        keep = to_qdrant(where)
        for field in keep.ranges:
            self._index(client, field, self._models.PayloadSchemaType.FLOAT)
        condition, limit = self._filter(keep.condition), top_k + MARGIN
        while True:
            points = client.query_points(
                self._collection, query_filter=condition, limit=limit, **asked
            ).points
            kept = (
                points if where is None else [point for point in points if where(_metadata(point))]
            )
            if len(points) < limit:
                return kept
            if len(kept) >= top_k:
                edge, worst = kept[top_k - 1].score, points[-1].score
                if limit >= _MOST or abs(edge - worst) > _NEAR * max(1.0, abs(edge)):
                    return kept
            limit *= 4

    def _scroll(self, client: QdrantClient, where: Filter | None) -> Iterator[Any]:
        """Yield the points that `where` keeps, with id, order and perhaps metadata."""
        keep = to_qdrant(where)
        for field in keep.ranges:
            self._index(client, field, self._models.PayloadSchemaType.FLOAT)
        fields, offset = ["id", "order", *([] if keep.exact else ["metadata"])], None
        while True:
            points, offset = client.scroll(
                self._collection,
                self._filter(keep.condition),
                limit=_PAGE,
                offset=offset,
                with_payload=fields,
            )
            for point in points:
                if keep.exact or where is None or where(_metadata(point)):
                    yield point
            if offset is None:
                return

    def _filter(self, condition: models.Condition | None) -> models.Filter | None:
        return None if condition is None else self._models.Filter(must=[condition])

    def _index(self, client: QdrantClient, field: str, schema: Any) -> None:
        """Make a payload index where it is missing; without one a strict server refuses the question."""
        if field in self._made or (self._local and field != FIELD):
            return
        with suppress(
            self._refused
        ):  # a key that may only read; the question itself is answered or refused
            client.create_payload_index(self._collection, field, schema, wait=True)
        self._made.add(field)

    def _index_terms(self, client: QdrantClient) -> None:
        """Make points findable by their terms; those that an older version wrote have none yet."""
        if self._has_terms:
            return
        models = self._models
        bm25 = models.TextScoringParams(type=models.TextScoringType.BM25)
        self._index(
            client, FIELD, models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=bm25)
        )
        empty, offset = models.IsEmptyCondition(is_empty=models.PayloadField(key=FIELD)), None
        while True:
            points, offset = client.scroll(
                self._collection,
                models.Filter(must=[empty]),
                limit=_PAGE,
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
        for point, terms in zip(
            points, count_terms(point.payload["content"] for point in points), strict=True
        ):
            # Another client may write it just now; the local mode, which has none, would try the
            # filter on every point.
            still = models.Filter(must=[models.HasIdCondition(has_id=[point.id]), empty])
            which: Any = {"points": [point.id]} if self._local else {"filter": still}
            change = models.SetPayload(payload={FIELD: _words(terms)}, **which)
            changes.append(models.SetPayloadOperation(set_payload=change))
        try:
            client.batch_update_points(self._collection, changes, wait=True)
        except self._refused as error:
            raise StoreError(
                f"{self.name}: an older version wrote entries without their terms, and they cannot be added now "
                f"({' '.join(str(error).split())}): search once by words with a key that may write"
            ) from error

    def _point(
        self, key: str, entry: Entry, vector: FloatArray, kept: dict[str, Any]
    ) -> models.PointStruct:
        fields = {
            "id": entry.id,
            "content": entry.content,
            "metadata": json.dumps(entry.metadata, ensure_ascii=False),
            "updated_at": entry.updated_at,
            **kept,
            **payload(entry.metadata),
        }
        if self.metric == "cosine":
            fields["embedding"] = base64.b64encode(entry.embedding.astype("<f4").tobytes()).decode()
        return self._models.PointStruct(id=key, vector=vector.tolist(), payload=fields)

    def _check_size(self, points: Sequence[models.PointStruct]) -> None:
        if self._local:
            return
        size = sum(_NUMBER * self.dimension + len(json.dumps(point.payload)) for point in points)
        if size > _REQUEST:
            most = max(1, len(points) * _REQUEST // size)
            raise VectorInputError(
                f"{self.name}: {len(points):,} entries are about {size >> 20} MB, and Qdrant takes "
                f"{_REQUEST >> 20} MB at once: add them in batches of at most {most:,}"
            )

    def _entry(self, point: Any) -> Entry:
        fields, vector = point.payload, self._vectors([point])[0]
        return Entry(
            fields["id"],
            vector,
            _metadata(point),
            fields["content"],
            fields["created_at"],
            fields["updated_at"],
        )

    def _vectors(self, points: Sequence[Any]) -> FloatArray:
        """Return the embeddings of points as they were given, float32 `[n, dimension]`."""
        if self.metric != "cosine":
            return np.array([point.vector for point in points], np.float32).reshape(
                len(points), self.dimension
            )
        raw = b"".join(base64.b64decode(point.payload["embedding"]) for point in points)
        return np.frombuffer(raw, "<f4").astype(np.float32).reshape(len(points), self.dimension)

    def _prepare(self, dimension: int | None, metric: str | None) -> tuple[int, str]:
        """Make the collection where it is missing, and return the dimension and metric of the one that is there."""
        if not self._client.collection_exists(self._collection):
            if dimension is None:
                raise StoreError(
                    f"{self.name}: there is no such collection: give a dimension to make it"
                )
            self._create(dimension, metric or "cosine")
        vectors = self._client.get_collection(self._collection).config.params.vectors
        distances = {distance: name for name, distance in _DISTANCES.items()}
        points, _ = self._client.scroll(self._collection, limit=1, with_payload=["order"])
        if not isinstance(vectors, self._models.VectorParams) or not all(
            point.payload for point in points
        ):
            raise StoreError(
                f"{self.name}: this collection is not a vector store of this package: use another name"
            )
        found = vectors.size, distances[vectors.distance.value]
        for what, got, wanted in zip(
            ("dimension", "metric"), found, (dimension, metric), strict=True
        ):
            if wanted not in (None, got):
                raise StoreError(
                    f"{self.name}: the collection has {what} {got}, wanted {wanted}: "
                    f"use the {what} it was made with, or another name"
                )
        return found

    def _create(self, dimension: int, metric: str) -> None:
        models = self._models
        vectors = models.VectorParams(size=dimension, distance=models.Distance(_DISTANCES[metric]))
        try:
            self._client.create_collection(self._collection, vectors)
        except Exception:
            # Another process may have made it in this moment; then it is checked as any other.
            if not self._client.collection_exists(self._collection):
                raise
        if not self._local:
            self._client.create_payload_index(
                self._collection, FACETS, models.PayloadSchemaType.KEYWORD, wait=True
            )

    @contextmanager
    def _asking(self, writing: bool = False) -> Iterator[QdrantClient]:
        """Give the client: to one writer at a time, and in local mode, which is not safe for threads, to one caller."""
        if not (writing or self._local):
            self._check_open()
            with self._told():
                yield self._client
            return
        with self._lock:
            self._check_open()
            with self._told():
                yield self._client

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.name}: the store is closed: connect again")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what the server, the network or the local mode says as a `StoreError` that names the store."""
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

        try:
            yield
        except ResponseHandlingException as error:
            raise StoreError(
                f"{self.name}: {error.source}: is the server running, and is the URL right?"
            ) from error
        except (ApiException, OSError) as error:
            raise StoreError(f"{self.name}: {' '.join(str(error).split())}") from error


def _key(id: str) -> str:
    """Return the point's id; Qdrant takes UUIDs and numbers only."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, id))


def _words(terms: Counter[str]) -> str:
    """Return the text that Qdrant indexes, each term as often as it occurs."""
    return " ".join(terms.elements())


def _metadata(point: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(point.payload["metadata"])
    return metadata


def _match(point: Any, score: Any) -> Match:
    return Match(point.payload["id"], float(score), point.payload["content"], _metadata(point))
