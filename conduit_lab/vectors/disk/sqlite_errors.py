"""Convert errors of SQLite and the system to a `StoreError` that names the store's file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType

from conduit_lab.core.errors import StoreError
from conduit_lab.vectors.disk.record import Damaged


class Busy(StoreError):
    """Another process is writing the store."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(f"{path}: another process is writing this store: try again")


def damaged(path: Path | str, problem: str) -> StoreError:
    """Return the error for a file with wrong content."""
    return StoreError(f"{path}: the store file is damaged ({problem}): restore it from a copy")


class translate_errors:  # @contextmanager would take three times as long
    """Raise errors of SQLite and the system as `StoreError`, with the file and the next step."""

    __slots__ = ("_action", "_where")

    def __init__(self, where: Path | str, action: str) -> None:
        self._where, self._action = where, action

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        where, action = self._where, self._action
        match error:
            case FileExistsError():
                raise StoreError(
                    f"{where} exists already: choose a new path, or remove it first"
                ) from None
            case OSError():
                raise StoreError(f"{where}: cannot {action} the store: {error.strerror}") from error
            case Damaged():
                raise damaged(where, str(error)) from None
            # Raised by Python if SQLite's message contains a flipped byte.
            case UnicodeDecodeError():
                raise damaged(where, "text that is not UTF-8") from error
            case sqlite3.Error():
                raise _translated(where, action, error) from error


def _translated(where: Path | str, action: str, error: sqlite3.Error) -> StoreError:
    match getattr(error, "sqlite_errorname", "").split("_")[1:2]:
        case ["NOTADB"]:
            return StoreError(
                f"{where} is not a SQLite file, so not a vector store: choose another path"
            )
        case ["ERROR"] if action == "open":
            return StoreError(
                f"{where} is a SQLite file but not a vector store: choose another path"
            )
        case ["READONLY"] if action == "upgrade":
            return StoreError(
                f"{where} has format 1 and is read-only, so it cannot be upgraded: copy it to a "
                "writable folder, and open it there"
            )
        case ["READONLY"]:
            return StoreError(
                f"{where}: cannot {action} the store: {error}; write a copy with "
                "store.save_to(path) and open that"
            )
        case ["CORRUPT"]:
            return damaged(where, str(error))
        case ["BUSY" | "LOCKED"]:
            return Busy(where)
        case _:
            return StoreError(f"{where}: cannot {action} the store: {error}")
