"""Raw HTTP over a socket: requests that no client library would send."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any, Protocol

import uvicorn

from conduit_lab import App

SECONDS = 20.0  # until a wait fails
HOST = b"host: localhost\r\n"
JSON = b"content-type: application/json\r\n"


class HasPort(Protocol):
    """A server on the loopback address."""

    port: int


@dataclass
class Answer:
    """One whole answer; status 0 where the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error of the answer."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


def connect(server: HasPort) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), SECONDS)


def request(
    target: str = "/echo",
    body: bytes = b"",
    headers: bytes = HOST + JSON,
    method: str = "POST",
    length: int | None = None,
) -> bytes:
    """Return the bytes of a request; `length` is what it declares, that of the body by default."""
    declared = b"content-length: %d\r\n" % (len(body) if length is None else length)
    return f"{method} {target} HTTP/1.1\r\n".encode() + headers + declared + b"\r\n" + body


def ask(server: HasPort, data: bytes | Iterable[bytes]) -> Answer:
    """Send raw bytes, as far as the server takes them, and return its answer."""
    with connect(server) as client:
        with suppress(OSError):  # the server may answer and close before all is sent
            for part in [data] if isinstance(data, bytes) else data:
                client.sendall(part)
        return read_answer(client, has_body=not isinstance(data, bytes) or data[:4] != b"HEAD")


def read_answer(client: socket.socket, *, has_body: bool = True) -> Answer:
    """Read one answer with a content-length, or an empty one."""
    lines: list[bytes] = []
    with client.makefile("rb") as stream:
        try:
            while line := stream.readline().strip():
                lines.append(line)
        except ConnectionError:
            lines = []
        if not lines:
            return Answer(0, {}, b"")
        pairs = [line.decode("latin-1").partition(":") for line in lines[1:]]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = stream.read(int(headers.get("content-length", 0)) if has_body else 0)
    return Answer(int(lines[0].split()[1]), headers, body)


def is_well(server: HasPort, key: bytes = b"") -> bool:
    """Return whether the server is healthy, and answers the next good request rightly."""
    health = ask(server, request("/healthz", method="GET"))
    echo = ask(server, request(body=b'{"n": 1}', headers=HOST + JSON + key))
    return (health.status, echo.status, echo.body) == (200, 200, b'{"n":1}')


@contextmanager
def plain_uvicorn(app: App, implementation: str = "auto") -> Iterator[Any]:
    """Run the app under uvicorn's own protocol class, as `uvicorn app:app` does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="on", http=implementation, log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            ends = monotonic() + SECONDS
            while not server.started:
                assert monotonic() < ends
                sleep(0.01)
            yield SimpleNamespace(port=listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(SECONDS)
