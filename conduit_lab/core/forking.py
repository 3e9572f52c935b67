"""Forking: release locks in a forked child, and keep the state they guard consistent.

Only the forking thread survives in the child, so a lock held by another thread would never be
released.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

MAX_FORK_WAIT_SECONDS = 5.0  # before a fork, for all locks together


class _Owned(NamedTuple):
    owner: weakref.ref[Any]
    names: tuple[str, ...]  # of the lock attributes
    torn: str | None


_numbers = count()
_owned: dict[int, _Owned] = {}
_held: dict[int, list[Any]] = {}


def free_in_child(owner: object, *names: str, torn: str | None = None) -> None:
    """Release the locks of `owner` with these names, plain or reentrant, in every forked child.

    With `torn`, a fork waits for the locks, so that no thread is in the middle of a change; after a
    timeout the attribute of that name is set to True in the child.
    """
    key = next(_numbers)
    _owned[key] = _Owned(weakref.ref(owner, lambda _: _owned.pop(key, None)), names, torn)


def in_forked_child(reset: Callable[[], object]) -> None:
    """Call `reset` in every forked child, where only the forking thread survives."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=reset)


def hold_at_fork(lock: threading.Lock) -> None:
    """Hold `lock` during every fork, so the child finds it free and its state consistent."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


def _hold() -> None:
    until = monotonic() + MAX_FORK_WAIT_SECONDS
    for key, (ref, names, torn) in _owned.copy().items():
        owner = ref()
        for name in names if owner is not None and torn is not None else ():
            lock = getattr(owner, name)
            if lock.acquire(timeout=max(0.0, until - monotonic())):
                _held.setdefault(key, []).append(lock)


def _release() -> None:
    for locks in _held.values():
        for lock in locks:
            lock.release()
    _held.clear()


def _free() -> None:
    for key, (ref, names, torn) in _owned.copy().items():
        owner = ref()
        if owner is None:
            continue
        if torn is not None and len(_held.get(key, ())) < len(names):
            setattr(owner, torn, True)
        for name in names:
            getattr(owner, name)._at_fork_reinit()  # as the standard library does for its own locks
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_free)
