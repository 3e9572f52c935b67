"""Snapshot: a read-only copy of a store for several processes, replaced while they serve.

A folder holds versions, and its text file `current` names the one to open. A version is a folder,
named by the first 16 hex digits of its manifest's SHA-256:

    manifest.json    format, dimension, metric, count, and the size and SHA-256 of each other file
    vectors.npy   float32 [count, dimension], memory-mapped, so processes share it
    codes-*.npy      the index's codes, so that it need not rebuild them; mapped too
    entries.db       SQLite without the embeddings, opened as immutable

A new version is written beside the others and then named in `current`. The previous version stays
for readers that are about to open it; older versions are removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from conduit_lab.core.errors import StoreError
from conduit_lab.core.files import sync_folder, synced, temporary_beside, write_atomic
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.arrays import BoolArray
from conduit_lab.vectors.disk.connection import FileStamp, file_stamp
from conduit_lab.vectors.disk.storage import Storage

if TYPE_CHECKING:
    from conduit_lab.vectors.index.index import Index

_FORMAT = 1

_VERSION = re.compile(r"[0-9a-f]{16}")
_DRAFT = re.compile(r"\.(version|current)\.[0-9a-f]{32}\.tmp")
_BLOCK_ROWS = 4_096
_PATIENCE_SECONDS = 10.0  # that one writer waits for another


def write_snapshot(
    folder: Path, storage: Storage, index: Index, live: BoolArray, ids: Sequence[str]
) -> Path:
    """Write the entries of a store as the current version in `folder`; return its folder.

    Row i of `index` is the embedding of `ids[i]`, deleted unless `live[i]`; the index's codes are
    stored only if all rows are live. On failure the current version stays. Raises `StoreError`
    naming the file.
    """
    with _translated_errors(folder), _alone(folder):
        before = _current(folder)
        draft = temporary_beside(folder / "version")
        draft.mkdir()
        try:
            version = _fill(draft, storage, index, live, list(compress(ids, live)))
            _place(draft, folder / version)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        write_atomic(folder / "current", f"{version}\n")
        for path in folder.iterdir():
            if _VERSION.fullmatch(path.name) and path.name not in (version, before):
                shutil.rmtree(path, ignore_errors=True)
        return folder / version


class Snapshot:
    """One open version; row i of `vectors` is the embedding of the i-th entry in `storage.load()`.

    `vectors` float32 `[count, dimension]` and the arrays of `codes` are memory-mapped: they take no
    private memory and stay readable after the version is removed.
    """

    storage: Storage
    vectors: FloatArray
    codes: dict[str, Array]
    dimension: int
    metric: str

    @classmethod
    def open(
        cls,
        folder: Path,
        dimension: int | None = None,
        metric: str | None = None,
        *,
        verify: bool = True,
    ) -> Self:
        """Open the current version; check its dimension and metric if they are given.

        `verify` compares the SHA-256 of every file, at about 2 GB per second, instead of only
        sizes. Raises `StoreError` for a missing or damaged file and another dimension or metric.
        """
        with _translated_errors(folder):
            while True:
                version = _current(folder)
                if version is None:
                    raise StoreError(
                        f"{folder} holds no snapshot: write one there with store.snapshot(path)"
                    )
                try:
                    return cls(folder, version, dimension, metric, verify)
                except (StoreError, OSError):
                    if _current(folder) == version:  # otherwise it was removed after a newer one
                        raise

    def __init__(
        self, folder: Path, version: str, dimension: int | None, metric: str | None, verify: bool
    ) -> None:
        self._folder = folder
        self._version = version
        self._stamp: FileStamp | None = None
        path = folder / version
        manifest = _manifest(path)
        for name, found, expected in (
            ("format", manifest["format"], _FORMAT),
            ("dimension", manifest["dimension"], dimension),
            ("metric", manifest["metric"], metric),
        ):
            if expected not in (None, found):
                raise StoreError(
                    f"{folder}: expected a snapshot with {name} {expected}, got {found}: "
                    f"open another, or pass {name}={found!r}"
                )
        _compare(path, manifest["files"], verify)
        self.dimension, self.metric = manifest["dimension"], manifest["metric"]
        self.vectors = np.load(path / "vectors.npy", mmap_mode="r")
        self.codes = {
            file.name[len("codes-") : -len(".npy")]: np.load(file, mmap_mode="r")
            for file in path.glob("codes-*.npy")
        }
        self.storage = Storage(path / "entries.db", self.dimension, self.metric, read_only=True)

    def replaced(self) -> bool:
        """Return whether another version is current; takes microseconds."""
        found = file_stamp(self._folder / "current")
        if found != self._stamp and _current(self._folder) in (None, self._version):
            self._stamp = found
        return found != self._stamp

    def close(self) -> None:
        """Close the entries' file and drop the arrays, unmapped with their last reference."""
        self.storage.close()
        self.vectors = np.empty((0, self.dimension), np.float32)
        self.codes = {}


