"""Storage: the entries of a store in one SQLite database, on disk or in memory.

On disk it is a file in WAL mode: completed calls of `put` and `remove` survive a crash of the
process, and with `durability="full"` also a power failure. `livefile` guards the open file,
`checkpoint` empties its write-ahead log when idle. Table `meta` holds format, kind, dimension and
metric; `entries` one row per entry: times, JSON metadata, little-endian float32 embedding and
content, with CRC-32s that find flipped bits; `words` the full-text index of contents (`lexical`);
`changes` the log of the last changes. Storages in memory and of snapshots do not hold embeddings;
the index does.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from conduit_lab.core.errors import StoreError
from conduit_lab.core.progress import counted
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.arrays import IntArray
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.disk import changes, copies, format_1, lexical, record, schema
from conduit_lab.vectors.disk.checkpoint import IdleCheckpoint
from conduit_lab.vectors.disk.connection import (
    FileStamp,
    can_write,
    file_stamp,
    open_connection,
    open_to_read,
)
from conduit_lab.vectors.disk.lexical import Keep
from conduit_lab.vectors.disk.livefile import LiveFile
from conduit_lab.vectors.disk.patience import PATIENCE_SECONDS, Deadline
from conduit_lab.vectors.disk.record import Block
from conduit_lab.vectors.disk.sqlite_errors import damaged, translate_errors
from conduit_lab.vectors.entry import Entry

_FORMAT = 2
_DEFAULTS = {"dimension": "384", "metric": "cosine"}
_SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}
_CACHE_KB = 32_768  # pages that a transaction can change before they are written twice
# In the write-ahead log before a checkpoint, so one `put` of 10,000 rows does not write them twice.
_CHECKPOINT_PAGES = 4_000
_BLOCK_ENTRIES = 4_096
_MAX_CHECKED_ENTRIES = 200_000  # up to which words are checked, in about 1.5 s
_PART = nullcontext()


class Storage:
    """The entries of one store in insertion order; `path=None` keeps them in memory.

    A missing file is created, a file of format 1 is upgraded in place. `dimension` and `metric`
    default to those of the file, for a new file to 384 and cosine. `read_only` is for the immutable
    file of a snapshot. `durability` is "normal" or "full". Every method raises `StoreError` naming
    the file if SQLite fails. Not thread-safe: the store holds a lock.
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
        self.patience = PATIENCE_SECONDS  # that a call waits for another process's write
        kind = "snapshot" if read_only else "store"
        expected = {"format": _FORMAT, "kind": kind, "dimension": dimension, "metric": metric}
        self._meta = {name: str(value) for name, value in expected.items() if value is not None}
        self._last: tuple[int, int] | None = None
        self._file: LiveFile | None = None
        self._idle: IdleCheckpoint | None = None
        self._stamp: FileStamp | None = None
        self._writes = 0  # started in memory
        self._reading = translate_errors(self._where, "read")
        self._writing = translate_errors(self._where, "write")
        with translate_errors(self._where, "open"):
            self._open()

    def begin(self, *, write: bool = False) -> bool:
        """Begin a transaction; return False if another process's write prevents it."""
        connection, file, path = self._connection, self._file, self._path
        if self._stamp is not None and path is not None and file_stamp(path) != self._stamp:
            raise StoreError(f"{path} was changed while it was open for reading: open it again")
        if file is not None and file.overwritten:
            file.check()
        if write and file is not None and not file.begin_write():
            return False
        try:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            if write and path is None:
                self._writes = (self._writes + 1) % 2**31
                connection.execute(f"PRAGMA user_version = {self._writes}")
            if file is not None:
                # From here on the transaction sees a single state.
                [self._version] = connection.execute("PRAGMA data_version").fetchone()
                file.last = self._last
        except BaseException as error:
            self.cancel()
            if write and file is not None:
                file.end_write()
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                return False
            with self._writing if write else self._reading:
                self._explain(error)
                raise
        return True

    def committed(self) -> bool:
        """Return whether the last write in memory was committed; roll it back if still open."""
        self.cancel()  # an interrupt may occur between the end of the block and its commit
        [number] = self._connection.execute("PRAGMA user_version").fetchone()
        return bool(number == self._writes)

    def _explain(self, error: BaseException | None) -> None:
        """Raise the cause of an SQLite error if the file has changed."""
        if self._file is not None and isinstance(error, sqlite3.DatabaseError):
            self._file.check()

    def cancel(self) -> None:
        """Roll back a transaction that an interrupt left open."""
        if self._connection.in_transaction:
            self._connection.rollback()
            if self._file is not None:
                self._file.end_write()

    def transaction(self, *, write: bool = False) -> AbstractContextManager[None]:
        """Give the block a single state of the file; with `write` the latest, to change atomically.

        A nested transaction is part of the outer one. Waits for another process's write.
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
        """Commit the open transaction at the end of the block; roll it back on errors."""
        file, last = self._file, self._last
        try:
            with self._writing if write else self._reading, self._connection:
                yield
                if write and file is not None:
                    file.check()
        except BaseException as error:
            self._last = last if self._last == last else None  # memory may have undone changes
            self._explain(error.__cause__)
            raise
        finally:
            if write and file is not None:
                file.end_write()
        if write and self._idle is not None:
            self._idle.record_write()

    def count(self) -> int:
        """Return the number of entries."""
        with self._reading:
            return int(self._connection.execute("SELECT count(*) FROM entries").fetchone()[0])

    def load(self) -> Iterator[Block]:
        """Yield every entry in insertion order, 4,096 at a time."""
        with self.transaction():
            self._mark()
            yield from self._blocks(f"SELECT {record.FOR_BLOCK} FROM entries ORDER BY seq")

    def changed_elsewhere(self) -> bool:
        """Return whether another connection, in any process, wrote since `load` or `changes`."""
        if self._file is None:  # in memory or read-only, so impossible
            return False
        with self._reading:
            version = self._version if self._connection.in_transaction else self._data_version()
            return version != self._seen

    def changes(self, limit: int) -> tuple[list[str], list[Block]] | None:
        """Return the changes that other connections have made since: removed ids, then new entries.

        An id may be in both if it was added again. The entries are in insertion order. Returns None
        if the log does not reach back far enough or has more than `limit` changes; then call
        `load`.
        """
        with self.transaction():
            before = self._last
            self._mark()
            if before is None or self._last is None or self._last[0] - before[0] > limit:
                return None
            if self._connection.execute(changes.STANDS, before).fetchone() is None:
                return None
            rows = self._connection.execute(changes.REMOVED_SINCE, before[:1])
            return [id for (id,) in rows], list(self._blocks(changes.PUT_SINCE, before[:1]))

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """Return the entry of each id, or None; its embedding is empty if none are stored."""
        statement = f"SELECT {record.ENTRY_COLUMNS} FROM entries WHERE id = ?"
        with self._reading:
            rows = [self._connection.execute(statement, (id,)).fetchone() for id in ids]
            return [None if row is None else record.to_entry(row, self._width) for row in rows]

    def contents(self, ids: Sequence[str]) -> list[str | None]:
        """Return the content of each id, or None."""
        statement = "SELECT id, content_checksum, content FROM entries WHERE id = ?"
        execute, rows = self._connection.execute, []
        with self._reading:
            for id in ids:
                row = execute(statement, (id,)).fetchone()
                rows.append(row)
            return record.to_contents(rows)

    def read_notes(self, prefix: str) -> dict[str, str]:
        """Return the rows of `meta` whose names start with `prefix`, by the rest of the name."""
        statement = "SELECT substr(name, ?), value FROM meta WHERE substr(name, 1, ?) = ?"
        values = len(prefix) + 1, len(prefix), prefix
        with self.transaction():
            return dict(self._connection.execute(statement, values).fetchall())

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write rows of `meta` atomically; None removes a row."""
        rows = [(prefix + key, value) for key, value in changes.items()]
        removed = [(name,) for name, _ in rows]
        kept = [(name, value) for name, value in rows if value is not None]
        with self.transaction(write=True):
            self._connection.executemany("DELETE FROM meta WHERE name = ?", removed)
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", kept)

    def put(self, entries: Sequence[Entry]) -> None:
        """Add or replace `entries` atomically; replaced ones keep position and `created_at`."""
        with self.transaction(write=True):
            fields = Batch.of(entries).fields()
            rows = (record.to_row(each, self._width) for each in counted(fields, "entry"))
            self._connection.executemany(record.UPSERT, rows)
            self._last = None if self.changed_elsewhere() else self._last_change()

    def remove(self, ids: Sequence[str]) -> None:
        """Remove `ids` atomically."""
        with self.transaction(write=True):
            self._connection.executemany("DELETE FROM entries WHERE id = ?", ((id,) for id in ids))
            self._last = None if self.changed_elsewhere() else self._last_change()

    def lexical(self, text: str, limit: int, keep: Keep | None = None) -> list[tuple[str, float]]:
        """Return ids and bm25 scores of the best entries with a word of `text`.

        `keep` filters their `seq` numbers.
        """
        with self.transaction():
            self._check_words()
            return lexical.search(self._connection, text, limit, keep)

    def numbers(self, after: int = 0) -> IntArray:
        """Return the numbers of the entries beyond `after`, which ascend in insertion order."""
        return lexical.numbers(self._connection, after)

    def copy_to(
        self, path: Path, embeddings: Iterable[FloatArray] = (), *, replace: bool = False
    ) -> None:
        """Write a complete copy to one new file; `replace` allows replacing an older copy.

        A storage without embeddings requires them: blocks `[n, dimension]` in insertion order.
        """
        given = None if self._width else embeddings
        with translate_errors(path, "write"):
            copies.copy_store(self._connection, path, self._copied_meta, given, replace=replace)

    def copy_for_snapshot(self, path: Path) -> list[str] | None:
        """Write a new file without embeddings; return its ids in insertion order.

        Returns None if another connection has changed entries; a checkpoint is no change.
        """
        meta = {**self._copied_meta, "kind": "snapshot"}
        with translate_errors(path, "write"):
            ids = copies.copy_without_embeddings(self._connection, path, meta)
            is_current = self._last is not None and self._last == self._last_change()
            return ids if is_current or not self.changed_elsewhere() else None

    def close(self) -> None:
        """Close the file; idempotent."""
        self._close()

    def reopen(self) -> None:
        """Reopen the file in a child process forked after it was opened."""
        self._close.detach()
        last = self._last
        with translate_errors(self._where, "open"):
            self._open()
        self._seen, self._last = -1, last  # the caller's state is outdated

    @property
    def forked(self) -> bool:
        """Whether a parent process opened the file."""
        return self._file is not None and self._file.forked

    # Opening

    def _open(self) -> None:
        path = self._path
        files: tuple[LiveFile | IdleCheckpoint, ...] = ()
        if path is None:
            self._connection = sqlite3.connect(":memory:", check_same_thread=False)
            schema.create(self._connection, self._copied_meta)
        elif self._read_only:
            self._connection = open_connection(path, "mode=ro&immutable=1")
        else:
            copies.create_store(path, self._copied_meta)
            if can_write(path):
                self._file = LiveFile(path, self._prepare)
                self._connection = self._file.connection
                self._idle = IdleCheckpoint(self._file)
                files = self._file, self._idle
            else:
                self._connection, immutable = open_to_read(path)
                self._stamp = file_stamp(path) if immutable else None
        # A store dropped without close(), as by a cell that runs twice, must not leak its file.
        self._close = weakref.finalize(self, _close, *(files or (self._connection,)))
        try:
            self._prepare(self._connection)
            if self._file is not None:
                self._file.attach()
                self._connection.execute("PRAGMA busy_timeout = 0")  # `begin` returns False
        except BaseException:
            self._close()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check that the file is an intact store with these settings; configure the connection."""
        self._connection = connection
        connection.execute("PRAGMA cell_size_check = ON")
        found = schema.read_meta(connection)
        old = found.get("format") == "1" and not self._read_only
        here = {**found, "format": str(_FORMAT), "kind": "store"} if old else found
        schema.check_meta(here, self._meta, self._where)
        self._meta |= {name: found[name] for name in _DEFAULTS}
        self.dimension, self.metric = int(found["dimension"]), found["metric"]
        in_file = self._path is not None and not self._read_only
        self._width = self.dimension if in_file else 0  # of the embeddings stored here
        self._unchecked = in_file
        if old:
            with translate_errors(self._where, "upgrade"):
                format_1.upgrade_format(connection, self._where, self.dimension, self._meta)
        lexical.upgrade_words(connection)
        self._logged = schema.check_schema(connection, self._where)
        # Not quick_check: with a wrong id in the id index, an entry could be missed or added twice.
        if (problem := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise damaged(self._where, problem)
        if self._width and not self._logged:
            with suppress(sqlite3.OperationalError), connection:
                changes.start_log(connection)
                self._logged = True
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: wait for the disk, not its cache
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._mark()

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _mark(self) -> None:
        """Check the schema, and record the current state of the file as known to the caller."""
        self._logged = schema.check_schema(self._connection, self._where)
        self._seen, self._last = self._data_version(), self._last_change()

    def _last_change(self) -> tuple[int, int] | None:
        return self._connection.execute(changes.LAST).fetchone() if self._logged else None

    def _blocks(self, statement: str, values: Sequence[int] = ()) -> Iterator[Block]:
        rows = self._connection.execute(statement, values)
        while some := rows.fetchmany(_BLOCK_ENTRIES):
            yield record.to_block(some, self._width)

    def _check_words(self) -> None:
        """Check a file's word index before its first use."""
        if self._unchecked:
            self._unchecked = False
            [last] = self._connection.execute("SELECT max(seq) FROM entries").fetchone()
            # A read-only or write-locked file cannot be checked.
            with suppress(sqlite3.OperationalError):
                if last is not None and last <= _MAX_CHECKED_ENTRIES:
                    self._connection.execute(lexical.CHECK)

    @property
    def _copied_meta(self) -> dict[str, str]:
        """The rows of the table `meta` in another file."""
        return {**_DEFAULTS, **self._meta, "kind": "store"}


def _close(*parts: LiveFile | IdleCheckpoint | sqlite3.Connection) -> None:
    for part in reversed(parts):
        part.close()
