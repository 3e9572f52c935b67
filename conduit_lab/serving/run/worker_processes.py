"""Worker processes: several processes that share a port and drain independently."""

from __future__ import annotations

import logging
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
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

from conduit_lab.serving.app import App

WORKER_APP = f"{__name__}:worker_app"  # uvicorn's import string of a factory

REPLACE_SECONDS = 5.0  # before a worker that failed to start is replaced again

_log = logging.getLogger("conduit_lab")
_STOPS = (signal.SIGINT, signal.SIGTERM)


def worker_app() -> App:
    """Return the folder's app in a worker process; stop the worker when its parent dies.

    A killed parent cannot stop its workers, which would keep the port.
    """
    threading.Thread(target=_stop_after_parent, name="parent watch", daemon=True).start()
    app: App = import_module("app").app
    return app


def _stop_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()  # returns when the parent's end of a pipe closes
        os.kill(os.getpid(), signal.SIGTERM)


class Workers(Multiprocess):
    """uvicorn's process manager, with stop signals forwarded to workers at once.

    uvicorn polls for signals every 0.5 s, and not at all while it waits for a busy worker. A worker
    that exits before it is ready stops all if none has been ready yet; `failed` is then true.
    Otherwise it is replaced after a pause, while the others continue: uvicorn would stop them, or
    replace it without a pause.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._event = _Event()
        self.should_exit = self._event  # type: ignore[assignment]
        self._stopped: set[int | None] = set()  # the processes already signalled
        self._ready: set[int | None] = set()  # the processes that have been ready
        self.failed = False
        for each in SIGNALS:
            signal.signal(each, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number not in _STOPS:
            self.signal_queue.append(number)
            self._event.wake()
            return
        for process in self.processes:
            self._stopped.add(process.pid)
            with suppress(ProcessLookupError, TypeError):  # exited, or not started
                os.kill(process.pid, signal.SIGTERM)  # type: ignore[arg-type]
        self._event.set()

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that exited, or do not respond."""
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            worker.child_conn.close()  # the worker has its own: its exit then ends a wait for it
            if worker.is_alive(self.config.timeout_worker_healthcheck):
                if worker.pid not in self._ready and worker.is_ready():
                    self._ready.add(worker.pid)
            elif not self.should_exit.is_set():
                self._replace(place, worker)

    def _replace(self, place: int, worker: Process) -> None:
        worker.kill()  # it may be unresponsive
        worker.join()
        if not self._ready:
            _log.error("worker %s failed to start: the log above has the reason", worker.pid)
            self.failed = True
            self._event.set()
            return
        _log.error("worker %s exited with status %s: replaced", worker.pid, worker.exitcode)
        if worker.pid not in self._ready and self.should_exit.wait(REPLACE_SECONDS):
            return
        self.processes[place] = replacement = Process(self.config, self.sockets)
        replacement.start()

    def terminate_all(self) -> None:
        """Stop the workers not yet signalled; a second signal would end their pre-stop time."""
        for process in self.processes:
            if process.pid not in self._stopped:
                process.terminate()


class _Event:
    """An event that a signal handler can set safely, unlike `threading.Event`.

    The handler runs in the waiting thread, which may hold the lock of a `threading.Event`.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._calls: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        """End the current `wait`, or the next one."""
        self._calls.put(None)

    def set(self) -> None:
        """End the current `wait` and every later one."""
        self._is_set = True
        self.wake()

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self._is_set

    def wait(self, timeout: Any = None) -> bool:
        """Wait at most `timeout` seconds for `set` or `wake`; return whether the event is set."""
        if not self._is_set:
            with suppress(Empty):
                self._calls.get(timeout=timeout)
        return self._is_set
