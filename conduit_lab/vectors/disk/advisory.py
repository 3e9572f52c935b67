"""Advisory locks on single bytes, owned by a descriptor, on Linux; no-ops elsewhere.

See `livefile`.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import lru_cache

if sys.platform == "linux":
    import fcntl

    @lru_cache(maxsize=64)
    def _request(kind: int, at: int, count: int) -> bytes:
        return struct.pack("hhqqi4x", kind, os.SEEK_SET, at, count, 0)

    def lock(fd: int, kind: int, at: int) -> bool:
        """Take or release the lock on one byte; return False if another descriptor holds it."""
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(kind, at, 1))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def is_locked(fd: int, at: int, count: int) -> bool:
        """Return whether another descriptor holds a lock on any of `count` bytes."""
        try:
            found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, at, count))
        except OSError:
            return False
        kind: int = struct.unpack_from("h", found)[0]
        return kind != fcntl.F_UNLCK

    SHARED, EXCLUSIVE, FREE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
else:

    def lock(fd: int, kind: int, at: int) -> bool:
        """Return True: there are no such locks."""
        return True

    def is_locked(fd: int, at: int, count: int) -> bool:
        """Return False: there are no such locks."""
        return False

    SHARED, EXCLUSIVE, FREE = range(3)
