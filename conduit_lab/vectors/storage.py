"""Storage: the truth of a store in one SQLite database, on disk or in memory.

On disk it is a file in WAL mode with `synchronous=NORMAL`: what `put` or `remove` has returned from survives the
death of the process. Table `meta` holds the format version, dimension and metric; table `entries` one row an
entry: little-endian float32 embedding, JSON metadata, content, times, and a CRC-32 that finds flipped bits.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.entry import Entry

FORMAT_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    embedding BLOB NOT NULL,
    metadata TEXT NOT NULL,
    content TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
"""
_COLUMNS = "id, embedding, metadata, content, created_at, updated_at, checksum"
_PUT = f"""
INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET embedding = excluded.embedding, metadata = excluded.metadata,
    content = excluded.content, updated_at = excluded.updated_at, checksum = excluded.checksum
"""

_Record = tuple[str, bytes, str, str | None, float, float, int]


class Storage:
    """The entries of one store in insertion order; `path=None` keeps them in memory.

    A file that does not exist is created. Every method raises `StoreError` naming the file when SQLite fails.
    Not safe for threads: the store's lock is.
    """

    def __init__(self, path: Path | None, dimension: int, metric: str) -> None:
        self._path = path
        self._meta = {"format": str(FORMAT_VERSION), "dimension": str(dimension), "metric": metric}
        with self._told("open"):
            if path is None:
                self._connection = sqlite3.connect(":memory:", check_same_thread=False)
                self._create(self._connection)
            else:
                self._create_file(path)
                self._connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, check_same_thread=False)
        # A store that is dropped without close(), as when a notebook cell runs twice, must not leak its file.
        self._close = weakref.finalize(self, self._connection.close)
        try:
            with self._told("open"):
                self._prepare()
        except StoreError:
            self.close()
            raise

    def load(self) -> Iterator[Entry]:
        """Yield every entry in insertion order."""
        with self._told("read"):
            self._seen = self._data_version()
            for record in self._connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY seq"):
                yield self._entry(record)

    def get(self, id: str) -> Entry | None:
        """Return one entry, or None."""
        with self._told("read"):
            record = self._connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE id = ?", (id,)).fetchone()
            return self._entry(record) if record else None

    def put(self, entries: Sequence[Entry]) -> None:
        """Add or replace all of `entries` in one transaction; a replaced one keeps its place and `created_at`."""
        with self._told("write"), self._connection:
            self._connection.executemany(_PUT, map(_record, entries))

    def remove(self, ids: Sequence[str]) -> None:
        """Remove all of `ids` in one transaction."""
        with self._told("write"), self._connection:
            self._connection.executemany("DELETE FROM entries WHERE id = ?", ((id,) for id in ids))

    def changed_elsewhere(self) -> bool:
        """Tell whether another connection, here or in another process, has written since `load`."""
        with self._told("read"):
            return self._path is not None and self._data_version() != self._seen

    def copy_to(self, path: Path) -> None:
        """Write a whole copy as a new file that needs no other beside it; `path` must not exist."""
        with self._told("write", path), _new_file(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._close()

    def _create_file(self, path: Path) -> None:
        """Create the file of a new store, whole or not at all."""
        orphan = Path(f"{path}-wal")
        was_there = orphan.exists()
        if path.exists():
            return
        if was_there:
            # SQLite would replay the old log into the new file.
            raise StoreError(f"{orphan} is left over from a deleted store: close the store that uses it, or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), _new_file(path) as temporary, closing(sqlite3.connect(temporary)) as new:
            self._create(new)

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        with connection:
            connection.executemany("INSERT INTO meta VALUES (?, ?)", self._meta.items())

    def _prepare(self) -> None:
        """Check that the file is a whole store of this kind, and set how it is written."""
        found = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
        for name, wanted in self._meta.items():
            if found.get(name) != wanted:
                raise StoreError(
                    f"{self._path}: this store file has {name} {found.get(name)}, wanted {wanted}: "
                    f"use the {name} it was made with, or choose another path"
                )
        problem = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise self._damaged(problem)
        with suppress(sqlite3.OperationalError):  # a read-only file stays as it is and can be searched
            self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._seen = self._data_version()

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _entry(self, record: _Record) -> Entry:
        """Return the entry of one row of the table, checked."""
        id, embedding, metadata, content, created_at, updated_at, checksum = record
        if _checksum(id, embedding, metadata, content) != checksum:
            raise self._damaged(f"entry {id!r} has a wrong checksum")
        vector = np.frombuffer(embedding, "<f4").astype(np.float32)
        return Entry(id, vector, json.loads(metadata), content, created_at, updated_at)

    def _damaged(self, problem: str) -> StoreError:
        return StoreError(f"{self._path}: the store file is damaged ({problem}): restore it from a copy")

    @contextmanager
    def _told(self, action: str, path: Path | None = None) -> Iterator[None]:
        """Raise what SQLite or the system says as a `StoreError` that names the file and the next step."""
        where = path or self._path or "the store in memory"
        try:
            yield
        except FileExistsError:
            raise StoreError(f"{where} exists already: choose a new path, or remove it first") from None
        except OSError as error:
            raise StoreError(f"{where}: cannot {action} the store: {error.strerror}") from error
        except UnicodeDecodeError as error:  # Python's, when a flipped byte stands in a message of SQLite
            raise self._damaged("text that is not UTF-8") from error
        except sqlite3.Error as error:
            match getattr(error, "sqlite_errorname", "").split("_")[1:2]:
                case ["NOTADB"]:
                    raise StoreError(
                        f"{where} is not a SQLite file, so not a vector store: choose another path"
                    ) from error
                case ["ERROR"] if action == "open":
                    raise StoreError(f"{where} is a SQLite file but not a vector store: choose another path") from error
                case ["READONLY"] if action == "open":
                    raise StoreError(f"{where} cannot be written: there only a copy made by save_to opens") from error
                case ["CORRUPT"]:
                    raise self._damaged(str(error)) from error
                case ["BUSY" | "LOCKED"]:
                    raise StoreError(f"{where}: another process is writing this store: try again") from error
                case _:
                    raise StoreError(f"{where}: cannot {action} the store: {error}") from error


def _record(entry: Entry) -> _Record:
    embedding = entry.embedding.astype("<f4").tobytes()
    metadata = json.dumps(entry.metadata, ensure_ascii=False)
    checksum = _checksum(entry.id, embedding, metadata, entry.content)
    return entry.id, embedding, metadata, entry.content, entry.created_at, entry.updated_at, checksum


def _checksum(id: str, embedding: bytes, metadata: str, content: str | None) -> int:
    """Return the CRC-32 of all that answers depend on."""
    text = f"{id}\0{metadata}" if content is None else f"{id}\0{metadata}\0{content}"
    return zlib.crc32(text.encode(), zlib.crc32(embedding))


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and put what was written there at `path` unless one is there by then."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        try:
            os.link(temporary, path)  # unlike a rename, never replaces the file of another process
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(path) from None
            temporary.rename(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut; Windows does so by itself."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
