"""Checkpoint: the log of a quiet store moves into its file, so that a plain copy of the file has every entry."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from time import monotonic

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk.livefile import LiveFile

QUIET_SECONDS = 0.25  # without a write until the log is moved

_log = logging.getLogger("conduit_lab")


class IdleCheckpoint:
    """Checkpoints a file in the background, `QUIET_SECONDS` after its last write.

    A thread runs from the first write until the log is empty.
    """

    def __init__(self, file: LiveFile) -> None:
        self._path, self._key = file.path, file.key
        self._lock = threading.Lock()  # guards what follows
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._writes, self._written = 0, 0.0

    def note_write(self) -> None:
        """Checkpoint once no other write follows."""
        with self._lock:
            self._writes += 1
            self._written = monotonic()
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="conduit-lab checkpoint", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(QUIET_SECONDS):
            writes = self._writes
            if monotonic() - self._written < QUIET_SECONDS or not self._checkpoint():
                continue
            with self._lock:
                if self._writes == writes:
                    self._thread = None
                    return

    def _checkpoint(self) -> bool:
        """Move the log into the file; False where a reader or a writer is in the way."""
        try:
            with closing(LiveFile(self._path)) as file:
                if file.key != self._key:
                    return True  # the next write finds the file replaced
                busy, pages, moved = file.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if busy or pages != moved or not file.begin_write():
                    return False
                try:
                    # With nothing left to move this only cuts the log, so that it fits no other file copied here.
                    busy, *_ = file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    file.end_write()
                return not busy
        except sqlite3.Error as error:
            _log.debug("%s: no checkpoint yet: %s", self._path, error)
            return False
        except (StoreError, OSError):
            return True  # the next write says why
