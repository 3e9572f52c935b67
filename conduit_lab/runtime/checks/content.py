"""Content: the SHA-256 of files, remembered for as long as their stat proves them unchanged."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from conduit_lab.core.errors import ModelLoadError
from conduit_lab.core.paths import display

Identity = tuple[str, int, int, int]

SETTLED_NS = 2_000_000_000  # FAT's clock tick; two writes within one tick look alike
MAX_KNOWN = 1024  # files
TRIES = 3  # of reading a file that changes meanwhile

# No lock, which a forked child could inherit while it is held: each operation on a dict is atomic
_known: dict[Path, tuple[Identity, bytes]] = {}


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the files' contents; raises what `file_digest` raises."""
    return combined(map(file_digest, files))


def combined(digests: Iterable[bytes]) -> str:
    """Return the digest of several files from those of each."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def file_digest(path: Path) -> bytes:
    """Return the SHA-256 of one file, which is hashed once for each state that it was in.

    A file that changed less than two seconds before it was hashed is hashed again the next time.
    Raises `OSError` for a file that cannot be read, `ModelLoadError` for one that keeps changing.
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
        if max(before[2:]) < begin - SETTLED_NS:
            if len(_known) >= MAX_KNOWN:
                _known.pop(next(iter(_known)), None)
            _known[path] = before, value
        return value
    raise ModelLoadError(
        f"{display(path)} changes while it is read: load it again once it is written"
    )


def proves(path: Path, state: Identity, value: bytes) -> bool:
    """Whether the file is still in `state`, and `value` is its remembered digest there."""
    return _known.get(path) == (state, value) and identity(path) == state


def identity(path: Path) -> Identity:
    """Return what changes when a file does: its device and inode, its size and its times."""
    stat = path.stat()
    return f"{stat.st_dev}:{stat.st_ino}", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
