"""Connections: to one PostgreSQL server, used again, made anew where the server dropped them."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from conduit_lab.core import forking
from conduit_lab.core.errors import MissingExtra, StoreError

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_TIMEOUT = 10  # seconds
STATEMENT_TIMEOUT = 120
NETWORK_TIMEOUT = 60  # until what was sent must have arrived

_URL = re.compile(
    r"(postgres(?:ql)?://[^/?#@]*(?:@[^/?#@]*)?)(?:/([^/?#]*))?(?:/([^?#]*))?(\?[^#]*)?"
)

Answer = TypeVar("Answer")


class Connections:
    """What a libpq URL leads to; what it leaves out comes from the environment (`PGPASSWORD`,
    `~/.pgpass`).

    `parameters` are set in each session. `table` is what stands in the URL after the database, or
    "". `name` is for people: the password is in it as little as in any error. Safe to use from
    several threads, each with a connection of its own while it works. Raises `MissingExtra` without
    psycopg, and `StoreError` for a URL that cannot be read.
    """

    def __init__(self, url: str, parameters: Mapping[str, Any]) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "remote", "a store in PostgreSQL") from None
        self._error = psycopg.Error
        self._settings, self.table = _read(url)
        self.name = _name(self._settings)
        self._parameters = {"statement_timeout": STATEMENT_TIMEOUT * 1_000, **parameters}
        self.closed = False
        self._idle: list[Connection[Any]] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        forking.free_in_child(self, "_lock")
        # A store that is dropped without close(), as when a notebook cell runs twice, must not leak
        # connections.
        self._close = weakref.finalize(self, _close, self._idle)

    def run(self, work: Callable[[Connection[Any]], Answer]) -> Answer:
        """Return what `work` does with a connection; again with another where the server had
        dropped this one.

        So `work` may run twice, and must leave the same rows then. Raises `StoreError` for what the
        server says.
        """
        while True:
            connection, fresh = self._take()
            try:
                with self.told():
                    answer = work(connection)
            except BaseException:
                again = connection.broken and not fresh
                connection.close()  # an interrupt may have left it in the middle of anything
                if not again:
                    raise
            else:
                self._give_back(connection)
                return answer

    @contextmanager
    def told(self, advice: str = "") -> Iterator[None]:
        """Raise what the server or the network says as a `StoreError` that names the server and the next step."""
        try:
            yield
        except self._error as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(
                f"{self.name}: {reason}" + (f": {advice}" if advice else "")
            ) from error

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        with self._lock:
            self.closed = True
            self._close()

    def _take(self) -> tuple[Connection[Any], bool]:
        """Return a connection for one piece of work, and whether it is new."""
        with self._lock:
            if self.closed:
                raise StoreError(f"{self.name}: the store is closed: connect again")
            if self._process != os.getpid():
                self._process = os.getpid()
                self._idle.clear()  # a forked child must not talk over its parent's connections
            if self._idle:
                return self._idle.pop(), False
        return self._connect(), True

    def _give_back(self, connection: Connection[Any]) -> None:
        with self._lock:
            if not self.closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> Connection[Any]:
        import psycopg

        with self.told("is the server running, and are host, port, user and password right?"):
            # Prepared statements would not survive a pooler between here and the server.
            connection = psycopg.connect(**self._settings, autocommit=True, prepare_threshold=None)
            try:
                for name, value in self._parameters.items():
                    connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
            except BaseException:
                connection.close()
                raise
            return connection


def _read(url: str) -> tuple[dict[str, Any], str]:
    """Return the settings of a connection, and the table of `postgresql://host/database/table`."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        server, database, table, query = (part or "" for part in _match(url))
        given = conninfo_to_dict(f"{server}/{database}{query}")
    except (ProgrammingError, ValueError):
        # Whatever is wrong, a part of the password may stand anywhere in the URL, and libpq's
        # message quotes it.
        raise StoreError(
            "the PostgreSQL URL cannot be read: write postgresql://user:password@host:5432/database/table, "
            "with special characters of the password percent-encoded"
        ) from None
    bounds = {
        "connect_timeout": CONNECT_TIMEOUT,
        "keepalives_idle": 30,
        "tcp_user_timeout": NETWORK_TIMEOUT * 1_000,
    }
    return {**bounds, **given}, unquote(table)


def _match(url: str) -> tuple[str | None, ...]:
    """Return server, database, table and query; raise `ValueError` where a password has torn the URL apart."""
    match = _URL.fullmatch(url)
    if match is None or "@" in url[match.end(1) :]:
        raise ValueError
    return match.groups()


def _name(settings: Mapping[str, Any]) -> str:
    user, host, port = (str(settings.get(key, "")) for key in ("user", "host", "port"))
    place = (f"{user}@" if user else "") + (host or "localhost") + (f":{port}" if port else "")
    return f"postgresql://{place}/{settings.get('dbname', '')}"


def _close(connections: list[Connection[Any]]) -> None:
    while connections:
        connections.pop().close()
