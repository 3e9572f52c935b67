"""Reindex: documents into a store, embedding only what is new."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np

from conduit_lab.core.errors import InputError, VectorInputError
from conduit_lab.core.spec import EmbedderProtocol, FloatArray
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures, html
from conduit_lab.vectors import table
from conduit_lab.vectors.backend import Notes
from conduit_lab.vectors.documents.document import check_name, read_bytes
from conduit_lab.vectors.documents.document_reader import Piece, Reader
from conduit_lab.vectors.documents.records import Records, Stamp, content_digest, digest
from conduit_lab.vectors.documents.sheet import read_frame
from conduit_lab.vectors.documents.sources import Source, Sources, find
from conduit_lab.vectors.embedding import embed_passages
from conduit_lab.vectors.entry import Entry

# Chunks that are embedded and committed together: an interrupt loses at most these, and the
# progress bar moves by them. 256 are not 1 % faster with MiniLM on the handbook.
BATCH = 64

_JSON = json.JSONEncoder(sort_keys=True)

Step = Callable[[float], object]


class Store(Protocol):
    """What a `VectorStore` does here."""

    name: str
    path: Path | None
    embedder: EmbedderProtocol | None

    def entries(self, where: Any) -> Iterator[Entry]:
        """Yield the entries that a filter keeps."""

    def get(self, id: str) -> Entry | None:
        """Return one entry."""

    def add_many(self, ids: Any, embeddings: Any, metadatas: Any, contents: Any) -> None:
        """Store or replace a batch."""

    def delete(self, ids: Any) -> int:
        """Remove some entries."""


@dataclass
class Reindexed:
    """What `add_documents` did, in chunks (rows, for a table).

    `updated` chunks have a new text, place or metadata under an old id; `kept` ones were right
    already. `embedded` counts the texts that went through the embedder. `problems` are the files
    that gave nothing, or a text that looks broken, each with the reason; `passed_over` counts the
    files of a folder that are no documents, by suffix.
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
        facts += [
            f"{figures.count(getattr(self, what))} {what}"
            for what in ("added", "updated", "kept", "removed")
        ]
        facts += [
            f"{figures.plural(self.embedded, 'text')} embedded",
            figures.seconds(self.seconds),
        ]
        if self.passed_over:
            facts.append(
                "passed over: "
                + ", ".join(f"{n} × {suffix}" for suffix, n in self.passed_over.items())
            )
        return facts

    def __repr__(self) -> str:
        lines = [" · ".join([f"Reindexed {self.name!r}", *self._facts()])]
        lines += [
            f"  {source}: {reason}"
            for source, reason in list(self.problems.items())[: html.MAX_ROWS]
        ]
        left = len(self.problems) - html.MAX_ROWS
        return "\n".join([*lines, f"  {left} more problems"] if left > 0 else lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = html.header("Reindexed", self.name, self._facts())
        if self.problems:
            shown += html.table(("document", "problem"), list(self.problems.items()))
        return html.bundle(repr(self), shown)


def add_documents(
    store: Store,
    documents: Any,
    *,
    size: int | None = None,
    overlap: int = 0,
    text: str | Sequence[str] | None = None,
    source: str | None = None,
    notes: Notes | None = None,
) -> Reindexed:
    """Cut documents into chunks, embed and store them; done again, only what has changed.

    `documents` is a folder, a file, a list of either, or a DataFrame with its name in `source`.
    Chunks have at most `size` tokens of the store's embedder (by default 256, or what it reads) and
    `overlap` of them again from the chunk before. Each is an entry `<source>#<number>` with the
    metadata source (the path from the project's root), section (the first folder below the given
    one), title, heading, page, line, start and end, those that there are:
    `read(source).text[start:end]` is its content. Of a table, CSV or DataFrame, each row is an
    entry: `text` names the column or columns for the content, the others and `row` are its
    metadata; rows without text are left out, and longer ones than a chunk are cut, with the `start`
    and `end` of each piece in the row's text.

    A text that is stored already, under whatever number, keeps its embedding. Chunks that are gone
    are removed, and below a given folder those of files that are gone. What is done is committed
    every 64 chunks: after an interrupt the same call goes on. A progress bar shows where tqdm is
    installed. Entries under other ids are left alone.

    A file that has not changed, nor its entries nor the settings, is not read again. A document is
    its file without links: it keeps its source and, from the outermost folder that was given, its
    section, whatever the working directory is and however it is given again. Links in a folder that
    lead out of it are not followed.

    A file in a folder that cannot be read is told in the answer's `problems` and what was stored of
    it stays; for one that was given by name, and for a folder, `InputError` is raised when the
    others are stored. Raises `InputError` for chunks longer than the embedder reads,
    `VectorInputError` for a store without an embedder, `MissingExtra` where the package that reads
    or cuts a document is not installed. `notes` is where the store's backend keeps its records of
    the files.
    """
    begin = perf_counter()
    if table.is_table(documents):
        if not isinstance(source, str) or not source:
            raise InputError(
                f"a DataFrame wants a name, by which the next call knows its rows: source={source!r}"
            )
        sheet = read_frame(documents, source, text)
        with _progress(store.name, len(sheet.texts), "row") as step:
            update = _Update(store, step)
            reader = Reader(update.embedder, size, overlap, text)
            update.put(source, reader.rows(sheet, None), len(sheet.texts))
            update.finish([source])
    else:
        sources = find(documents)
        with _progress(store.name, sum(file.size for file in sources.files), "B") as step:
            update = _Update(store, step)
            update.done.passed_over = {
                _printable(name): count for name, count in sources.passed_over.items()
            }
            update.done.problems = {
                _printable(name): problem for name, problem in sources.problems.items()
            }
            records = Records(
                notes, store.path and store.path.parent, update.sections, sources.folders
            )
            _files(update, sources, records, Reader(update.embedder, size, overlap, text))
    update.done.seconds = perf_counter() - begin
    return update.done


def _files(update: _Update, sources: Sources, records: Records, reader: Reader) -> None:
    """Store all files, remove deleted ones, and raise for folders and given files that cannot be read."""
    problems, wrong, failed = update.done.problems, list(sources.locked.values()), set()
    files = [records.place(file) for file in sources.files]
    for file in files:
        try:
            problem = _file(update, file, records, reader)
        except InputError as error:
            problem = str(error).removeprefix(f"{file.name} ")
            failed.add(file.name)
            wrong += [str(error)] if file.named else []
            update.step(file.size)
        if problem:
            problems[_printable(file.name)] = problem
    found = {file.name for file in files}
    gone = [
        name
        for name in update.left
        if name not in found and sources.covers(name, records.path(name))
    ]
    update.finish([*gone, *(found - failed)])
    for name in gone:
        records.drop(name)
    records.flush()
    if wrong:
        raise InputError("; ".join(wrong))


def _file(update: _Update, file: Source, records: Records, reader: Reader) -> str:
    """Store a file, unless it is stored as it is, and return the problem with its text, or ""."""
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
    if update.written:  # the chunks of most files before
        records.flush()
        update.written = False
    return problem


class _Row(NamedTuple):
    """An entry to write; `vector` is None where its text is new, `size` is its part of the progress bar."""

    source: str
    id: str
    text: str
    metadata: dict[str, Any]
    vector: FloatArray | None
    size: float


class _Update:
    """A store's document entries as they are, and the changes that wait to be written."""

    def __init__(self, store: Store, step: Step) -> None:
        if store.embedder is None:
            raise VectorInputError(
                f"store {store.name!r} has no embedder for documents: make it with VectorStore(embedder=…)"
            )
        self.store, self.embedder, self.step = store, store.embedder, step
        self.done = Reindexed(store.name)
        self.written = False  # whether entries were written since the caller has noted it
        self.left: dict[str, set[str]] = defaultdict(
            set
        )  # ids of each source that have not come again
        self.sections: dict[str, str | None] = {}  # of the stored sources
        self._prints: dict[str, bytes] = {}  # by id
        self._texts: dict[bytes, str] = {}  # the id that has an embedding of the text
        self._waiting: list[_Row] = []
        for entry in store.entries({"source": {"$exists": True}}):
            source, _, number = entry.id.rpartition("#")
            # an entry that somebody added by hand is none of ours, whatever its metadata say
            if (
                source == entry.metadata["source"]
                and number.isdecimal()
                and entry.content is not None
            ):
                self.left[source].add(entry.id)
                section = entry.metadata.get("section")
                self.sections[source] = (
                    section if isinstance(section, str) else self.sections.get(source)
                )
                self._prints[entry.id] = _print(entry.content, entry.metadata)
                self._texts[_print(entry.content)] = entry.id

    def stored(self, source: str) -> str:
        """Return a hash of the entries of a source, as they are stored."""
        return digest(sorted((id, self._prints[id].hex()) for id in self.left.get(source, ())))

    def keep(self, source: str, size: float) -> None:
        """Leave a source as it is stored."""
        self.done.kept += len(self.left.pop(source, ()))
        self.done.documents += 1
        self.step(size)

    def put(self, source: str, pieces: Sequence[Piece], size: float) -> str:
        """Take the pieces of one source, in order, and return a hash of its entries, as `stored`
        does.

        Those that are stored as they are need no work.
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
        # Every embedding is looked up before an entry of the source is replaced: texts change
        # places.
        self._waiting += [_Row(source, *row, self._stored(row[1]), share) for row in changed]
        while len(self._waiting) >= BATCH:
            self._write(BATCH)
        self.done.documents += 1
        return digest(sorted(prints))

    def finish(self, gone: Sequence[str]) -> None:
        """Write what still waits, and remove what was stored of the sources in `gone` and has not come again."""
        self._write(BATCH)
        if ids := [id for source in gone for id in self.left.get(source, ())]:
            self.done.removed += self.store.delete(ids)

    def _stored(self, text: str) -> FloatArray | None:
        id = self._texts.get(_print(text))
        entry = None if id is None else self.store.get(id)
        return entry.embedding if entry is not None and entry.content == text else None

    def _write(self, count: int) -> None:
        rows = self._waiting[:count]
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
        del self._waiting[:count]
        self.done.embedded += len(new)
        self.written = True
        for row in rows:
            self.done.updated += row.id in self._prints
            self.done.added += row.id not in self._prints
            self.left[row.source].discard(row.id)
            self._texts[_print(row.text)] = row.id
            self.step(row.size)


def _printable(name: str) -> str:
    """Return the name of a file with the bytes in it that are not UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _print(text: str, metadata: dict[str, Any] | None = None) -> bytes:
    """Return a fingerprint of a text, or of an entry."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    if metadata is not None:
        digest.update(b"\xff" + _JSON.encode(metadata).encode())  # a byte that no text has
    return digest.digest()


@contextmanager
def _progress(name: str, total: int, unit: str) -> Iterator[Step]:
    """Yield a function that moves a progress bar, where tqdm is there and somebody sees it."""
    # the notebook's bar does not read tqdm's own switch
    seen = ("ipykernel" in sys.modules or sys.stderr.isatty()) and not os.environ.get(
        "TQDM_DISABLE"
    )
    try:
        from tqdm.auto import tqdm
    except ImportError:
        seen = False
    if not seen:
        yield lambda amount: None
        return
    with tqdm(total=total, desc=name, unit=unit, unit_scale=unit == "B", unit_divisor=1024) as bar:
        yield bar.update
        bar.update(
            total - bar.n
        )  # shares of a file rarely sum up to all of it, and a bar that lacks a byte turns red
