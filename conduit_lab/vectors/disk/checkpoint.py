"""Checkpoint: move the write-ahead log of an idle store into its file.

A plain copy of the file then contains every entry.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing

from conduit_lab.core import forking
from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk.livefile import LiveFile

QUIET_SECONDS = 0.25  # without a write before a checkpoint

_log = logging.getLogger("conduit_lab")


class IdleCheckpoint:
    """Checkpoints a file in the background, `QUIET_SECONDS` after its last write.

    A thread runs from the first write until the log is empty.
    """

    def __init__(self, file: LiveFile) -> None:
        self._path, self._key = file.path, file.key
        self._starting = threading.Lock()
        self._torn = False
        self._working = threading.Lock()
        # Prevents a fork while a thread is in SQLite.
        forking.free_in_child(self, "_starting", "_working", torn="_torn")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._writes = 0

    def record_write(self) -> None:
        """Schedule a checkpoint for when no other write follows."""
        self._writes += (
            1  # before the check below: the thread clears itself first, then checks for writes
        )
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="conduit-lab checkpoint", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        seen = -1
        while not self._stop.wait(QUIET_SECONDS):
            before, seen = seen, self._writes
            if before != seen:
                continue
            with self._working:
                done = self._checkpoint()
            if not done:
                continue
            with self._starting:
                self._thread = None
            if self._writes != seen:
                self._start()
            return

    def _checkpoint(self) -> bool:
        """Checkpoint; return False if a reader or a writer prevents it."""
        try:
            with closing(LiveFile(self._path)) as file:
                if file.key != self._key:
                    return True  # the next write finds the file replaced
                busy, pages, moved = file.connection.execute(
                    "PRAGMA wal_checkpoint(PASSIVE)"
                ).fetchone()
                if busy or pages != moved or not file.begin_write():
                    return False
                try:
                    # With nothing left to move, this only truncates the log, so it cannot match
                    # another file copied here.
                    busy, *_ = file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    file.end_write()
                return not busy
        except sqlite3.Error as error:
            _log.debug("%s: no checkpoint yet: %s", self._path, error)
            return False
        except (StoreError, OSError):
            return True  # the next write reports it
