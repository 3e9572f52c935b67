"""Connection: SQLite connections to a store's file, and the file's state."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk import lexical
from conduit_lab.vectors.disk.patience import PATIENCE_SECONDS

FileStamp = tuple[int, int, int]


def open_connection(path: Path, mode: str = "mode=rw") -> sqlite3.Connection:
    """Return a connection usable from any thread."""
    url = f"{path.as_uri()}?{mode}"
    timeout = PATIENCE_SECONDS
    connection = sqlite3.connect(url, uri=True, check_same_thread=False, timeout=timeout)
    lexical.register_fold(connection)
    return connection


def open_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Return a connection to a read-only file, and whether it was opened as immutable.

    If there is a log, another process may be writing. SQLite reads the log through the wal-index,
    which it cannot create in a read-only folder.
    """
    log, index = (Path(f"{os.path.realpath(path)}{end}") for end in ("-wal", "-shm"))
    written = log.exists() and (index.exists() or log.stat().st_size > 0)
    if written and not index.exists():
        raise StoreError(
            f"{path}: cannot open the store: its last changes are still in its write-ahead log, "
            f"{log.name}, which cannot be read in a read-only folder: copy both files to a folder "
            "of your own, and open it there"
        )
    return open_connection(path, "mode=ro" if written else "mode=ro&immutable=1"), not written


def can_write(path: Path) -> bool:
    """Return whether a file is writable and other files can be created beside it."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent))


def file_stamp(path: Path) -> FileStamp | None:
    """Return numbers that change whenever a file is written or replaced; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size
