"""Locks are free in a forked child, and a fork waits for locks that guard a change."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from conduit_lab.core import forking

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


class Owner:
    """Something with two locks."""

    def __init__(self, torn: str | None) -> None:
        self.torn = False
        self.plain, self.reentrant = threading.Lock(), threading.RLock()
        self.changed = 0
        forking.free_in_child(self, "plain", "reentrant", torn=torn)


def in_child(owner: Owner) -> int:
    """Fork, and return flags: 1 the locks are free, 2 the change was torn, 4 it was half made."""
    pid = os.fork()
    if pid == 0:
        free = owner.plain.acquire(timeout=5) and owner.reentrant.acquire(timeout=5)
        os._exit(free + 2 * owner.torn + 4 * (owner.changed % 2))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("name", ["plain", "reentrant"])
@pytest.mark.parametrize(("torn", "found"), [(None, 1), ("torn", 3)])
def test_a_lock_that_another_thread_never_releases_is_free_in_the_child(
    name: str, torn: str | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "MAX_FORK_WAIT_SECONDS", 0.05)
    owner, held, done = Owner(torn), threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(owner, name):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert in_child(owner) == found
    assert not getattr(owner, name).acquire(blocking=False)  # in the parent it is still held
    done.set()
    thread.join()
    assert in_child(owner) == 1


def test_a_fork_waits_for_the_end_of_a_change() -> None:
    owner, stop = Owner("torn"), threading.Event()

    def change() -> None:
        while not stop.is_set():
            with owner.plain:
                owner.changed += 1
                time.sleep(0.001)
                owner.changed += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert [in_child(owner) for _ in range(10)] == [1] * 10
    finally:
        stop.set()
        thread.join()


def test_the_thread_that_forks_may_hold_its_own_reentrant_lock() -> None:
    owner = Owner("torn")
    with owner.reentrant:
        assert in_child(owner) == 1
    assert owner.reentrant.acquire(blocking=False)
