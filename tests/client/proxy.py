"""A TCP proxy between a client and one or more servers, which a test can make fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

SECONDS = 20.0


class Proxy:
    """Forwards each connection to the next of `targets`, skipping those that refuse it.

    `cut()` drops all connections now. Each number in `limits` is for one of the next connections,
    which is dropped once its server has sent that many bytes. `connections` counts them.
    """

    def __init__(self, targets: Sequence[tuple[str, int]]) -> None:
        self.targets = list(targets)
        self.limits: list[int] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = self._start(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        for each in list(self._open):
            _drop(each)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(SECONDS)
        for each in self._open:
            each.close()

    def _start(self, function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            server = self._connected(number)
            if server is None:
                client.close()
                continue
            self._open += [client, server]
            limit = self.limits.pop(0) if self.limits else None
            self._start(_forward, client, server, None)
            self._start(_forward, server, client, limit)

    def _connected(self, number: int) -> socket.socket | None:
        for step in range(len(self.targets)):
            target = self.targets[(number + step) % len(self.targets)]
            with suppress(OSError):
                return socket.create_connection(target, timeout=SECONDS)
        return None


def _forward(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    sent = 0
    with suppress(OSError):
        while data := source.recv(2**16):
            if limit is not None and sent + len(data) > limit:
                sink.sendall(data[: limit - sent])
                break
            sink.sendall(data)
            sent += len(data)
    _drop(sink)
    _drop(source)


def _drop(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
