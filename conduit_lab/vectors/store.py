"""VectorStore: embeddings with metadata and content, searched by meaning, by words, or both."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, cast, overload

import numpy.typing as npt

from conduit_lab.core.errors import VectorInputError
from conduit_lab.core.frames import to_frame
from conduit_lab.core.progress import counted, progress
from conduit_lab.core.spec import EmbedderProtocol
from conduit_lab.core.trace import recorder
from conduit_lab.vectors import identity
from conduit_lab.vectors.base_store import BaseStore
from conduit_lab.vectors.batch_reader import read_batch
from conduit_lab.vectors.duplicates import Duplicates, find_duplicates
from conduit_lab.vectors.embedding import EmbeddingLike, read_queries
from conduit_lab.vectors.entry import (
    Entry,
    check_content,
    check_metadata,
    check_text,
    merge_metadata,
)
from conduit_lab.vectors.explore import SHOWN_ENTRIES
from conduit_lab.vectors.filters import Filter, Where, as_mask, parse_filter
from conduit_lab.vectors.hits import Hits
from conduit_lab.vectors.local_backend import LocalBackend
from conduit_lab.vectors.reranking import RerankerProtocol
from conduit_lab.vectors.search import MAX_HITS, FusionMethod, Mode, Search
from conduit_lab.vectors.table import entry_row, is_table, read_table

if TYPE_CHECKING:
    from conduit_lab.vectors.documents.reindex import Reindexed
    from conduit_lab.vectors.evaluate import Evaluation
    from conduit_lab.vectors.explore.explorer import Explorer
    from conduit_lab.vectors.explore.projection import Method

_PAGE_ENTRIES = 256  # read together during iteration


class VectorStore(BaseStore):
    """Embeddings float32 `[dimension]`, each under an id with metadata and content.

        store = VectorStore(dimension=384)
        store.add("returns", embedding, {"section": "returns"}, "Send it back within 30 days.")
        store.search(embedding, top_k=5, where={"section": "returns"})

    `metric` is "cosine" or "dot" (a score is a similarity), "l2" or "manhattan" (a distance).
    `path` makes the store durable: one SQLite file, created if missing, in which every completed
    `add` survives a crash of the process, and with `durability="full"` also a power failure. A
    relative path is resolved against the project's root. The folder of a `snapshot` opens
    read-only. An existing file or folder determines dimension and metric; a new store defaults to
    the embedder's dimension, or 384, and to cosine. With `embedder`, text can be passed instead of
    an embedding; a file records its embedder and rejects another (`vectors.identity`), unless
    `reembed` allows the new one to embed all texts again. `name` defaults to the file's. `lazy`
    only declares the store: `open()` or the first use opens it. `connect` opens a store on a
    server.

    Thread-safe. Stores that share a file, here or in other processes, see each other's changes.
    Every method raises `VectorInputError` for invalid data, storing nothing, and `StoreError` if
    the file cannot be read or written or the store is closed.
    """

    # Writing

    def add(
        self,
        id: str,
        embedding: npt.ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        content: str | None = None,
    ) -> None:
        """Store one embedding `[dimension]`, float32 or castable, replacing any entry with this id.

        A replaced entry keeps its position among ties and its `created_at`. `metadata` is a
        JSON-serializable dict, stored as JSON. `content` defaults to the text in
        `metadata["content"]`; it is embedded if `embedding` is None and the store has an embedder.
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
        """Store a batch atomically, with embeddings `[len(ids), dimension]`, by the rules of `add`.

        Instead of lists it accepts one DataFrame or Arrow table with the columns `id`, `embedding`
        and `content` (either of the last two may be missing); other columns become the metadata. A
        repeated id is an error.
        """
        with recorder.span(self.name, "write", self, ids, store_write=self):
            if is_table(ids):
                if not all(given is None for given in (embeddings, metadatas, contents)):
                    raise VectorInputError(
                        f"store {self.name!r}: expected a table alone, which holds all columns, "
                        "got more arguments: make them columns of it"
                    )
                ids, embeddings, metadatas, contents = read_table(ids, f"store {self.name!r}:")
            total = len(ids) if isinstance(ids, Sized) else None
            with progress(total, "entry", f"{self.name}.add_many"):
                self._write(ids, embeddings, metadatas, contents)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str] | None = None,
    ) -> list[str]:
        """Embed and store texts atomically; return their ids, generated unless `ids` are given."""
        if isinstance(texts, str):
            raise VectorInputError(
                f"store {self.name!r}: texts must be a list of text, got one text"
            )
        batch = list(texts)
        chosen = [uuid.uuid4().hex for _ in batch] if ids is None else list(ids)
        self.add_many(chosen, None, metadatas, batch)
        return chosen

    def add_documents(
        self,
        documents: Any,
        *,
        size: int | None = None,
        overlap: int = 0,
        text: str | Sequence[str] | None = None,
        source: str | None = None,
    ) -> Reindexed:
        """Chunk documents, embed and store them; repeated calls process only changes.

        `documents` is a folder, a file or a list of either, or a DataFrame;
        `vectors.documents.reindex.add_documents` documents the options. Entries of files deleted
        from a folder are removed. After an interrupt the finished part is kept.
        """
        from conduit_lab.vectors.documents.reindex import add_documents

        with recorder.span(self.name, "write", self, documents, store_write=self):
            options: dict[str, Any] = {"size": size, "overlap": overlap, "text": text}
            notes = self._opened().notes
            return add_documents(self, documents, source=source, notes=notes, **options)

    def update(
        self,
        id: str,
        embedding: npt.ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
        content: str | None = None,
    ) -> None:
        """Change the given parts of an entry and keep the rest; `metadata` keys are merged.

        New content, given as `content` or `metadata["content"]`, is embedded if the store has an
        embedder and no `embedding` is given. Raises `VectorInputError` for an unknown id.
        """
        where = f"store {self.name!r}:"
        with recorder.span(self.name, "write", self, id, store_write=self), self._writing:
            known = self._opened().get([check_text(id, f"{where} an id")])[0]
            if known is None:
                raise VectorInputError(f"{where} there is no entry {id!r} to update: add it first")
            given = check_metadata(metadata, f"{where} metadata of {id!r}")
            text = check_content(content, given, f"{where} content of {id!r}")
            if content is None and text == known.content:
                text = None  # the metadata repeats it
            merged, vector = merge_metadata(known, given, text), embedding
            if vector is None and (text is None or self.embedder is None):
                vector = known.embedding
            self._write(
                [id],
                None if vector is None else [vector],
                [merged],
                [known.content if text is None else text],
            )

    def reembed(self, embedder: EmbedderProtocol | None = None) -> int:
        """Embed all contents again, atomically; return the number of entries.

        `embedder`, if given, becomes the store's embedder. Raises `VectorInputError` for an entry
        without content.
        """
        with recorder.span(self.name, "write", self, embedder, store_write=self), self._writing:
            count = identity.reembed(self._opened(), embedder or self.embedder, self.name)
            self.embedder = self._verified = embedder or self.embedder
            return count

    def delete(self, ids: str | Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Remove one or several ids, or every entry that `where` selects; return their number.

        Unknown ids are ignored.
        """
        if (ids is None) == (where is None):
            got = "neither" if ids is None else "both"
            raise VectorInputError(f"store {self.name!r}: delete expects ids or where=, got {got}")
        given = ids if where is None else where
        with recorder.span(self.name, "write", self, given, store_write=self), self._writing:
            if ids is None:
                chosen = self._ids(where)
            else:
                chosen = [ids] if isinstance(ids, str) else list(ids)
            what = f"store {self.name!r}: an id"
            return self._opened().delete([check_text(id, what) for id in chosen])

    def _write(self, ids: Any, embeddings: Any, metadatas: Any, contents: Any) -> None:
        backend = self._opened()
        batch = read_batch(
            ids,
            embeddings,
            metadatas,
            contents,
            dimension=backend.dimension,
            embedder=self.embedder,
            where=f"store {self.name!r}:",
        )
        if batch:
            with self._writing:
                backend.upsert(batch)

    # Searching

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is a Sequence[str]; this one goes first
        self,
        query: str | EmbeddingLike,
        top_k: int = ...,
        where: Where | None = ...,
        *,
        mode: Mode = ...,
        exact: bool = ...,
        mmr: float | None = ...,
        rerank: RerankerProtocol | None = ...,
        fusion: FusionMethod = ...,
    ) -> Hits: ...

    @overload
    def search(
        self,
        query: Sequence[str] | Sequence[EmbeddingLike],
        top_k: int = ...,
        where: Where | None = ...,
        *,
        mode: Mode = ...,
        exact: bool = ...,
        mmr: float | None = ...,
        rerank: RerankerProtocol | None = ...,
        fusion: FusionMethod = ...,
    ) -> list[Hits]: ...

    def search(
        self,
        query: Any,
        top_k: int = 5,
        where: Where | None = None,
        *,
        mode: Mode = "dense",
        exact: bool = False,
        mmr: float | None = None,
        rerank: RerankerProtocol | None = None,
        fusion: FusionMethod = "score",
    ) -> Hits | list[Hits]:
        """Return the best `top_k` entries (1 to 10,000), best first.

        `query` is an embedding `[dimension]`, or text if the store has an embedder. A list of
        either returns a list of `Hits`, as does a 2-D array, which type checkers cannot distinguish
        from a single embedding: pass `list(array)` in type-checked code.

        `where` is a filter on metadata such as `{"section": {"$in": ["returns", "warranty"]}}`
        (`vectors.filters` documents the language), or one bool per entry. No matching entry is
        missed, up to `top_k`; ties are in insertion order.

        `mode` is "dense" (by meaning), "lexical" (by words) or "hybrid" (both; `fusion` adds their
        scores on one scale, or with "rank" the reciprocals of their ranks). `rerank` is a model
        that reads query and content together and reorders the best 50. `mmr` from 0 to 1
        diversifies the hits: 1 has no effect. `exact=True` compares with every vector. The `plan`
        of the hits describes how they were found; without hits, also whether the filter has a key
        that no entry has.
        """
        arguments = (top_k, where, mode, exact, mmr, rerank, fusion)
        if (again := recorder.kept(self.name, "search", self, query, arguments)) is not None:
            return cast("Hits | list[Hits]", again.gave)
        with recorder.span(
            self.name, "search", self, query, store_read=self, arguments=arguments
        ) as span:
            keep = None if where is None else self._filter(where)
            search, backend = Search(top_k, keep, mode, exact, mmr, rerank, fusion), self._opened()
            queries, single = read_queries(
                query,
                backend.dimension,
                self.embedder,
                f"store {self.name!r}: the query",
                words=mode == "lexical",
            )
            lists = search.run(self.name, backend, queries)
            if isinstance(keep, Filter) and not any(lists):
                self._name_unknown_keys(keep, lists)
            found = lists[0] if single else lists
            if span is not None:
                span.output = found
                span.annotate(plan=lists[0].plan if lists else "")
            return found

    def more_like(self, id: str, top_k: int = 5, where: Where | None = None) -> Hits:
        """Return the entries most similar to the entry `id`, excluding itself."""
        entry, top_k = self[id], Search(top_k).top_k
        hits = self.search(entry.embedding, min(top_k + 1, MAX_HITS), where)
        kept = [hit for hit in hits if hit.id != id][:top_k]
        return Hits(kept, self.name, hits.plan, kept[0].score if kept else None)

    def duplicates(self, threshold: float = 0.95, where: Where | None = None) -> Duplicates:
        """Return groups of entries with a cosine similarity of at least `threshold`; exact."""
        return find_duplicates(list(self.entries(where)), threshold)

    def explore(
        self,
        query: str | EmbeddingLike | None = None,
        *,
        color_by: str | None = None,
        where: Where | None = None,
        method: Method = "pca",
        limit: int = SHOWN_ENTRIES,
        evaluation: Evaluation | None = None,
    ) -> Explorer:
        """Return a map of the entries that `where` selects; see `Explorer`.

        Entries are placed along the first two principal directions, or with `method="umap"` (the
        `[umap]` extra) next to their neighbours, and coloured by cluster or by the metadata key
        `color_by`. Beyond `limit` entries a random sample is shown. `evaluation` shows its failed
        questions.
        """
        from conduit_lab.vectors.explore.explorer import Explorer

        return Explorer(self, query, color_by, where, method, limit, evaluation)

    # Reading

    def get(self, id: str) -> Entry | None:
        """Return the entry under `id` with its original embedding, or None."""
        with recorder.span(self.name, "search", self, id, store_read=self) as span:
            entry = self._opened().get([id])[0] if isinstance(id, str) else None
            if span is not None:
                span.output = entry
            return entry

    def entries(self, where: Where | None = None) -> Iterator[Entry]:
        """Yield the entries that `where` selects in insertion order.

        Entries deleted meanwhile are skipped.
        """
        ids = self._ids(where)
        for at in range(0, len(ids), _PAGE_ENTRIES):
            page = self._opened().get(ids[at : at + _PAGE_ENTRIES])
            yield from (entry for entry in page if entry is not None)

    def to_pandas(self) -> Any:
        """Return a DataFrame of all entries; needs the `[lab]` extra.

        Its columns are id, content, the keys of the metadata, the times and embedding.
        """
        with progress(len(self), "entry", f"{self.name}.to_pandas"):
            return to_frame(
                map(entry_row, counted(self, "entry")), purpose="VectorStore.to_pandas()"
            )

    def __len__(self) -> int:
        return self._opened().count()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._opened().get([id])[0] is not None

    def __getitem__(self, id: str) -> Entry:
        if (entry := self.get(id)) is None:
            raise KeyError(f"store {self.name!r} has no entry {id!r}")
        return entry

    __iter__ = entries

    def _ipython_key_completions_(self) -> list[str]:
        return self._opened().ids()

    def _ids(self, where: Where | None) -> list[str]:
        return self._opened().ids(None if where is None else self._filter(where))

    def _name_unknown_keys(self, keep: Filter, lists: Sequence[Hits]) -> None:
        """Report in the plan of empty hits that no entry has a key of the filter, likely a typo."""
        if isinstance(backend := self._opened(), LocalBackend) and backend.count():
            unknown = keep.unknown_keys(backend.metadata_keys())
            for hits in lists:
                hits.plan = "; ".join(filter(None, (hits.plan, unknown)))

    def _filter(self, where: Where) -> Any:
        """Return a filter or a mask in the backend's form."""
        if isinstance(where, Mapping):
            return parse_filter(where)
        mask = as_mask(where, f"store {self.name!r}:")
        self._local("a mask as where=")
        return mask
