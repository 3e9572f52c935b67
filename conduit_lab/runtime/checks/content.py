"""Content: the SHA-256 of files, cached while their stat results are unchanged."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display

FileIdentity = tuple[str, int, int, int]  # device and inode, size, mtime and ctime in ns

TRIES = 3  # attempts to read a file that changes during the read

# FAT's timestamp resolution: closer writes look the same; 0 if no other process writes
stat_settled_ns = 2_000_000_000

_MAX_DIGESTS = 1024

# Not guarded by a lock, which a forked child could inherit locked: dict operations are atomic
_known: dict[Path, tuple[FileIdentity, bytes]] = {}


def files_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the files' contents; raises as `file_digest` does."""
    return combined_digest(map(file_digest, files))


def combined_digest(digests: Iterable[bytes]) -> str:
    """Combine the digests of several files into one."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def file_digest(path: Path) -> bytes:
    """Return the SHA-256 of one file, hashed once per `FileIdentity`.

    A file changed less than two seconds before hashing is hashed again the next time. Raises
    `OSError` for an unreadable file, `ModelLoadError` for one that keeps changing.
    """
    for _ in range(TRIES):
        before = identity(path)
        known = _known.get(path)
        if known is not None and known[0] == before:
            return known[1]
        begin = time.time_ns()
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").digest()
        if identity(path) != before:
            continue
        if max(before[2:]) < begin - stat_settled_ns:
            if len(_known) >= _MAX_DIGESTS:
                _known.pop(next(iter(_known)), None)
            _known[path] = before, value
        return value
    raise ModelLoadError(
        f"{display(path)} changes during the read: load it again once it is written"
    )


def is_cached(path: Path, state: FileIdentity, value: bytes) -> bool:
    """Return whether the file is still in `state` and `value` is its cached digest."""
    return _known.get(path) == (state, value) and identity(path) == state


def identity(path: Path) -> FileIdentity:
    """Return the stat fields that change when a file does."""
    stat = path.stat()
    return f"{stat.st_dev}:{stat.st_ino}", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
