"""VectorStore: embeddings with metadata and content, searched by meaning, by words, or both."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from conduit_lab.core import forking
from conduit_lab.core.errors import StoreError, VectorInputError
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span import current
from conduit_lab.core.views import html
from conduit_lab.vectors import duplicates, filters, identity, table
from conduit_lab.vectors.backend import Backend
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.documents.reindex import Reindexed, add_documents
from conduit_lab.vectors.embedding import as_matrix, embed_contents, read_queries
from conduit_lab.vectors.entry import (
    Entry,
    check_content,
    check_ids,
    check_metadata,
    check_text,
    updated,
)
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.index.index import METRICS
from conduit_lab.vectors.local import Local
from conduit_lab.vectors.opening import open_backend, resolve
from conduit_lab.vectors.reranking import Reranker
from conduit_lab.vectors.search import MAX_TOP_K, Fusion, Mode, Search

_PAGE = 256  # entries that iteration reads together

Where = Mapping[str, Any] | npt.ArrayLike


class VectorStore:
    """Embeddings float32 `[dimension]`, each under an id with metadata and content, searched
    exactly or nearly so.

        store = VectorStore(dimension=384)
        store.add("returns", embedding, {"section": "returns"}, "Send it back within 30 days.")
        store.search(embedding, top_k=5, where={"section": "returns"})

    `metric` is "cosine" or "dot" (a score is a similarity), "l2" or "manhattan" (a score is a
    distance). `path` makes the store durable: one SQLite file, created when missing, in which every
    `add` that has returned survives the death of the process; with `durability="full"` a power cut
    too. A relative path starts at the project's root. The folder of a `snapshot` opens for reading.
    A file or folder that is there has a dimension and a metric, which need not be named; a new
    store's are by default the embedder's, without one 384, and cosine. With `embedder`, text can be
    given instead of an embedding; a file knows its embedder and refuses another
    (`vectors.identity`), unless `reembed` lets this one embed all texts again. `name` is by default
    the file's. `lazy` only declares the store: it is opened by `open()` or at the first use.
    `connect` opens one on a server.

    Safe to use from several threads. Stores that share a file, here or in other processes, see each
    other's changes. Every method raises `VectorInputError` for data that does not fit, with nothing
    stored, and `StoreError` when the file cannot be read or written or the store is closed.
    """

    def __init__(
        self,
        dimension: int | None = None,
        metric: str | None = None,
        path: str | Path | None = None,
        embedder: EmbedderProtocol | None = None,
        name: str | None = None,
        *,
        durability: Literal["normal", "full"] = "normal",
        lazy: bool = False,
        reembed: bool = False,
    ) -> None:
        if metric not in (None, *METRICS):
            raise VectorInputError(
                f"a store's metric is one of {', '.join(METRICS)}, got {metric!r}"
            )
        if durability not in ("normal", "full"):
            raise VectorInputError(f"durability is 'normal' or 'full', got {durability!r}")
        self.path = None if path is None else resolve(path)
        self.url: str | None = None
        self.embedder = embedder
        self.name = name or (self.path.stem if self.path else "vectors")
        self.durability = durability
        self._wanted_dimension, self._wanted_metric = dimension, metric
        self._backend: Backend | None = None
        self._verified: EmbedderProtocol | None = None  # as the one that made the vectors
        self._reembed = reembed
        self._closed = False
        self._opening = threading.RLock()
        self._writing = threading.RLock()  # an update reads before it writes
        forking.free_in_child(self, "_opening", "_writing")
        if not lazy:
            self.open()

    @classmethod
    def connect(
        cls,
        url: str,
        dimension: int | None = None,
        metric: str | None = None,
        embedder: EmbedderProtocol | None = None,
        name: str | None = None,
        *,
        lazy: bool = False,
    ) -> Self:
        """Return a store whose entries live on a server, the same in all else; needs the `[remote]`
        extra.

        `qdrant://host:6333/collection` (`qdrants://` for TLS, the key in QDRANT_API_KEY) or
        `postgresql://user@host/database/table` with pgvector (the password in PGPASSWORD); it is
        made when missing. `dimension` and `metric` are by default those of what is there, for a new
        one the embedder's and cosine.
        """
        store = cls(dimension, metric, embedder=embedder, name=name, lazy=True)
        store.url = url
        if not lazy:
            store.open()
        return store

    # Life

    def open(self) -> Self:
        """Open the file or the connection, or make it, and read its rows; does nothing the second time."""
        self._opened()
        return self

    def _opened(self) -> Backend:
        if (here := current()) is not None:
            here.record.add(here.name, {"store_read": self})
        if self._closed:
            raise StoreError(
                f"store {self.name!r} is closed: open it again with VectorStore(path=…)"
            )
        if self._backend is None or self.embedder is not self._verified:
            with self._opening:
                embedder = self.embedder
                if self._backend is None:
                    wanted = self._wanted_dimension, self._wanted_metric, embedder, self.durability
                    self._backend = open_backend(
                        self.url, self.path, self.name, *wanted, self._reembed
                    )
                else:
                    identity.verify(self._backend, embedder, self.name)
                self._verified = embedder
        return self._backend

    def close(self) -> None:
        """Close the file and let go of the rows; safe to call twice."""
        with self._opening:
            self._closed = True
            if self._backend is not None:
                self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dimension(self) -> int:
        """Length of one embedding."""
        return self._opened().dimension

    @property
    def metric(self) -> str:
        """How vectors are compared: cosine, dot, l2 or manhattan."""
        return self._wanted_metric or self._opened().metric

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return 0 if self._backend is None else self._backend.version

    # Writing

    def add(
        self,
        id: str,
        embedding: npt.ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        content: str | None = None,
    ) -> None:
        """Store one embedding, float32 or castable, `[dimension]`; an entry with this id is
        replaced.

        A replaced entry keeps its place among ties and its `created_at`. `metadata` is a dict that
        JSON can carry, kept as JSON gives it back. `content` is by default the text in
        `metadata["content"]`; it is embedded when `embedding` is None and the store has an
        embedder.
        """
        with recorder.span(self.name, "write", self, id, store_write=self):
            self._write([id], None if embedding is None else [embedding], [metadata], [content])

    def add_many(
        self,
        ids: Any,
        embeddings: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        contents: Iterable[str | None] | None = None,
    ) -> None:
        """Store a batch, embeddings `[len(ids), dimension]`, by the rules of `add`: all of it or
        nothing.

        Instead of lists it takes one DataFrame or Arrow table with the columns `id`, `embedding`
        and `content` (one of the last two may be missing); its other columns are the metadata. An
        id that comes twice is an error.
        """
        with recorder.span(self.name, "write", self, ids, store_write=self):
            if table.is_table(ids):
                if not all(given is None for given in (embeddings, metadatas, contents)):
                    raise VectorInputError(
                        f"store {self.name!r}: a table holds all columns itself, got more beside it"
                    )
                ids, embeddings, metadatas, contents = table.columns(ids, f"store {self.name!r}:")
            self._write(ids, embeddings, metadatas, contents)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str] | None = None,
    ) -> list[str]:
        """Embed and store texts, all of them or none, and return their ids; without `ids` each gets a new one."""
        if isinstance(texts, str):
            raise VectorInputError(
                f"store {self.name!r}: texts must be a list of text, got one text"
            )
        batch = list(texts)
        chosen = [uuid.uuid4().hex for _ in batch] if ids is None else list(ids)
        self.add_many(chosen, None, metadatas, batch)
        return chosen

    def add_documents(self, documents: Any, **options: Any) -> Reindexed:
        """Cut documents into chunks, embed and store them; done again, only what has changed.

        `documents` is a folder, a file or several of either, or a DataFrame;
        `vectors.reindex.add_documents` tells the options. What is gone from a folder is removed. An
        interrupt keeps what was done.
        """
        with recorder.span(self.name, "write", self, documents, store_write=self):
            return add_documents(self, documents, notes=self._opened().notes, **options)

    def update(
        self,
        id: str,
        embedding: npt.ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        content: str | None = None,
    ) -> None:
        """Change what is given of an entry and keep the rest; `metadata` keys are set one by one.

        New content, given as such or as `metadata["content"]`, is embedded again when the store has
        an embedder and no `embedding` is given. Raises `VectorInputError` where there is no entry
        `id`.
        """
        where = f"store {self.name!r}:"
        with recorder.span(self.name, "write", self, id, store_write=self), self._writing:
            known = self._opened().get([check_text(id, f"{where} an id")])[0]
            if known is None:
                raise VectorInputError(f"{where} there is no entry {id!r} to update: add it first")
            given = check_metadata(metadata, f"{where} metadata of {id!r}")
            text = check_content(content, given, f"{where} content of {id!r}")
            text = None if content is None and text == known.content else text  # said again
            merged, vector = updated(known, given, text), embedding
            if vector is None and (text is None or self.embedder is None):
                vector = known.embedding
            self._write(
                [id],
                None if vector is None else [vector],
                [merged],
                [known.content if text is None else text],
            )

    def reembed(self, embedder: EmbedderProtocol | None = None) -> int:
        """Embed every content again, from now on with `embedder` where it is given; return how many
        there were.

        All vectors change together. Raises `VectorInputError` for an entry without content.
        """
        with recorder.span(self.name, "write", self, embedder, store_write=self), self._writing:
            count = identity.reembed(self._opened(), embedder or self.embedder, self.name)
            self.embedder = self._verified = embedder or self.embedder
            return count

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Remove one id, several, or every entry that `where` keeps; return how many there were.

        Unknown ids are passed over.
        """
        if (ids is None) == (where is None):
            raise VectorInputError(
                f"store {self.name!r}: delete wants ids or where=, one of the two"
            )
        with (
            recorder.span(
                self.name, "write", self, ids if where is None else where, store_write=self
            ),
            self._writing,
        ):
            chosen = (
                self._ids(where) if ids is None else [ids] if isinstance(ids, str) else list(ids)
            )
            return self._opened().delete(
                [check_text(id, f"store {self.name!r}: an id") for id in chosen]
            )

    # Reading

    def get(self, id: str) -> Entry | None:
        """Return the entry under `id`, its embedding as it was given, or None."""
        with recorder.span(self.name, "search", self, id, store_read=self) as span:
            entry = self._opened().get([id])[0] if isinstance(id, str) else None
            if span is not None:
                span.output = entry
            return entry

    def entries(self, where: Where | None = None) -> Iterator[Entry]:
        """Yield the entries that `where` keeps in the order of adding; one deleted meanwhile is passed over."""
        ids = self._ids(where)
        for at in range(0, len(ids), _PAGE):
            yield from (
                entry for entry in self._opened().get(ids[at : at + _PAGE]) if entry is not None
            )

    def search(
        self,
        query: str | Sequence[str] | npt.ArrayLike,
        top_k: int = 5,
        where: Where | None = None,
        *,
        mode: Mode = "dense",
        exact: bool = False,
        mmr: float | None = None,
        rerank: Reranker | None = None,
        fusion: Fusion = "score",
    ) -> Any:
        """Return the best `top_k` entries (1 to 10,000), best first; a list of such `Hits` for
        several queries.

        `query` is an embedding `[dimension]` or a batch of them, or text where the store has an
        embedder. `where` is a filter on metadata such as `{"section": {"$in": ["returns",
        "warranty"]}}` (`vectors.filters` tells the language), or one bool for each entry. There are
        never fewer hits than matching entries, up to `top_k`; ties in the order of adding.

        `mode` is "dense" (by meaning), "lexical" (by words) or "hybrid" (both; `fusion` adds their
        scores on one scale, or with "rank" the reciprocals of their ranks). `rerank` is a model
        that reads query and content together, and orders the best 50 again. `mmr` from 0 to 1 makes
        the hits differ from each other: 1 is none of it. `exact=True` compares with every vector;
        the hits tell their `plan`.
        """
        with recorder.span(self.name, "search", self, query, store_read=self) as span:
            how = Search(top_k, self._where(where), mode, exact, mmr, rerank, fusion)
            what, backend = f"store {self.name!r}: the query", self._opened()
            queries, single = read_queries(
                query, backend.dimension, self.embedder, what, words=mode == "lexical"
            )
            lists = how.run(self.name, backend, queries)
            found = lists[0] if single else lists
            if span is not None:
                span.output = found
                span.annotate(plan=lists[0].plan if lists else "")
            return found

    def more_like(self, id: str, top_k: int = 5, where: Where | None = None) -> Hits:
        """Return the entries most similar to the entry `id`, without itself."""
        entry, top_k = self[id], Search(top_k).top_k
        hits: Hits = self.search(entry.embedding, min(top_k + 1, MAX_TOP_K), where)
        kept = [hit for hit in hits if hit.id != id][:top_k]
        return Hits(kept, self.name, hits.plan, kept[0].score if kept else None)

    def duplicates(
        self, threshold: float = 0.95, where: Where | None = None
    ) -> duplicates.Duplicates:
        """Return groups of entries whose cosine similarity is at least `threshold`; exact, over all pairs."""
        entries = list(self.entries(where))
        return duplicates.find(entries, threshold)

    def to_pandas(self) -> Any:
        """Return a DataFrame: id, content, a column for each key of the metadata, times, embedding; needs `[lab]`."""
        return table.frame(self.entries())

    # Copies

    def save_to(self, path: str | Path) -> Path:
        """Write a consistent copy as a new store file, whole or not at all, and return its absolute
        path.

        Opening it gives the same answers. Raises `StoreError` when `path` exists.
        """
        return self._copied("save_to", path, Local.copy_to)

    def backup(self, path: str | Path) -> Path:
        """Write a consistent copy, as `save_to` does, in place of an older one at `path`; return
        its absolute path.

        Raises `StoreError` when `path` is this store's file or another that is open, or no store.
        """
        return self._copied(
            "backup", path, lambda local, target: local.copy_to(target, replace=True)
        )

    def snapshot(self, path: str | Path) -> Path:
        """Write a folder that `VectorStore(path=…)` opens for reading, its vectors mapped, and
        return its path.

        Done again, the folder is replaced at once, while others serve from it; they see the new
        one.
        """
        return self._copied("snapshot", path, Local.snapshot)

    def _copied(self, what: str, path: str | Path, write: Callable[[Local, Path], None]) -> Path:
        target = resolve(path)
        with recorder.span(self.name, "write", self, target, store_write=self):
            write(self._local(what), target)
        return target

    def _local(self, what: str) -> Local:
        backend = self._opened()
        if not isinstance(backend, Local):
            raise StoreError(
                f"store {self.name!r} lives on a server: {what} is for stores of this process"
            )
        return backend

    # Container

    def __len__(self) -> int:
        return self._opened().count()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._opened().get([id])[0] is not None

    def __getitem__(self, id: str) -> Entry:
        entry = self.get(id)
        if entry is None:
            raise KeyError(f"store {self.name!r} has no entry {id!r}")
        return entry

    def __iter__(self) -> Iterator[Entry]:
        return self.entries()

    def _ipython_key_completions_(self) -> list[str]:
        return self._opened().ids()

    def _facts(self) -> list[str]:
        if self._backend is None:
            return ["closed" if self._closed else "not opened yet"]
        facts = self._backend.facts()
        if self.embedder is not None:
            facts.append(f"embedder {getattr(self.embedder, 'name', type(self.embedder).__name__)}")
        return facts

    def __repr__(self) -> str:
        return " · ".join([f"VectorStore {self.name!r}", *self._facts()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return html.bundle(repr(self), html.header("VectorStore", self.name, self._facts()))

    # Checking

    def _where(self, where: Where | None) -> Any:
        """Return a filter or a mask as a backend takes it."""
        if where is None or isinstance(where, Mapping):
            return None if where is None else filters.parse(where)
        mask = np.asarray(where)
        mask = (
            np.asarray(mask.tolist()) if mask.dtype == np.object_ else mask
        )  # pandas' own "boolean"
        if mask.dtype != np.bool_ or mask.ndim != 1:
            raise VectorInputError(
                f"store {self.name!r}: a filter is a dict such as {{'section': 'returns'}}, or one bool for each entry"
            )
        self._local("a mask as where=")
        return mask

    def _ids(self, where: Where | None) -> list[str]:
        return self._opened().ids(self._where(where))

    def _write(self, ids: Any, embeddings: Any, metadatas: Any, contents: Any) -> None:
        """Check the whole batch, embed it where it must be, and store it in one transaction."""
        where = f"store {self.name!r}:"
        ids = check_ids(ids, f"{where} ids")
        metadatas = table.column(metadatas, len(ids), where, "metadatas")
        contents = table.column(contents, len(ids), where, "contents")
        plain = [
            check_metadata(metadata, f"{where} metadata of {id!r}")
            for id, metadata in zip(ids, metadatas, strict=True)
        ]
        texts = [
            check_content(text, metadata, f"{where} content of {id!r}")
            for id, metadata, text in zip(ids, plain, contents, strict=True)
        ]
        names = [f"{where} the embedding of {id!r}" for id in ids]
        if embeddings is None:
            embeddings = embed_contents(texts, self.embedder, names)
        backend = self._opened()
        vectors = as_matrix(embeddings, backend.dimension, names)
        now = [time.time()] * len(ids)
        if ids:
            with self._writing:
                backend.upsert(Batch(ids, vectors, plain, texts, now, now))
