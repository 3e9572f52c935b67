"""Worker processes: an app in several processes that share a port, each with its own drain."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from importlib import import_module
from multiprocessing import parent_process
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from uvicorn import Config
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess

from conduit_lab.serving.app import App

WORKER_APP = f"{__name__}:worker_app"  # as uvicorn imports it, a factory

_STOPS = (signal.SIGINT, signal.SIGTERM)


def worker_app() -> App:
    """Return the folder's app, in a worker process that stops when its parent has ended.

    A parent that is killed cannot stop its workers: they would keep the port.
    """
    threading.Thread(target=_stop_after_parent, name="parent watch", daemon=True).start()
    app: App = import_module("app").app
    return app


def _stop_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()  # waits for the end of a pipe that the parent holds
        os.kill(os.getpid(), signal.SIGTERM)


class Workers(Multiprocess):
    """uvicorn's worker processes, which get a stop signal as soon as it arrives.

    uvicorn itself looks for signals every 0.5 s, and not while it waits for a busy worker.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._event = _Event()
        self.should_exit = self._event  # type: ignore[assignment]
        self._stopped: set[int | None] = set()  # the processes that have the signal
        for each in SIGNALS:
            signal.signal(each, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number not in _STOPS:
            self.signal_queue.append(number)
            self._event.wake()
            return
        for process in self.processes:
            self._stopped.add(process.pid)
            with suppress(ProcessLookupError, TypeError):  # ended, or not begun
                os.kill(process.pid, signal.SIGTERM)  # type: ignore[arg-type]
        self._event.set()

    def terminate_all(self) -> None:
        """Stop the workers that have no signal yet; a second one would end their pre-stop time."""
        for process in self.processes:
            if process.pid not in self._stopped:
                process.terminate()


class _Event:
    """An event that a signal handler may set, which `threading.Event` forbids.

    The handler runs in the thread that waits, which may hold the lock of such an event just then.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._calls: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        """End a `wait` that runs, or the next one."""
        self._calls.put(None)

    def set(self) -> None:
        """End every `wait` from now on."""
        self._is_set = True
        self.wake()

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self._is_set

    def wait(self, timeout: Any = None) -> bool:
        """Wait until it is set or woken, at most `timeout` seconds; return whether it is set."""
        if not self._is_set:
            with suppress(Empty):
                self._calls.get(timeout=timeout)
        return self._is_set
