"""Snapshot: a store as it was, read-only, for several processes at once, replaced as a whole while
they serve.

A folder holds versions, and its text file `current` names the one to open. A version is a folder,
named by the first 16 hex digits of its manifest's SHA-256:

    manifest.json    format, dimension, metric, count, and the size and SHA-256 of each other file
    vectors.npy      float32 [count, dimension], mapped into memory, so that processes share it
    codes-*.npy      what the index made of them, so that it need not again; mapped too
    entries.db       SQLite without the embeddings, opened as a file that nobody changes

A new version is written beside the others and then named in `current`. The one before stays for
whoever is about to open it; older ones are removed.
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
import numpy.typing as npt

from conduit_lab.core.errors import StoreError
from conduit_lab.core.spec import Array, FloatArray
from conduit_lab.vectors.disk.files import (
    replace_file,
    stamp,
    sync_folder,
    synced,
    temporary_beside,
)
from conduit_lab.vectors.disk.storage import Storage

if TYPE_CHECKING:
    from conduit_lab.vectors.index.index import Index

FORMAT_VERSION = 1

_VERSION = re.compile(r"[0-9a-f]{16}")
_DRAFT = re.compile(r"\.(version|current)\.[0-9a-f]{32}\.tmp")
_BLOCK = 4_096
_PATIENCE = 10.0  # seconds that a writer waits for another


def write(
    folder: Path, storage: Storage, index: Index, alive: npt.NDArray[np.bool_], ids: Sequence[str]
) -> Path:
    """Make what a store holds the current version of the snapshot in `folder`; return that
    version's folder.

    Row i of `index` is the embedding of `ids[i]` and counts where `alive[i]`; the index's codes are
    kept only where all rows do. What was current stays so unless everything is written. Raises
    `StoreError` naming the file.
    """
    with _told(folder), _alone(folder):
        before = _current(folder)
        draft = temporary_beside(folder / "version")
        draft.mkdir()
        try:
            version = _fill(draft, storage, index, alive, list(compress(ids, alive)))
            _place(draft, folder / version)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        replace_file(folder / "current", f"{version}\n".encode())
        for path in folder.iterdir():
            if _VERSION.fullmatch(path.name) and path.name not in (version, before):
                shutil.rmtree(path, ignore_errors=True)
        return folder / version


class Snapshot:
    """One version, open: `storage` without embeddings, and row i of `vectors` for the i-th entry of
    its `load()`.

    `vectors` float32 `[count, dimension]` and the arrays of `codes` are mapped: they take no memory
    of their own, and stay readable when the version is removed.
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
        """Open the current version, with this dimension and metric where they are given.

        `verify` reads every file to compare its SHA-256, about 2 GB a second; without it only sizes
        are compared. Raises `StoreError` for what is missing, damaged or of another kind.
        """
        with _told(folder):
            while True:
                version = _current(folder)
                if version is None:
                    raise StoreError(
                        f"{folder} holds no snapshot: write one there with store.snapshot(path)"
                    )
                try:
                    return cls(folder, version, dimension, metric, verify)
                except (StoreError, OSError):
                    if _current(folder) == version:  # else it was removed because newer ones came
                        raise

    def __init__(
        self, folder: Path, version: str, dimension: int | None, metric: str | None, verify: bool
    ) -> None:
        self._folder = folder
        self._version = version
        self._stamp: tuple[int, int, int] | None = None
        path = folder / version
        manifest = _manifest(path)
        for name, found, wanted in (
            ("format", manifest["format"], FORMAT_VERSION),
            ("dimension", manifest["dimension"], dimension),
            ("metric", manifest["metric"], metric),
        ):
            if wanted not in (None, found):
                raise StoreError(
                    f"{folder}: this snapshot has {name} {found}, wanted {wanted}: use another, or {found}"
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
        """Tell whether another version is current by now; microseconds, so that every search may ask."""
        found = stamp(self._folder / "current")
        if found != self._stamp and _current(self._folder) in (None, self._version):
            self._stamp = found
        return found != self._stamp

    def close(self) -> None:
        """Close the file of the entries; the arrays go when nobody has them any more."""
        self.storage.close()


def _fill(
    draft: Path, storage: Storage, index: Index, alive: npt.NDArray[np.bool_], ids: list[str]
) -> str:
    """Write all files of a version into a folder and return the name it gets."""
    # Entries and vectors belong together: in the file must be what the index was made of.
    if storage.copy_for_snapshot(draft / "entries.db") != ids or storage.changed_elsewhere():
        raise StoreError(
            f"{draft.parent}: another process changed the store meanwhile: take the snapshot again"
        )
    rows = np.flatnonzero(alive)
    with synced(draft / "vectors.npy") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), storage.dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, len(rows), _BLOCK):
            file.write(np.ascontiguousarray(index.take(rows[at : at + _BLOCK]), "<f4").data)
    for name, codes in index.codes().items() if alive.all() else ():
        with synced(draft / f"codes-{name}.npy") as file:
            np.save(file, codes, allow_pickle=False)
    manifest = {
        "format": FORMAT_VERSION,
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
    """Give a written version its name, unless it is there already, whole."""
    if version.exists():
        try:
            return _compare(version, _manifest(version)["files"], verify=True)
        except (StoreError, OSError):
            version.rename(temporary_beside(version.with_name("version")))
    draft.rename(version)
    sync_folder(version.parent)
    return None


def _current(folder: Path) -> str | None:
    """Return the name of the current version, or None where there is none."""
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
    """Raise `StoreError` where a file is not as it was written."""
    for name, wanted in files.items():
        path = version / name
        if path.stat().st_size != wanted["size"] or (verify and _sha256(path) != wanted["sha256"]):
            raise _damaged(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged: it is not what was written; take the snapshot again")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write, and remove what one that was killed has left."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        ours = _VERSION.fullmatch(path.name) or (path.name == "current" and _current(folder))
        if not ours and not path.name.startswith("."):
            raise StoreError(
                f"{folder} holds other files ({path.name}): give a snapshot a folder of its own"
            )
    # SQLite's lock works on every system and ends with its process.
    with closing(
        sqlite3.connect(folder / ".lock", timeout=_PATIENCE, isolation_level=None)
    ) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        for path in folder.iterdir():
            if _DRAFT.fullmatch(path.name):
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        yield


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Raise what the system says as a `StoreError` that names the folder."""
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
