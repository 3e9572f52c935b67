"""Reindex: store documents, embedding only new texts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np

from conduit_lab.core.errors import InputError, VectorInputError
from conduit_lab.core.progress import BYTES, progress
from conduit_lab.core.spec import EmbedderProtocol, FloatArray
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures, html
from conduit_lab.core.views.view import Table, View
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.vectors import table
from conduit_lab.vectors.backend import Notes
from conduit_lab.vectors.documents.document import check_name, read_bytes
from conduit_lab.vectors.documents.document_reader import DocumentReader, Piece
from conduit_lab.vectors.documents.records import Records, Stamp, content_digest, json_digest
from conduit_lab.vectors.documents.sheet import read_frame
from conduit_lab.vectors.documents.sources import FoundSources, Source, find_sources
from conduit_lab.vectors.embedding import embed_passages
from conduit_lab.vectors.entry import Entry

# Embedded and committed together: an interrupt loses at most one batch, and progress advances by
# one. 256 are less than 1 % faster with MiniLM on the handbook.
BATCH_CHUNKS = 64

_JSON = json.JSONEncoder(sort_keys=True)

_Step = Callable[[float], object]


class _Store(Protocol):
    """The part of `VectorStore` needed for documents."""

    name: str
    path: Path | None
    embedder: EmbedderProtocol | None

    def entries(self, where: Any) -> Iterator[Entry]:
        """Yield the entries that match a filter."""

    def get(self, id: str) -> Entry | None:
        """Return one entry."""

    def add_many(self, ids: Any, embeddings: Any, metadatas: Any, contents: Any) -> None:
        """Store or replace a batch."""

    def delete(self, ids: Any) -> int:
        """Remove some entries."""


@dataclass(repr=False)
class Reindexed(Viewed):
    """The changes of `add_documents`, in chunks (rows, for a table).

    `updated` chunks have a new text, position or metadata under an existing id; `kept` chunks are
    unchanged. `embedded` is the number of embedded texts. `problems` are the files without entries
    or with broken text, with reasons; `passed_over` counts other files in a folder by suffix.
    """

    name: str
    documents: int = 0
    added: int = 0
    updated: int = 0
    kept: int = 0
    removed: int = 0
    embedded: int = 0
    seconds: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)

    def _facts(self) -> list[str]:
        facts = [figures.plural(self.documents, "document")]
        counted = ("added", "updated", "kept", "removed")
        facts += [f"{figures.count(getattr(self, what))} {what}" for what in counted]
        facts += [
            f"{figures.plural(self.embedded, 'text')} embedded",
            figures.seconds(self.seconds),
        ]
        if self.passed_over:
            others = ", ".join(f"{n} × {suffix}" for suffix, n in self.passed_over.items())
            facts.append(f"passed over: {others}")
        return facts

    def _view(self) -> View:
        rows = list(self.problems.items())
        problems = Table(("document", "problem"), rows, whole="reindexed.problems")
        return View("Reindexed", self.name, self._facts(), [problems])

    def __repr__(self) -> str:
        lines = [" · ".join([f"Reindexed {self.name!r}", *self._facts()])]
        shown = list(self.problems.items())[: html.MAX_ROWS]
        lines += [f"  {source}: {reason}" for source, reason in shown]
        left = len(self.problems) - html.MAX_ROWS
        more = f"  {figures.plural(left, 'more problem')}: reindexed.problems"
        return "\n".join([*lines, more] if left > 0 else lines)


def add_documents(
    store: _Store,
    documents: Any,
    *,
    size: int | None = None,
    overlap: int = 0,
    text: str | Sequence[str] | None = None,
    source: str | None = None,
    notes: Notes | None = None,
) -> Reindexed:
    """Chunk documents, embed and store them; repeated calls process only changes.

    `documents` is a folder, a file, a list of either, or a DataFrame with its name in `source`.
    Chunks have at most `size` tokens of the store's embedder (by default 256, or its limit), of
    which `overlap` repeat the previous chunk. Each becomes an entry `<source>#<number>` with the
    metadata source (the path from the project's root), section (the first folder below the given
    one), title, heading, page, line, start and end, as far as they exist; its content is
    `read_document(source).text[start:end]`. Each row of a table (CSV or DataFrame) becomes an
    entry: `text` names the column or columns for the content, and the other columns and `row` are
    its metadata. Rows without text are skipped, and rows longer than a chunk are split, with the
    `start` and `end` of each piece in the row's text.

    A stored text keeps its embedding, even under a new number. Chunks that no longer exist are
    removed, as are chunks of files deleted from a given folder. Chunks are committed in batches of
    64: after an interrupt the same call continues. Entries under other ids are not changed.

    A file is not read again unless it, its entries or the settings have changed. A document is
    identified by its resolved path: it keeps its source and, from the outermost given folder, its
    section, regardless of the working directory and the path used in later calls. Symbolic links
    that lead out of their folder are not followed.

    An unreadable file in a folder is reported in `problems`, and its stored entries stay; for an
    unreadable folder, or file given by name, `InputError` is raised once the other files are
    stored. Raises `InputError` for chunks longer than the embedder's limit, `VectorInputError` for
    a store without an embedder, `MissingExtra` if the package that reads or splits a document is
    missing. `notes` are the notes of the store's backend, for records of the files.
    """
    begin, title = perf_counter(), f"{store.name}.add_documents"
    if table.is_table(documents):
        if not isinstance(source, str) or not source:
            raise InputError(
                f"expected a name for the DataFrame, so the next call recognizes its rows, "
                f"got source={source!r}: pass source='catalog'"
            )
        sheet = read_frame(documents, source, text)
        with progress(len(sheet.texts), "row", title) as job:
            update = _Update(store, job.step)
            reader = DocumentReader(update.embedder, size, overlap, text)
            update.put(source, reader.rows(sheet, None), len(sheet.texts))
            update.finish([source])
    else:
        sources = find_sources(documents)
        with progress(sum(file.size for file in sources.files), BYTES, title) as job:
            update = _Update(store, job.step)
            done, base = update.done, store.path and store.path.parent
            done.passed_over = {_printable(name): n for name, n in sources.passed_over.items()}
            done.problems = {_printable(name): what for name, what in sources.problems.items()}
            records = Records(notes, base, update.sections, sources.folders)
            reader = DocumentReader(update.embedder, size, overlap, text)
            _store_files(update, sources, records, reader)
    update.done.seconds = perf_counter() - begin
    return update.done


def _store_files(
    update: _Update, sources: FoundSources, records: Records, reader: DocumentReader
) -> None:
    """Store all files, remove deleted ones, and raise for unreadable folders and named files."""
    problems, wrong, failed = update.done.problems, list(sources.locked.values()), set()
    files = [records.place(file) for file in sources.files]
    for file in files:
        try:
            problem = _store_file(update, file, records, reader)
        except InputError as error:
            problem = str(error).removeprefix(f"{file.name} ")
            failed.add(file.name)
            wrong += [str(error)] if file.named else []
            update.step(file.size)
        if problem:
            problems[_printable(file.name)] = problem
    found = {file.name for file in files}
    left = [name for name in update.left if name not in found]
    gone = [name for name in left if sources.covers(name, records.path(name))]
    update.finish([*gone, *(found - failed)])
    for name in gone:
        records.drop(name)
    records.flush()
    if wrong:
        raise InputError("; ".join(wrong))


def _store_file(update: _Update, file: Source, records: Records, reader: DocumentReader) -> str:
    """Store a file unless it is unchanged; return a problem with its text, or ""."""
    check_name(file.name)
    settings, known = reader.settings(file), records.get(file)
    try:
        stamp = Stamp.of(file.path)
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror or error}") from None
    same = known is not None and known.cut == settings and known.entries == update.stored(file.name)
    if known is not None and same and known.stamp.proves(stamp):
        update.keep(file.name, file.size)
        return known.problem
    data = read_bytes(file.path, file.name)
    content = content_digest(data)
    if known is not None and same and known.content == content:
        update.keep(file.name, file.size)
        problem, entries = known.problem, known.entries
    else:
        with recorder.span("chunk", "call", None, file.name) as span:
            pieces, problem = reader.pieces(file, data)
            if span is not None:
                span.output = figures.plural(len(pieces), "chunk")
        entries = update.put(file.name, pieces, file.size)
    records.put(file, stamp, content, settings, entries, problem)
    if update.written:  # entries of earlier files
        records.flush()
        update.written = False
    return problem


class _Row(NamedTuple):
    """An entry to write, and its share `size` of the progress; new texts have no `vector`."""

    source: str
    id: str
    text: str
    metadata: dict[str, Any]
    vector: FloatArray | None
    size: float


class _Update:
    """A store's document entries, and the pending changes."""

    def __init__(self, store: _Store, step: _Step) -> None:
        if store.embedder is None:
            raise VectorInputError(
                f"store {store.name!r} has no embedder for documents: open it with "
                "VectorStore(embedder=…)"
            )
        self.store, self.embedder, self.step = store, store.embedder, step
        self.done = Reindexed(store.name)
        self.written = False  # whether entries were written since the last reset
        self.left: dict[str, set[str]] = defaultdict(set)  # stored ids not found again, by source
        self.sections: dict[str, str | None] = {}  # of the stored sources
        self._prints: dict[str, bytes] = {}  # by id
        self._texts: dict[bytes, str] = {}  # an id with an embedding of the text
        self._pending: list[_Row] = []
        for entry in store.entries({"source": {"$exists": True}}):
            source, _, number = entry.id.rpartition("#")
            # An entry added manually belongs to no document, even if its metadata names one.
            ours = source == entry.metadata["source"] and number.isdecimal()
            if ours and entry.content is not None:
                self.left[source].add(entry.id)
                section = entry.metadata.get("section")
                known = self.sections.get(source)
                self.sections[source] = section if isinstance(section, str) else known
                self._prints[entry.id] = _print(entry.content, entry.metadata)
                self._texts[_print(entry.content)] = entry.id

    def stored(self, source: str) -> str:
        """Return a hash of the stored entries of a source."""
        return json_digest(sorted((id, self._prints[id].hex()) for id in self.left.get(source, ())))

    def keep(self, source: str, size: float) -> None:
        """Count a source as unchanged."""
        self.done.kept += len(self.left.pop(source, ()))
        self.done.documents += 1
        self.step(size)

    def put(self, source: str, pieces: Sequence[Piece], size: float) -> str:
        """Store the pieces of one source in order; return the hash of its entries.

        The hash is that of `stored`. Unchanged entries are skipped.
        """
        share = size / max(1, len(pieces))
        changed, prints = [], list[tuple[str, str]]()
        for number, (text, metadata) in enumerate(pieces, 1):
            id, made = f"{source}#{number}", _print(text, metadata)
            prints.append((id, made.hex()))
            if self._prints.get(id) != made:
                changed.append((id, text, metadata))
                continue
            self.left[source].discard(id)
            self.done.kept += 1
            self.step(share)
        # Look up all embeddings before replacing any entry of the source: texts may swap ids.
        self._pending += [_Row(source, *row, self._stored(row[1]), share) for row in changed]
        while len(self._pending) >= BATCH_CHUNKS:
            self._write(BATCH_CHUNKS)
        self.done.documents += 1
        return json_digest(sorted(prints))

    def finish(self, gone: Sequence[str]) -> None:
        """Write pending entries, and remove the remaining entries of the sources in `gone`."""
        self._write(BATCH_CHUNKS)
        if ids := [id for source in gone for id in self.left.get(source, ())]:
            self.done.removed += self.store.delete(ids)

    def _stored(self, text: str) -> FloatArray | None:
        id = self._texts.get(_print(text))
        entry = None if id is None else self.store.get(id)
        return entry.embedding if entry is not None and entry.content == text else None

    def _write(self, count: int) -> None:
        rows = self._pending[:count]
        if not rows:
            return
        new = list(dict.fromkeys(row.text for row in rows if row.vector is None))
        made = dict(zip(new, embed_passages(new, self.embedder), strict=True)) if new else {}
        vectors = [made[row.text] if row.vector is None else row.vector for row in rows]
        self.store.add_many(
            [row.id for row in rows],
            np.stack(vectors),
            [row.metadata for row in rows],
            [row.text for row in rows],
        )
        del self._pending[:count]
        self.done.embedded += len(new)
        self.written = True
        for row in rows:
            self.done.updated += row.id in self._prints
            self.done.added += row.id not in self._prints
            self.left[row.source].discard(row.id)
            self._texts[_print(row.text)] = row.id
            self.step(row.size)


def _printable(name: str) -> str:
    """Return the name of a file, with bytes that are not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _print(text: str, metadata: dict[str, Any] | None = None) -> bytes:
    """Return a content hash of a text, or of an entry."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    if metadata is not None:
        digest.update(b"\xff" + _JSON.encode(metadata).encode())  # \xff occurs in no UTF-8 text
    return digest.digest()
