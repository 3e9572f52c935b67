"""Storage: the truth of a store in one SQLite database, on disk or in memory.

On disk it is a file in WAL mode: what `put` or `remove` has returned from survives the death of the
process, and with `durability="full"` a power cut too. `livefile` guards the open file, `checkpoint`
empties its log when it is quiet. Table `meta` holds format, kind, dimension and metric; `entries`
one row per entry: times, JSON metadata, little-endian float32 embedding and content, with CRC-32s
that find flipped bits; `words` the index of contents' words (`lexical`); `changes` the last
changes. Storages in memory and of snapshots keep no embeddings: there the index has them.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.disk import changes, format_1, lexical, livefile, record, schema
from conduit_lab.vectors.disk.checkpoint import IdleCheckpoint
from conduit_lab.vectors.disk.files import can_write, new_file, replaced_file, stamp
from conduit_lab.vectors.disk.lexical import Keep
from conduit_lab.vectors.disk.livefile import Deadline, LiveFile
from conduit_lab.vectors.disk.record import Block
from conduit_lab.vectors.disk.sqlite_errors import damaged, translate_errors
from conduit_lab.vectors.entry import Entry

FORMAT_VERSION = 2

_NEW = {"dimension": "384", "metric": "cosine"}  # what a new store is where nothing else is wanted
_SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}
_CACHE = 32_768  # KB of pages that one transaction may change before they are written twice
# pages in the log before they move into the file, so that 10,000 rows are not written twice in one
# `put`
_LOG = 4_000
_BLOCK = 4_096
_CHECKED = 200_000  # entries whose words are checked, in about 1.5 s
_PART = nullcontext()
_NONE: FloatArray = np.empty(0, np.float32)


class Storage:
    """The entries of one store in the order of adding; `path=None` keeps them in memory.

    A file that does not exist is created, one of format 1 upgraded in place. `dimension` and
    `metric` None are those of the file, for a new one 384 and cosine. `read_only` is for the file
    of a snapshot, which nobody changes. `durability` is "normal" or "full". Every method raises
    `StoreError` naming the file when SQLite fails. Not safe for threads: the store's lock is.
    """

    def __init__(
        self,
        path: Path | None,
        dimension: int | None = None,
        metric: str | None = None,
        *,
        durability: str = "normal",
        read_only: bool = False,
    ) -> None:
        self._path = path
        self._where: Path | str = path or "the store in memory"
        self._read_only = read_only
        self._durability = durability
        self.patience = (
            livefile.PATIENCE
        )  # seconds that a call waits for the write of another process
        kind = "snapshot" if read_only else "store"
        wanted = {"format": FORMAT_VERSION, "kind": kind, "dimension": dimension, "metric": metric}
        self._meta = {name: str(value) for name, value in wanted.items() if value is not None}
        self._last: tuple[int, int] | None = None
        self._file: LiveFile | None = None
        self._idle: IdleCheckpoint | None = None
        self._stamp: tuple[int, ...] | None = None
        with self._told("open"):
            self._open()

    def begin(self, *, write: bool = False) -> bool:
        """Begin a transaction, or return False where another process does not let it, now."""
        connection, file = self._connection, self._file
        if self._stamp is not None and self._path is not None and stamp(self._path) != self._stamp:
            raise StoreError(
                f"{self._path} was changed while it was open to be read: open it again"
            )
        if file is not None and file.overwritten:
            file.check()
        if write and file is not None and not file.begin_write():
            return False
        try:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            if file is not None:
                self._version = self._data_version()  # from here on it sees one state
                file.last = self._last
        except BaseException as error:
            self.cancel()
            if write and file is not None:
                file.end_write()
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                return False
            with self._told("write" if write else "read"):
                self._explain(error)
                raise
        return True

    def _explain(self, error: BaseException | None) -> None:
        """Raise what happened to the file, where that is why SQLite failed."""
        if self._file is not None and isinstance(error, sqlite3.DatabaseError):
            self._file.check()

    def cancel(self) -> None:
        """Undo a transaction that was begun and not ended, by an interrupt."""
        if self._connection.in_transaction:
            self._connection.rollback()
            if self._file is not None:
                self._file.end_write()

    def transaction(self, *, write: bool = False) -> AbstractContextManager[None]:
        """Let the block see one state of the file; with `write` the last, which it alone may
        change, wholly or not.

        One within another is a part of it. Waits for the write of another process.
        """
        return _PART if self._connection.in_transaction else self._whole(write)

    @contextmanager
    def _whole(self, write: bool) -> Iterator[None]:
        until = Deadline(self._where, self.patience)
        while not self.begin(write=write):
            until.pause()
        with self.ending(write=write):
            yield

    @contextmanager
    def ending(self, *, write: bool = False) -> Iterator[None]:
        """End the transaction that was begun with the block: for good, or as if it had never been."""
        file, last = self._file, self._last
        try:
            with self._told("write" if write else "read"), self._connection:
                yield
                if write and file is not None:
                    file.check()
        except BaseException as error:
            self._last = last if self._last == last else None  # undone changes may be in memory
            self._explain(error.__cause__)
            raise
        finally:
            if write and file is not None:
                file.end_write()
        if write and self._idle is not None:
            self._idle.note_write()

    def load(self) -> Iterator[Block]:
        """Yield every entry in the order of adding, 4,096 at a time."""
        with self.transaction():
            self._mark()
            yield from self._blocks(f"SELECT {record.FOR_BLOCK} FROM entries ORDER BY seq")

    def changed_elsewhere(self) -> bool:
        """Tell whether another connection, here or in another process, has written since `load` or `changes`."""
        if self._file is None:  # in memory or read-only, so it cannot
            return False
        if self._connection.in_transaction:
            return self._version != self._seen
        with self._told("read"):
            return self._data_version() != self._seen

    def changes(self, most: int) -> tuple[list[str], list[Block]] | None:
        """Return what other connections have changed since: the ids that were removed, then the
        entries that were put.

        An id may be in both: it was added again. The entries come in the order of adding. None
        where the file cannot tell, or where it is more than `most`; then all is to be loaded.
        """
        with self.transaction():
            before = self._last
            self._mark()
            if before is None or self._last is None or self._last[0] - before[0] > most:
                return None
            if self._connection.execute(changes.STANDS, before).fetchone() is None:
                return None
            removed = [id for (id,) in self._connection.execute(changes.REMOVED, before[:1])]
            return removed, list(self._blocks(changes.PUT, before[:1]))

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None; its embedding is empty where none are kept."""
        with self._told("read"):
            rows = self._each(record.COLUMNS, ids)
            return [None if row is None else record.entry(row, self._width) for row in rows]

    def contents(self, ids: Sequence[str]) -> list[str | None]:
        """Return the content of each id, or None where there is none."""
        with self._told("read"):
            rows = self._each("id, content_checksum, content", ids)
            return [None if row is None else record.content(*row) for row in rows]

    def read_notes(self, prefix: str) -> dict[str, str]:
        """Return the rows of `meta` whose names begin with `prefix`, by the rest of the name."""
        statement = "SELECT substr(name, ?), value FROM meta WHERE substr(name, 1, ?) = ?"
        with self.transaction():
            return dict(
                self._connection.execute(
                    statement, (len(prefix) + 1, len(prefix), prefix)
                ).fetchall()
            )

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write or remove rows of `meta`, all of them or none."""
        rows = [(prefix + key, value) for key, value in changes.items()]
        with self.transaction(write=True):
            self._connection.executemany(
                "DELETE FROM meta WHERE name = ?", ((name,) for name, _ in rows)
            )
            kept = [(name, value) for name, value in rows if value is not None]
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", kept)

    def put(self, entries: Sequence[Entry]) -> None:
        """Add or replace all of `entries` or nothing; a replaced one keeps its place and `created_at`."""
        with self.transaction(write=True):
            fields = Batch.of(entries).fields()
            self._connection.executemany(
                record.PUT, (record.row(each, self._width) for each in fields)
            )
            self._last = None if self.changed_elsewhere() else self._last_change()

    def remove(self, ids: Sequence[str]) -> None:
        """Remove all of `ids` or nothing."""
        with self.transaction(write=True):
            self._connection.executemany("DELETE FROM entries WHERE id = ?", ((id,) for id in ids))
            self._last = None if self.changed_elsewhere() else self._last_change()

    def lexical(self, text: str, limit: int, keep: Keep | None = None) -> list[tuple[str, float]]:
        """Return ids and bm25 scores of the best entries with a word of `text`, of those whose numbers `keep` keeps."""
        with self.transaction():
            self._check_words()
            return lexical.search(self._connection, text, limit, keep)

    def numbers(self, after: int = 0) -> IntArray:
        """Return the numbers of the entries beyond `after`, which ascend in the order of adding."""
        return lexical.numbers(self._connection, after)

    def copy_to(
        self, path: Path, embeddings: Iterable[FloatArray] = (), *, replace: bool = False
    ) -> None:
        """Write a whole copy as a new file that needs no other beside it; `replace` lets it replace
        an older copy.

        A storage without embeddings is given them: blocks `[n, dimension]` in the order of adding.
        """
        placed = replaced_file if replace else new_file
        with (
            self._told("write", path),
            placed(path) as temporary,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            if self._width:
                self._connection.backup(copy)
            else:
                schema.create(copy, self._made_of)
                self._copy(copy, chain.from_iterable(embeddings))
                with copy:
                    notes = self._connection.execute("SELECT name, value FROM meta")
                    copy.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", notes)
            schema.identify(copy)
            copy.execute("PRAGMA journal_mode = DELETE")

    def copy_for_snapshot(self, path: Path) -> list[str]:
        """Write a new file with everything but the embeddings and return its ids in the order of adding."""
        with self._told("write", path), closing(sqlite3.connect(path)) as copy:
            schema.create(copy, {**self._made_of, "kind": "snapshot"})
            self._copy(copy, None)
            with copy:
                embedder = self._connection.execute(
                    "SELECT name, value FROM meta WHERE name LIKE 'embedder.%'"
                )
                copy.executemany("INSERT INTO meta VALUES (?, ?)", embedder)
            return [id for (id,) in copy.execute("SELECT id FROM entries ORDER BY seq")]

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._close()

    def reopen(self) -> None:
        """Open the file again, in a child process that was forked after it was opened."""
        self._close.detach()
        last = self._last
        with self._told("open"):
            self._open()
        self._seen, self._last = -1, last  # the caller's state is older

    @property
    def forked(self) -> bool:
        """Whether a parent process opened the file."""
        return self._file is not None and self._file.forked

    # Making and opening

    def _open(self) -> None:
        path = self._path
        files: tuple[LiveFile | IdleCheckpoint, ...] = ()
        if path is None:
            self._connection = sqlite3.connect(":memory:", check_same_thread=False)
            schema.create(self._connection, self._made_of)
        elif self._read_only:
            self._connection = livefile.connect(path, "mode=ro&immutable=1")
        else:
            self._create_file(path)
            if can_write(path):
                self._file = LiveFile(path, self._prepare)
                self._connection = self._file.connection
                self._idle = IdleCheckpoint(self._file)
                files = self._file, self._idle
            else:
                self._connection, unused = livefile.connect_to_read(path)
                self._stamp = stamp(path) if unused else None
        # A store that is dropped without close(), as when a notebook cell runs twice, must not leak
        # its file.
        self._close = weakref.finalize(self, _close, *(files or (self._connection,)))
        try:
            self._prepare(self._connection)
            if self._file is not None:
                self._file.attach()
                self._connection.execute(
                    "PRAGMA busy_timeout = 0"
                )  # from now on `begin` says so, and its caller waits
        except BaseException:
            self._close()
            raise

    def _create_file(self, path: Path) -> None:
        """Create the file of a new store, whole or not at all."""
        orphan = Path(f"{path}-wal")
        was_there = orphan.exists()
        if path.exists():
            return
        if was_there:
            # SQLite would replay the old log into the new file.
            raise StoreError(
                f"{orphan} is left over from a deleted store: close the store that uses it, or remove it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            suppress(FileExistsError),
            new_file(path) as temporary,
            closing(sqlite3.connect(temporary)) as new,
        ):
            schema.create(new, self._made_of)
            schema.identify(new)
            new.execute("PRAGMA journal_mode = WAL")

    def _copy(self, copy: sqlite3.Connection, embeddings: Iterable[FloatArray] | None) -> None:
        """Write every entry to `copy`, with these embeddings or none."""
        rows = self._connection.execute(
            f"SELECT {record.WITHOUT_EMBEDDING} FROM entries ORDER BY seq"
        )
        pairs = (
            ((row, _NONE) for row in rows)
            if embeddings is None
            else zip(rows, embeddings, strict=True)
        )
        with copy:
            copy.executemany(record.INSERT, starmap(record.with_embedding, pairs))

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check that the file is a whole store of this kind, and set how it is written."""
        self._connection = connection
        connection.execute("PRAGMA cell_size_check = ON")
        found = schema.read_meta(connection)
        old = found.get("format") == "1" and not self._read_only
        here = {**found, "format": str(FORMAT_VERSION), "kind": "store"} if old else found
        schema.check_meta(here, self._meta, self._where)
        self._meta |= {name: found[name] for name in _NEW}
        self.dimension, self.metric = int(found["dimension"]), found["metric"]
        self._width = (
            0 if self._path is None or self._read_only else self.dimension
        )  # of the embeddings kept here
        self._unchecked = self._width > 0
        if old:
            with self._told("upgrade"):
                format_1.upgrade(connection, self._where, self.dimension, self._meta)
        lexical.upgrade(connection)
        self._logged = schema.check(connection, self._where)
        # Not quick_check: where the index of ids has a wrong one, an entry could not be found, or
        # be added twice.
        if (problem := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise damaged(self._where, problem)
        if self._width and not self._logged:
            with suppress(sqlite3.OperationalError), connection:
                changes.begin(connection)
                self._logged = True
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        connection.execute(
            "PRAGMA fullfsync = ON"
        )  # macOS: wait for the disk itself, not for its cache
        connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG}")
        self._mark()

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _mark(self) -> None:
        """Check the schema, and note that the caller learns now what is in the file."""
        self._logged = schema.check(self._connection, self._where)
        self._seen, self._last = self._data_version(), self._last_change()

    def _last_change(self) -> tuple[int, int] | None:
        return self._connection.execute(changes.LAST).fetchone() if self._logged else None

    def _blocks(self, statement: str, values: Sequence[int] = ()) -> Iterator[Block]:
        rows = self._connection.execute(statement, values)
        while some := rows.fetchmany(_BLOCK):
            yield record.block(some, self._width)

    def _check_words(self) -> None:
        """Check the words of a file before they are first used."""
        if self._unchecked:
            self._unchecked = False
            [last] = self._connection.execute("SELECT max(seq) FROM entries").fetchone()
            # A file that cannot be written, or is just being, cannot be checked either.
            with suppress(sqlite3.OperationalError):
                if last is not None and last <= _CHECKED:
                    self._connection.execute(lexical.CHECK)

    def _each(self, columns: str, ids: Sequence[str]) -> list[Any]:
        statement = f"SELECT {columns} FROM entries WHERE id = ?"
        return [self._connection.execute(statement, (id,)).fetchone() for id in ids]

    @property
    def _made_of(self) -> dict[str, str]:
        """The rows of the table `meta` in another file."""
        return {**_NEW, **self._meta, "kind": "store"}

    def _told(self, action: str, path: Path | None = None) -> translate_errors:
        return translate_errors(path or self._where, action)


def _close(*parts: LiveFile | IdleCheckpoint | sqlite3.Connection) -> None:
    for part in reversed(parts):
        part.close()
