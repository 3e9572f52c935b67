"""VectorStore: embeddings with text and metadata, searched exactly."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from conduit_lab.core import figures, html, paths, trace
from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import Embedder
from conduit_lab.vectors import filters
from conduit_lab.vectors.embedding import as_matrix, as_vector, embed_contents, embed_query
from conduit_lab.vectors.entry import Entry, check_content, check_ids, check_metadata
from conduit_lab.vectors.hits import Hit, Hits
from conduit_lab.vectors.index import Index, Row
from conduit_lab.vectors.storage import Storage

METRICS = ("cosine",)
MAX_TOP_K = 10_000
DEFAULT_DIMENSION = 384


class VectorStore:
    """Embeddings float32 `[dimension]`, each under an id with metadata and content, searched exactly.

        store = VectorStore(dimension=384)
        store.add("returns", embedding, {"section": "returns"}, "Send it back within 30 days.")
        store.search(embedding, top_k=5, where={"section": "returns"})

    `dimension` is by default the embedder's, without one 384. `path` makes the store durable: one SQLite file,
    created when missing, in which every `add` that has returned survives the death of the process. A relative
    path starts at the project's root. With `embedder`, text can be given where an embedding is wanted.
    `name` is by default the file's. `lazy` only declares the store: it is opened by `open()` or at the first use.

    Safe to use from several threads. Stores that share a file, here or in other processes, see each other's
    changes. Every method raises `VectorInputError` for data that does not fit, with nothing stored, and
    `StoreError` when the file cannot be read or written or the store is closed.
    """

    def __init__(
        self,
        dimension: int | None = None,
        metric: str = "cosine",
        path: str | Path | None = None,
        embedder: Embedder | None = None,
        name: str | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        if metric not in METRICS:
            raise VectorInputError(f"a store's metric is one of {', '.join(METRICS)}, got {metric!r}")
        self.metric = metric
        self.path = None if path is None else paths.resolve(path)
        self.embedder = embedder
        self.name = name or (self.path.stem if self.path else "vectors")
        self._wanted_dimension = dimension
        self._dimension: int | None = None  # known once the store is open
        self._version = 0
        self._closed = False
        # One lock for file and rows. A scan is bound by memory bandwidth, so two at once would gain nothing.
        self._lock = threading.RLock()
        if not lazy:
            self.open()

    def open(self) -> Self:
        """Open the file, or make it, and read its rows; does nothing the second time."""
        with self._lock:
            if self._dimension is None:
                dimension = _check_dimension(self._wanted_dimension, self.embedder)
                self._storage = Storage(self.path, dimension, self.metric)
                try:
                    self._load(dimension)
                except BaseException:
                    self._storage.close()
                    raise
                self._dimension = dimension
        return self

    @property
    def dimension(self) -> int:
        """Length of one embedding."""
        self.open()
        assert self._dimension is not None
        return self._dimension

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def add(
        self,
        id: str,
        embedding: npt.ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        content: str | None = None,
    ) -> None:
        """Store one embedding, float32 or castable, `[dimension]`; an entry with this id is replaced.

        A replaced entry keeps its place among ties and its `created_at`. `metadata` is a dict that JSON can
        carry, kept as JSON gives it back. `content` is by default the text in `metadata["content"]`; it is
        embedded when `embedding` is None and the store has an embedder.
        """
        with trace.span(self.name, "write", self, id):
            self._write([id], None if embedding is None else [embedding], [metadata], [content])

    def add_many(
        self,
        ids: Iterable[str],
        embeddings: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        contents: Iterable[str | None] | None = None,
    ) -> None:
        """Store a batch, embeddings `[len(ids), dimension]`, by the rules of `add`: all of it or nothing.

        An id that comes twice in the batch is an error.
        """
        with trace.span(self.name, "write", self, ids):
            self._write(ids, embeddings, metadatas, contents)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Remove one id or several; return how many there were. Unknown ids are passed over."""
        ids = [ids] if isinstance(ids, str) else list(ids)
        with trace.span(self.name, "write", self, ids), self._fresh():
            known = [id for id in dict.fromkeys(ids) if id in self._index]
            if known:
                with self._changing():
                    self._storage.remove(known)
                    self._index.remove(known)
            return len(known)

    def get(self, id: str) -> Entry | None:
        """Return the entry under `id`, its embedding as it was given, or None."""
        with trace.span(self.name, "search", self, id) as span, self._fresh():
            entry = self._storage.get(id) if id in self._index else None
            if span is not None:
                span.output = entry
            return entry

    def search(self, query: str | npt.ArrayLike, top_k: int = 5, where: Mapping[str, Any] | None = None) -> Hits:
        """Return the `top_k` entries (1 to 10,000) most similar to `query`, best first; ties in the order of adding.

        `query` is an embedding `[dimension]`, or text where the store has an embedder. `where` is a filter on
        metadata such as `{"section": {"$in": ["returns", "warranty"]}}`; `vectors.filters` tells the language.
        Never fewer hits than there are matching entries, up to `top_k`.
        """
        with trace.span(self.name, "search", self, query) as span:
            top_k = _check_top_k(top_k)
            keep = None if where is None else filters.parse(where)
            what = f"store {self.name!r}: the query"
            embedding = embed_query(query, self.embedder, what) if isinstance(query, str) else query
            vector = as_vector(embedding, self.dimension, what)
            with self._fresh():
                found = self._index.search(vector, top_k, keep)
            hits = Hits((_hit(row, score) for row, score in found), self.name)
            if span is not None:
                span.output = hits
            return hits

    def save_to(self, path: str | Path) -> Path:
        """Write a consistent copy as a new store file, whole or not at all, and return its absolute path.

        Opening it gives the same answers. Raises `StoreError` when `path` exists.
        """
        target = paths.resolve(path)
        with trace.span(self.name, "write", self, target), self._fresh():
            self._storage.copy_to(target)
        return target

    def close(self) -> None:
        """Close the file and let go of the rows; safe to call twice."""
        with self._lock:
            self._closed = True
            if self._dimension is not None:
                self._storage.close()
                self._index = Index(self._dimension)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        with self._fresh():
            return len(self._index)

    def __contains__(self, id: object) -> bool:
        with self._fresh():
            return id in self._index

    def __getitem__(self, id: str) -> Entry:
        entry = self.get(id)
        if entry is None:
            raise KeyError(f"store {self.name!r} has no entry {id!r}")
        return entry

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in the order of adding; one that is deleted meanwhile is passed over."""
        for id in self._ipython_key_completions_():
            with self._fresh():
                entry = self._storage.get(id)
            if entry is not None:
                yield entry

    def _ipython_key_completions_(self) -> list[str]:
        with self._fresh():
            return self._index.ids()

    def _facts(self) -> list[str]:
        if self._dimension is None:
            return ["closed" if self._closed else "not opened yet"]
        count = len(self._index)
        facts = ["closed"] if self._closed else [f"{figures.count(count)} {'entry' if count == 1 else 'entries'}"]
        facts += [f"{self._dimension} × float32", self.metric, figures.size(self._index.nbytes)]
        facts.append("in memory" if self.path is None else paths.display(self.path))
        if self.embedder is not None:
            facts.append(f"embedder {getattr(self.embedder, 'name', type(self.embedder).__name__)}")
        return facts

    def __repr__(self) -> str:
        return " · ".join([f"VectorStore {self.name!r}", *self._facts()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return html.bundle(repr(self), html.header("VectorStore", self.name, self._facts()))

    def _write(self, ids: Any, embeddings: Any, metadatas: Any, contents: Any) -> None:
        """Check the whole batch, embed it where it must be, and store it in one transaction."""
        where = f"store {self.name!r}:"
        ids = check_ids(ids, f"{where} ids")
        metadatas, contents = ([None] * len(ids) if given is None else list(given) for given in (metadatas, contents))
        for what, values in (("metadatas", metadatas), ("contents", contents)):
            if len(values) != len(ids):
                raise VectorInputError(f"{where} {len(ids)} ids want {len(ids)} {what}, got {len(values)}")
        plain = [
            check_metadata(metadata, f"{where} metadata of {id!r}") for id, metadata in zip(ids, metadatas, strict=True)
        ]
        texts = [
            check_content(text, metadata, f"{where} content of {id!r}")
            for id, metadata, text in zip(ids, plain, contents, strict=True)
        ]
        names = [f"{where} the embedding of {id!r}" for id in ids]
        if embeddings is None:
            embeddings = embed_contents(texts, self.embedder, names)
        vectors = as_matrix(embeddings, self.dimension, names)
        now = time.time()
        entries = [Entry(*row, now, now) for row in zip(ids, vectors, plain, texts, strict=True)]
        if entries:
            with self._fresh(), self._changing():
                self._storage.put(entries)
                self._index.put(entries)

    def _load(self, dimension: int) -> None:
        """Read every row from the storage."""
        self._stale = True
        self._index = Index(dimension)
        self._index.put(self._storage.load())
        self._stale = False

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold the lock over rows that are what the storage has."""
        with self._lock:
            if self._closed:
                raise StoreError(f"store {self.name!r} is closed: open it again with VectorStore(path=…)")
            self.open()
            if self._stale or self._storage.changed_elsewhere():
                self._load(self.dimension)
                self._version += 1
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold rows and storage together: where one was changed and the other not, rows are read again.

        So a cell that is interrupted in the middle of a write leaves a store that is right.
        """
        self._stale = True
        try:
            yield
        except StoreError:
            self._stale = False  # the storage took nothing, so the rows are right as they are
            raise
        self._version += 1
        self._stale = False


def _check_dimension(dimension: int | None, embedder: Embedder | None) -> int:
    made = None if embedder is None else embedder.dimension
    if dimension is None:
        return DEFAULT_DIMENSION if made is None else made
    if isinstance(dimension, bool) or not isinstance(dimension, (int, np.integer)) or dimension < 1:
        raise VectorInputError(f"a store's dimension is a whole number of at least 1, got {dimension!r}")
    if made not in (None, dimension):
        raise VectorInputError(f"the embedder makes dimension {made}, got dimension={dimension}: leave it out")
    return int(dimension)


def _check_top_k(top_k: Any) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or not 1 <= top_k <= MAX_TOP_K:
        raise VectorInputError(f"top_k is a whole number from 1 to {MAX_TOP_K}, got {top_k!r}")
    return int(top_k)


def _hit(row: Row, score: float) -> Hit:
    """Return the hit of one row, with a copy of its metadata so that a caller may change it."""
    return Hit(id=row.id, score=score, content=row.content, metadata=copy.deepcopy(row.metadata))
