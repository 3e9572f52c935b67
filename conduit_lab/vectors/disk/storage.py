"""Storage: the truth of a store in one SQLite database, on disk or in memory.

On disk it is a file in WAL mode: what `put` or `remove` has returned from survives the death of the process, and with
`durability="full"` a power cut too. Table `meta` holds the format, kind, dimension and metric; table `entries` one row
an entry: times, JSON metadata, little-endian float32 embedding and content, with CRC-32s that find flipped bits;
table `words` the index of the contents' words (`lexical`), table `changes` what was changed last (`changes`). A
storage in memory and that of a snapshot keep no embeddings: there the index has them.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import numpy as np

from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import FloatArray
from conduit_lab.vectors.batch import Batch
from conduit_lab.vectors.disk import changes, format_1, lexical, record
from conduit_lab.vectors.disk.files import new_file
from conduit_lab.vectors.disk.lexical import Keep
from conduit_lab.vectors.disk.record import Block
from conduit_lab.vectors.entry import Entry
from conduit_lab.vectors.index.bound import IntArray
from conduit_lab.vectors.index.scoring import METRICS

FORMAT_VERSION = 2

# A row of 384 dimensions takes a fifth of such a page; of SQLite's 4,096 bytes a fifth would be left empty.
_PAGE = 8_192
_NEW = {"dimension": "384", "metric": "cosine"}  # what a new store is where nothing else is wanted
_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"
_ROWS, _UNFOLDED = (
    tuple(statement.strip() for statement in (record.TABLE, *words)) for words in (lexical.SCHEMA, lexical.UNFOLDED)
)
_SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}
_CACHE = 32_768  # KB of pages that one transaction may change before they are written twice
_LOG = 4_000  # pages in the log before they move into the file, so that 10,000 rows are not written twice in one `put`
_BLOCK = 4_096
_CHECKED = 200_000  # entries whose words are checked, in about 1.5 s
_NONE: FloatArray = np.empty(0, np.float32)


class Storage:
    """The entries of one store in the order of adding; `path=None` keeps them in memory.

    A file that does not exist is created, one of format 1 upgraded in place. `dimension` and `metric` None are those
    of the file, for a new one 384 and cosine. `read_only` is for the file of a snapshot, which nobody changes.
    `durability` is "normal" or "full". Every method raises `StoreError` naming the file when SQLite fails. Not safe
    for threads: the store's lock is.
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
        self._read_only = read_only
        kind = "snapshot" if read_only else "store"
        wanted = {"format": FORMAT_VERSION, "kind": kind, "dimension": dimension, "metric": metric}
        self._meta = {name: str(value) for name, value in wanted.items() if value is not None}
        with self._told("open"):
            if path is None:
                self._connection = sqlite3.connect(":memory:", check_same_thread=False)
                self._create(self._connection)
            else:
                if not read_only:
                    self._create_file(path)
                mode = "mode=ro&immutable=1" if read_only else "mode=rw"
                self._connection = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, check_same_thread=False)
                lexical.register(self._connection)
        # A store that is dropped without close(), as when a notebook cell runs twice, must not leak its file.
        self._close = weakref.finalize(self, self._connection.close)
        try:
            with self._told("open"):
                self._prepare(durability)
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[None]:
        """Let the block see one state of the file; with `write` the last, which it alone may change, wholly or not.

        One within another is a part of it.
        """
        if self._connection.in_transaction:
            yield
            return
        with self._told("write" if write else "read"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield

    def load(self) -> Iterator[Block]:
        """Yield every entry in the order of adding, 4,096 at a time."""
        with self.transaction():
            self._mark()
            yield from self._blocks(f"SELECT {record.FOR_BLOCK} FROM entries ORDER BY seq")

    def changed_elsewhere(self) -> bool:
        """Tell whether another connection, here or in another process, has written since `load` or `changes`."""
        if not self._width:  # in memory or read-only, so it cannot
            return False
        with self._told("read"):
            return self._data_version() != self._seen

    def changes(self, most: int) -> tuple[list[str], list[Block]] | None:
        """Return what other connections have changed since: the ids that were removed, then the entries that were put.

        An id may be in both: it was added again. The entries come in the order of adding. None where the file cannot
        tell, or where it is more than `most`; then all is to be loaded.
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
            return dict(self._connection.execute(statement, (len(prefix) + 1, len(prefix), prefix)).fetchall())

    def write_notes(self, prefix: str, changes: Mapping[str, str | None]) -> None:
        """Write or remove rows of `meta`, all of them or none."""
        rows = [(prefix + key, value) for key, value in changes.items()]
        with self.transaction(write=True):
            self._connection.executemany("DELETE FROM meta WHERE name = ?", ((name,) for name, _ in rows))
            kept = [(name, value) for name, value in rows if value is not None]
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", kept)

    def put(self, entries: Sequence[Entry]) -> None:
        """Add or replace all of `entries` or nothing; a replaced one keeps its place and `created_at`."""
        with self.transaction(write=True):
            fields = Batch.of(entries).fields()
            self._connection.executemany(record.PUT, (record.row(each, self._width) for each in fields))
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

    def copy_to(self, path: Path, embeddings: Iterable[FloatArray] = ()) -> None:
        """Write a whole copy as a new file that needs no other beside it; `path` must not exist.

        A storage without embeddings is given them: blocks `[n, dimension]` in the order of adding.
        """
        with self._told("write", path), new_file(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
            if self._width:
                self._connection.backup(copy)
            else:
                self._create(copy)
                self._copy(copy, chain.from_iterable(embeddings))
                with copy:
                    notes = self._connection.execute("SELECT name, value FROM meta")
                    copy.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", notes)
            copy.execute("PRAGMA journal_mode = DELETE")

    def copy_for_snapshot(self, path: Path) -> list[str]:
        """Write a new file with everything but the embeddings and return its ids in the order of adding."""
        with self._told("write", path), closing(sqlite3.connect(path)) as copy:
            self._create(copy, kind="snapshot")
            self._copy(copy, None)
            return [id for (id,) in copy.execute("SELECT id FROM entries ORDER BY seq")]

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._close()

    # Making and opening

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
        with suppress(FileExistsError), new_file(path) as temporary, closing(sqlite3.connect(temporary)) as new:
            self._create(new)

    def _create(self, connection: sqlite3.Connection, kind: str = "store") -> None:
        lexical.register(connection)
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        with connection:
            connection.execute("BEGIN")
            for statement in (_META, *_ROWS):
                connection.execute(statement)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", {**_NEW, **self._meta, "kind": kind}.items())

    def _copy(self, copy: sqlite3.Connection, embeddings: Iterable[FloatArray] | None) -> None:
        """Write every entry to `copy`, with these embeddings or none."""
        rows = self._connection.execute(f"SELECT {record.WITHOUT_EMBEDDING} FROM entries ORDER BY seq")
        pairs = ((row, _NONE) for row in rows) if embeddings is None else zip(rows, embeddings, strict=True)
        with copy:
            copy.executemany(record.INSERT, starmap(record.with_embedding, pairs))

    def _prepare(self, durability: str) -> None:
        """Check that the file is a whole store of this kind, and set how it is written."""
        self._connection.execute("PRAGMA cell_size_check = ON")
        found = self._found()
        old = found.get("format") == "1" and not self._read_only
        self._check({**found, "format": str(FORMAT_VERSION), "kind": "store"} if old else found)
        self._meta |= {name: found[name] for name in _NEW}
        self.dimension, self.metric = int(found["dimension"]), found["metric"]
        self._width = 0 if self._path is None or self._read_only else self.dimension  # of the embeddings kept here
        self._unchecked = self._width > 0
        if old:
            self._upgrade()
        lexical.upgrade(self._connection)
        made = {sql for (sql,) in self._connection.execute("SELECT sql FROM sqlite_schema")}
        self._logged = made.issuperset(changes.SCHEMA)
        if not (made.issuperset(_ROWS) or made.issuperset(_UNFOLDED)) or (
            not self._logged and made.intersection(changes.SCHEMA)
        ):
            raise self._damaged("its tables are not as they were made")
        # Not quick_check: where the index of ids has a wrong one, an entry could not be found, or be added twice.
        problem = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise self._damaged(problem)
        with suppress(sqlite3.OperationalError):  # a read-only file stays as it is and can be searched
            self._connection.execute("PRAGMA journal_mode = WAL")
        if self._width and not self._logged:
            with suppress(sqlite3.OperationalError), self._connection:
                changes.begin(self._connection)
                self._logged = True
        self._connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        self._connection.execute("PRAGMA fullfsync = ON")  # macOS: wait for the disk itself, not for its cache
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG}")
        self._mark()

    def _upgrade(self) -> None:
        """Make a file of format 1 one of format 2, all of it or nothing."""
        with self._told("upgrade"), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            if self._found()["format"] != "1":
                return  # another process was faster
            connection.execute("ALTER TABLE entries RENAME TO entries_1")
            for statement in _ROWS:
                connection.execute(statement)
            fields = format_1.entries(connection)
            connection.executemany(record.INSERT, (record.row(each, self._width) for each in fields))
            connection.execute("DROP TABLE entries_1")
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", self._meta.items())

    def _found(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT name, value FROM meta").fetchall())

    def _check(self, found: dict[str, str]) -> None:
        for name, wanted in self._meta.items():
            if found.get(name) != wanted:
                raise StoreError(
                    f"{self._path}: this store file has {name} {found.get(name)}, wanted {wanted}: "
                    f"use the {name} it was made with, or choose another path"
                )
        if not found.get("dimension", "").isdecimal() or found.get("metric") not in METRICS:
            raise self._damaged("it does not say its dimension and metric")

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _mark(self) -> None:
        """Note that the caller learns now what is in the file."""
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
        except record.Damaged as error:
            raise self._damaged(str(error)) from None
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
                case ["READONLY"] if action == "upgrade":
                    raise StoreError(
                        f"{where} has format 1 and cannot be written, so not be upgraded: copy it to where it can"
                    ) from error
                case ["CORRUPT"]:
                    raise self._damaged(str(error)) from error
                case ["BUSY" | "LOCKED"]:
                    raise StoreError(f"{where}: another process is writing this store: try again") from error
                case _:
                    raise StoreError(f"{where}: cannot {action} the store: {error}") from error
