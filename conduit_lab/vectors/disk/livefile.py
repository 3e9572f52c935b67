"""Live file: the open file of a store, protected by its own advisory locks.

SQLite's POSIX locks belong to the process, and closing any descriptor of the file drops all of
them, as after a checksum or `shutil.copy` (sqlite.org/howtocorrupt.html, 2.2). Another process that
closes the store then assumes that it is the last and removes the write-ahead log in use. Linux's
open file description locks (fcntl(2)) belong to one descriptor and conflict with POSIX locks:

    shared, one byte of SQLite's shared lock  no process gets the exclusive lock to remove the log
    shared, SQLite's "dead man's switch"      no process rebuilds the wal-index (-shm)
    exclusive, `_WRITE`                       one writer at a time
    shared, `_NAMES` + a hash of the name     hard links have separate logs, so one may be open

Elsewhere only names and stamps are checked. A descriptor stays open as long as this process has
another connection to the file: closing it would drop that connection's locks.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

from conduit_lab.core.errors import StoreError
from conduit_lab.core.forking import in_forked_child
from conduit_lab.vectors.disk import changes
from conduit_lab.vectors.disk.advisory import EXCLUSIVE, FREE, SHARED, is_locked, lock
from conduit_lab.vectors.disk.connection import open_connection
from conduit_lab.vectors.disk.patience import Deadline

# SQLite's locking bytes (fileformat2.html, 1.5), which hold no data in a file of any size.
_PENDING = 0x4000_0000
_PRESENT = _PENDING + 2
_PRESENT_BYTES = 510  # of SQLite's shared lock; the first is ours
_WRITE = _PENDING + 0x400
_NAMES = _PENDING + 0x1_0000
_MAX_NAMES = 0x1_0000
_DEAD_MAN = 128  # of -shm
_HEADER_BYTES = 100


class _Descriptors:
    """The descriptors of one file in this process, closed when no store has it open."""

    def __init__(self) -> None:
        self.users = 0
        self.parked: list[int] = []


_registering = threading.Lock()  # guards the registries below
_files: dict[tuple[int, int], _Descriptors] = {}
_live: set[LiveFile] = set()
# Of the parent process: closing them would affect its locks.
_abandoned: list[sqlite3.Connection] = []


class LiveFile:
    """A store's open file and its `connection`; raises `StoreError` if it cannot be opened.

    `prepare` is called with a connection to a file without a write-ahead log, such as a copy, and
    raises unless it is a store. Call `attach` once the connection has read the file, and `check`
    before each commit. `last` is the last change known to be in the file. `forked` is set if a
    parent process opened it, `overwritten` once a check found other content, which no longer
    matches the entries in memory.
    """

    def __init__(
        self, path: Path, prepare: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        self.path = path
        self._named = str(path), str(path.parent)
        self._real = Path(os.path.realpath(path))  # SQLite's log is next to this
        self.forked = False
        self.overwritten = False
        self.last: tuple[int, int] | None = None
        self._beside = [Path(f"{self._real}-wal"), Path(f"{self._real}-shm")]
        self._names: list[int] | None = None  # their inodes
        self._stamp: tuple[int, ...] | None = None
        self._id: bytes | None = None
        self._counter = 0
        self._fds: list[int] = []
        self._size = 0
        self._open()
        name = f"{self._real.parent.stat().st_ino}/{self._real.name}"
        self._at = _NAMES + crc32(name.encode()) % _MAX_NAMES
        try:
            if prepare is not None:
                self._use_log(prepare)
            until = Deadline(path)
            while not lock(self._fds[0], SHARED, _PRESENT):
                until.pause()
            self._take_name()
            self.connection = open_connection(self._real)
        except BaseException:
            self._leave()
            raise

    def attach(self) -> None:
        """Lock the log and the wal-index, which exist once the connection has read the file."""
        with suppress(FileNotFoundError):
            self._fds.append(os.open(self._beside[1], os.O_RDWR | getattr(os, "O_CLOEXEC", 0)))
            lock(self._fds[-1], SHARED, _DEAD_MAN)
        self._names = self._inodes()
        self._stamp = self._now()
        self._problem()

    # Writing

    def begin_write(self) -> bool:
        """Take the write lock; return False if it is held elsewhere."""
        return lock(self._fds[0], EXCLUSIVE, _WRITE)

    def end_write(self) -> None:
        """Release the write lock."""
        lock(self._fds[0], FREE, _WRITE)

    def check(self) -> None:
        """Raise `StoreError` unless the path still names this file, with the same content."""
        try:
            now = self._now()
        except OSError:
            now = None
        if now is None or now != self._stamp:
            problem = self._problem() or self._foreign()
            self.overwritten = problem == _OVERWRITTEN
            if problem:
                raise StoreError(f"{self.path} {problem}")
            self._stamp = now

    # Closing

    def close(self) -> None:
        """Close the connection; the last connection checkpoints and removes the log. Idempotent."""
        if self.forked or not self._fds:
            return
        fd = self._fds[0]
        problem = None
        if self._names is not None:
            problem = _OVERWRITTEN if self.overwritten else self._problem()
        if problem is None:
            lock(fd, FREE, _PRESENT)
            self.connection.close()
        else:
            # SQLite would remove the log by name, which may now belong to another store.
            if problem != _OVERWRITTEN:
                with suppress(sqlite3.Error):
                    self.connection.rollback()
                    self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.connection.close()
            if lock(fd, EXCLUSIVE, _PRESENT):
                inodes, names = self._inodes(), self._names or ()
                for path, inode, known in zip(self._beside, inodes, names, strict=False):
                    if inode == known:
                        path.unlink(missing_ok=True)
        self._leave()

    def abandon(self) -> None:
        """In a forked child, leave the file to the parent process."""
        self.forked = True
        if hasattr(self, "connection"):
            _abandoned.append(self.connection)
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    # The file

    def _open(self) -> None:
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        while True:
            with _registering:
                fd = os.open(self.path, flags)
                found = os.fstat(fd)
                self.key = (found.st_dev, found.st_ino)
                _files.setdefault(self.key, _Descriptors()).users += 1
                self._fds = [fd]
                _live.add(self)
            with suppress(OSError):
                if self.path.stat().st_ino == found.st_ino:
                    return
            self._leave()

    def _leave(self) -> None:
        """Release all locks; close the descriptors once no store here has the file open."""
        with _registering:
            for at in (_PRESENT, _WRITE, self._at):
                lock(self._fds[0], FREE, at)
            for fd in self._fds[1:]:
                lock(fd, FREE, _DEAD_MAN)
            mine = _files[self.key]
            mine.users -= 1
            mine.parked += self._fds
            self._fds = []
            _live.discard(self)
            if not mine.users:
                del _files[self.key]
                for fd in mine.parked:
                    os.close(fd)

    def _use_log(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        """Switch a store written as one file, such as a copy, to a write-ahead log."""
        if _header(self._fds[0])[18:20] != b"\1\1":
            return
        with closing(open_connection(self._real)) as connection:
            prepare(connection)
            # SQLite does not wait here, but another process may be opening the same copy.
            until = Deadline(self.path)
            while not _switched_to_log(connection):
                until.pause()

    def _take_name(self) -> None:
        fd, at, end = self._fds[0], self._at, _NAMES + _MAX_NAMES
        lock(fd, SHARED, at)
        others = ((_NAMES, at), (at + 1, end))
        if any(begin < stop and is_locked(fd, begin, stop - begin) for begin, stop in others):
            raise StoreError(
                f"{self.path} is a hard link to a store that is open under another name: open it "
                "by that name, or write a copy with its save_to(path)"
            )

    def _now(self) -> tuple[int, ...]:
        """Return numbers that change when the file, or a name beside it, changes."""
        # Paths as text, for speed: this runs for each write.
        file, folder = os.stat(self._named[0]), os.stat(self._named[1])  # noqa: PTH116
        return file.st_ino, file.st_ctime_ns, file.st_size, folder.st_mtime_ns

    def _inodes(self) -> list[int]:
        return [path.stat().st_ino if path.exists() else 0 for path in self._beside]

    def _problem(self) -> str | None:
        """Return how the files differ from the opened ones, or None."""
        try:
            same = os.path.samestat(self.path.stat(), os.fstat(self._fds[0]))
        except OSError:
            same = False
        if not same:
            return (
                "was moved, replaced or deleted while the store had it open: keep its entries with "
                "store.save_to(new_path), then open that"
            )
        if self._names != self._inodes():
            return (
                "lost its write-ahead log (-wal, -shm), removed while the store had it open: keep "
                "its entries with store.save_to(new_path), then open that"
            )
        header, size = _header(self._fds[0]), os.fstat(self._fds[0]).st_size
        counter = int.from_bytes(header[24:28], "big")
        # A checkpoint keeps the id, and never lowers the number of pages or the change counter.
        same = self._id in (None, header[68:72])
        if not same or header[18:20] != b"\2\2" or counter < self._counter or size < self._size:
            return _OVERWRITTEN
        self._id, self._counter, self._size = header[68:72], counter, size
        return None

    def _foreign(self) -> str | None:
        """Look for the last known change on a fresh connection with an empty cache."""
        if self.last is None:
            return None
        try:
            with closing(open_connection(self._real)) as fresh:
                found = fresh.execute(changes.STANDS, self.last).fetchone()
                found = found or fresh.execute(changes.PRUNED, self.last[:1]).fetchone()
        except sqlite3.Error:
            found = None
        return _OVERWRITTEN if found is None else None


_OVERWRITTEN = (
    "was overwritten while the store had it open: close the store and open it again with the new "
    "content"
)


def is_open(path: Path) -> bool:
    """Return whether a store or another program, in any process, has the file at `path` open."""
    with _registering:
        found = path.stat()
        if (found.st_dev, found.st_ino) in _files:
            return True  # do not open and close another descriptor
        fd = os.open(path, os.O_RDONLY)
        try:
            return is_locked(fd, _PRESENT, _PRESENT_BYTES)
        finally:
            os.close(fd)


def check_replaceable(path: Path) -> None:
    """Raise `StoreError` unless `path` does not exist or is the file of a closed store."""
    if not path.exists():
        problem = None
    elif not path.is_file():
        problem = "is not a file"
    elif is_open(path):
        problem = "is open"
    else:
        with path.open("rb") as file:
            problem = None if file.read(16) == b"SQLite format 3\0" else "is not a store's file"
    if problem is None and Path(f"{path}-wal").exists():
        problem = "has a write-ahead log beside it: it is open, or was not closed properly"
    if problem:
        raise StoreError(f"{path} {problem}: write the copy to another path")


def _switched_to_log(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _header(fd: int) -> bytes:
    """Return the header of a database without opening another descriptor."""
    if hasattr(os, "pread"):
        return os.pread(fd, _HEADER_BYTES, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, _HEADER_BYTES)


def _abandon_all() -> None:
    """Leave all files to the parent process, which shares the locks of descriptors."""
    global _registering
    _registering = threading.Lock()
    for file in _live:
        file.abandon()
    for others in _files.values():
        for fd in others.parked:
            os.close(fd)
    _live.clear()
    _files.clear()


in_forked_child(_abandon_all)
