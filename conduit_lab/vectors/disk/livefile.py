"""Live file: a store's file while a connection has it open, held by locks of its own.

SQLite's POSIX locks belong to the process, and all of them vanish when it closes any descriptor of
the file: after a checksum, a `shutil.copy` (sqlite.org/howtocorrupt.html, 2.2). Another process
that closes the store then takes itself for the last one and removes the write-ahead log in use. The
open file description locks of Linux (fcntl(2)) belong to one descriptor, and they conflict with
POSIX locks:

    shared, one byte that SQLite locks        no process gets the exclusive lock under which the log
    is removed shared, SQLite's "dead man's switch"      no process rebuilds the wal-index (-shm)
    exclusive, `_WRITE`                       one writer at a time shared, `_NAMES` + a hash of the
    name     hard links have logs of their own, so only one of them is open

Elsewhere only names and stamps are checked. No descriptor of a file is closed here while this
process has the file open once more: that would drop the locks of the other connection.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import changes, lexical
from conduit_lab.vectors.disk.advisory import EXCLUSIVE, FREE, SHARED, is_locked, lock
from conduit_lab.vectors.disk.sqlite_errors import Busy

PATIENCE = 60.0  # seconds to wait for another process
MAX_PAUSE = 0.05

# SQLite's locking bytes (fileformat2.html, 1.5); a file of any size may have locks there, and no
# data.
_PENDING = 0x4000_0000
_PRESENT = _PENDING + 2
_PRESENT_BYTES = 510  # of SQLite's shared lock; one of them is ours
_WRITE = _PENDING + 0x400
_NAMES = _PENDING + 0x1_0000
_MAX_NAMES = 0x1_0000
_DEAD_MAN = 128  # of -shm
_HEADER = 100


class _Descriptors:
    """The descriptors of one file in this process, closed together when no store has it open any more."""

    def __init__(self) -> None:
        self.users = 0
        self.parked: list[int] = []


_registering = threading.Lock()  # guards what follows
_files: dict[tuple[int, int], _Descriptors] = {}
_live: set[LiveFile] = set()
_abandoned: list[
    sqlite3.Connection
] = []  # of the parent process: closing them would act on its locks


class LiveFile:
    """A store's file with the `connection` that has it open; raises `StoreError` where it cannot be
    opened.

    `prepare` gets a connection to a file that has no log yet, a copy, and refuses one that is no
    store. Call `attach` once the connection has read the file, and `check` before each commit.
    `last` is the last change that the owner knows to be in the file. `forked` says that a parent
    process opened it, `overwritten` that a check found other content, which the entries in memory
    no longer match.
    """

    def __init__(
        self, path: Path, prepare: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        self.path = path
        self._named = str(path), str(path.parent)
        self._real = Path(os.path.realpath(path))  # beside which SQLite has the log
        self.forked = False
        self.overwritten = False
        self.last: tuple[int, int] | None = None
        self._beside = [Path(f"{self._real}-wal"), Path(f"{self._real}-shm")]
        self._names: list[int] | None = None  # the inodes of those
        self._stamp: tuple[int, ...] | None = None
        self._id: bytes | None = None
        self._counter = 0
        self._fds: list[int] = []
        self._size = 0
        self._open()
        self._at = (
            _NAMES
            + crc32(f"{self._real.parent.stat().st_ino}/{self._real.name}".encode()) % _MAX_NAMES
        )
        try:
            if prepare is not None:
                self._use_log(prepare)
            until = Deadline(path)
            while not lock(self._fds[0], SHARED, _PRESENT):
                until.pause()
            self._take_name()
            self.connection = connect(self._real)
        except BaseException:
            self._leave()
            raise

    def attach(self) -> None:
        """Hold the log and the wal-index, which are there once the connection has read the file."""
        with suppress(FileNotFoundError):
            self._fds.append(os.open(self._beside[1], os.O_RDWR | getattr(os, "O_CLOEXEC", 0)))
            lock(self._fds[-1], SHARED, _DEAD_MAN)
        self._names = self._inodes()
        self._stamp = self._now()
        self._problem()

    # Writing

    def begin_write(self) -> bool:
        """Become the one that writes, or return False where another is."""
        return lock(self._fds[0], EXCLUSIVE, _WRITE)

    def end_write(self) -> None:
        """Let others write."""
        lock(self._fds[0], FREE, _WRITE)

    def check(self) -> None:
        """Raise `StoreError` unless the path still names this file, with the content that it had."""
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
        """Close the connection; the last one moves the log into the file and removes it. Safe to call twice."""
        if self.forked or not self._fds:
            return
        fd = self._fds[0]
        problem = (
            None if self._names is None else _OVERWRITTEN if self.overwritten else self._problem()
        )
        if problem is None:
            lock(fd, FREE, _PRESENT)
            self.connection.close()
        else:
            # SQLite would remove a log by its name, which may be that of another store by now.
            if problem != _OVERWRITTEN:
                with suppress(sqlite3.Error):
                    self.connection.rollback()
                    self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.connection.close()
            if lock(fd, EXCLUSIVE, _PRESENT):
                for path, inode, known in zip(
                    self._beside, self._inodes(), self._names or (), strict=False
                ):
                    if inode == known:
                        path.unlink(missing_ok=True)
        self._leave()

    def abandon(self) -> None:
        """Leave the file to the parent process, in a forked child."""
        self.forked = True
        if hasattr(self, "connection"):
            _abandoned.append(self.connection)
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    # The file

    def _open(self) -> None:
        while True:
            with _registering:
                fd = os.open(
                    self.path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
                )
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
        """Release all locks; close the descriptors as soon as nothing else in this process needs them open."""
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
        """Let a store that was written as one file, a copy, have a log from now on."""
        if _header(self._fds[0])[18:20] != b"\1\1":
            return
        with closing(connect(self._real)) as connection:
            prepare(connection)
            connection.execute("PRAGMA journal_mode = WAL")

    def _take_name(self) -> None:
        fd, at, end = self._fds[0], self._at, _NAMES + _MAX_NAMES
        lock(fd, SHARED, at)
        if any(
            begin < stop and is_locked(fd, begin, stop - begin)
            for begin, stop in ((_NAMES, at), (at + 1, end))
        ):
            raise StoreError(
                f"{self.path} is a hard link to a store that is open under another name: open it by that name, or "
                "write a copy with its save_to(path)"
            )

    def _now(self) -> tuple[int, ...]:
        """Return what changes whenever the file is moved, replaced, deleted or written, or a name beside it changes."""
        # Paths as text: this is done for each write.
        file, folder = os.stat(self._named[0]), os.stat(self._named[1])  # noqa: PTH116
        return file.st_ino, file.st_ctime_ns, file.st_size, folder.st_mtime_ns

    def _inodes(self) -> list[int]:
        return [path.stat().st_ino if path.exists() else 0 for path in self._beside]

    def _problem(self) -> str | None:
        """Return in words how the files differ from those that were opened, or None."""
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
                "lost its write-ahead log (-wal, -shm), removed while the store had it open: keep its entries with "
                "store.save_to(new_path), then open that"
            )
        header, size = _header(self._fds[0]), os.fstat(self._fds[0]).st_size
        counter = int.from_bytes(header[24:28], "big")
        # A file that is only checkpointed keeps its id, and has never fewer pages, nor a smaller
        # change counter.
        same = self._id in (None, header[68:72])
        if not same or header[18:20] != b"\2\2" or counter < self._counter or size < self._size:
            return _OVERWRITTEN
        self._id, self._counter, self._size = header[68:72], counter, size
        return None

    def _foreign(self) -> str | None:
        """Look for the last known change with a connection that has nothing cached."""
        if self.last is None:
            return None
        try:
            with closing(connect(self._real)) as fresh:
                found = fresh.execute(changes.STANDS, self.last).fetchone()
                found = found or fresh.execute(changes.PRUNED, self.last[:1]).fetchone()
        except sqlite3.Error:
            found = None
        return _OVERWRITTEN if found is None else None


_OVERWRITTEN = "was overwritten while the store had it open: close the store and open it again with what the file has now"


def is_open(path: Path) -> bool:
    """Return whether a store or another program has the file at `path` open, here or in another process."""
    with _registering:
        found = path.stat()
        if (found.st_dev, found.st_ino) in _files:
            return True  # and its descriptors must not be closed
        fd = os.open(path, os.O_RDONLY)
        try:
            return is_locked(fd, _PRESENT, _PRESENT_BYTES)
        finally:
            os.close(fd)


def check_replaceable(path: Path) -> None:
    """Raise `StoreError` unless a copy may be written to `path`: nothing is there, or a closed store."""
    if not path.exists():
        problem = None
    elif not path.is_file():
        problem = "is no file"
    elif is_open(path):
        problem = "is open"
    else:
        with path.open("rb") as file:
            problem = None if file.read(16) == b"SQLite format 3\0" else "is not a store's file"
    if problem is None and Path(f"{path}-wal").exists():
        problem = "has a write-ahead log beside it, so it is open, or was not closed properly"
    if problem:
        raise StoreError(f"{path} {problem}: write the copy to another path")


def connect(path: Path, mode: str = "mode=rw") -> sqlite3.Connection:
    """Return a connection that any thread may use."""
    url = f"{path.as_uri()}?{mode}"
    connection = sqlite3.connect(url, uri=True, check_same_thread=False, timeout=PATIENCE)
    lexical.register(connection)
    return connection


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Return a connection to a file that cannot be written, and whether it is read as one that
    nobody writes.

    Somebody may where there is a log. SQLite reads that with the wal-index, which it cannot make
    there.
    """
    log, index = (Path(f"{os.path.realpath(path)}{end}") for end in ("-wal", "-shm"))
    written = log.exists() and (index.exists() or log.stat().st_size > 0)
    if written and not index.exists():
        raise StoreError(
            f"{path}: cannot open the store: its last changes are still in its write-ahead log, {log.name}, which "
            "cannot be read where nothing can be written: copy both files to a folder of your own, and open it there"
        )
    return connect(path, "mode=ro" if written else "mode=ro&immutable=1"), not written


def _header(fd: int) -> bytes:
    """Return the first bytes of a database, not through a descriptor of its own, which would have to be closed."""
    if hasattr(os, "pread"):
        return os.pread(fd, _HEADER, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, _HEADER)


def _abandon_all() -> None:
    """Leave all files to the parent process: locks of descriptors are shared with it, those of SQLite are its own."""
    global _registering
    _registering = threading.Lock()
    for file in _live:
        file.abandon()
    for others in _files.values():
        for fd in others.parked:
            os.close(fd)
    _live.clear()
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


class Deadline:
    """The end of a wait for another process; `pause` raises `Busy` once it has come."""

    def __init__(self, path: Path | str, patience: float = PATIENCE) -> None:
        self._path = path
        self._until, self._pause = time.monotonic() + patience, 0.001

    def pause(self) -> None:
        """Wait a little, and longer each time."""
        if time.monotonic() >= self._until:
            raise Busy(self._path)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, MAX_PAUSE)