def _fill(draft: Path, storage: Storage, index: Index, live: BoolArray, ids: list[str]) -> str:
    """Write all files of a version to a folder; return the version's name."""
    # Entries and vectors must match: check the file against the index.
    if storage.copy_for_snapshot(draft / "entries.db") != ids:
        raise StoreError(
            f"{draft.parent}: another process changed the store meanwhile: take the snapshot again"
        )
    rows = np.flatnonzero(live)
    with synced(draft / "vectors.npy") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), storage.dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, len(rows), _BLOCK_ROWS):
            file.write(np.ascontiguousarray(index.take(rows[at : at + _BLOCK_ROWS]), "<f4").data)
    for name, codes in index.codes().items() if live.all() else ():
        with synced(draft / f"codes-{name}.npy") as file:
            np.save(file, codes, allow_pickle=False)
    manifest = {
        "format": _FORMAT,
        "dimension": storage.dimension,
        "metric": storage.metric,
        "count": len(rows),
        "files": {
            path.name: {"size": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(draft.iterdir())
        },
    }
    content = json.dumps(manifest, indent=2).encode()
    with synced(draft / "manifest.json") as file:
        file.write(content)
    sync_folder(draft)
    return hashlib.sha256(content).hexdigest()[:16]


def _place(draft: Path, version: Path) -> None:
    """Move a written version to its name, unless an intact one is there."""
    if version.exists():
        try:
            return _compare(version, _manifest(version)["files"], verify=True)
        except (StoreError, OSError):
            version.rename(temporary_beside(version.with_name("version")))
    draft.rename(version)
    sync_folder(version.parent)
    return None


def _current(folder: Path) -> str | None:
    """Return the name of the current version, or None."""
    try:
        name = (folder / "current").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return name if _VERSION.fullmatch(name) else None


def _manifest(version: Path) -> dict[str, Any]:
    content = (version / "manifest.json").read_bytes()
    if hashlib.sha256(content).hexdigest()[:16] != version.name:
        raise _damaged(version / "manifest.json")
    manifest: dict[str, Any] = json.loads(content)
    return manifest


def _compare(version: Path, files: dict[str, dict[str, Any]], verify: bool) -> None:
    """Raise `StoreError` for a file that differs from the written file."""
    for name, expected in files.items():
        path = version / name
        same = path.stat().st_size == expected["size"]
        if not same or (verify and _sha256(path) != expected["sha256"]):
            raise _damaged(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged: take the snapshot again")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Admit one writing process at a time, and remove the drafts of killed processes."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        ours = _VERSION.fullmatch(path.name) or (path.name == "current" and _current(folder))
        if not ours and not path.name.startswith("."):
            raise StoreError(
                f"{folder} holds other files ({path.name}): give a snapshot a folder of its own"
            )
    # SQLite's lock works on every system and is released when its process ends.
    lock_file = folder / ".lock"
    with closing(
        sqlite3.connect(lock_file, timeout=_PATIENCE_SECONDS, isolation_level=None)
    ) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        for path in folder.iterdir():
            if _DRAFT.fullmatch(path.name):
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        yield


@contextmanager
def _translated_errors(folder: Path) -> Iterator[None]:
    """Raise errors of the system and SQLite as `StoreError` naming the folder."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder}: {error.strerror or error} (a snapshot's file)"
        ) from error
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise StoreError(
                f"{folder}: another process is writing this snapshot: try again"
            ) from error
        raise StoreError(f"{folder}: cannot write the snapshot: {error}") from error
