"""Connections: a connection pool for one PostgreSQL server that replaces dropped connections."""

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

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 120
NETWORK_TIMEOUT_SECONDS = 60  # for sent data to be acknowledged

_URL = re.compile(
    r"(postgres(?:ql)?://[^/?#@]*(?:@[^/?#@]*)?)(?:/([^/?#]*))?(?:/([^?#]*))?(\?[^#]*)?"
)

_Result = TypeVar("_Result")


class Connections:
    """Connections to a libpq URL; missing parts come from `PGPASSWORD`, `~/.pgpass` and so on.

    `parameters` are set in each session. `table` is the part of the URL after the database, or "".
    `name` is the display name without the password, used in all errors. Thread-safe: each thread
    uses its own connection. Raises `MissingExtra` without psycopg, and `StoreError` for an invalid
    URL.
    """

    def __init__(self, url: str, parameters: Mapping[str, Any]) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("psycopg", "remote", "a store in PostgreSQL") from None
        self._error = psycopg.Error
        self._settings, self.table = _read(url)
        self.name = _name(self._settings)
        self._parameters = {"statement_timeout": STATEMENT_TIMEOUT_SECONDS * 1_000, **parameters}
        self.closed = False
        self._idle: list[Connection[Any]] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        forking.free_in_child(self, "_lock")
        # A store dropped without close(), as when a notebook cell runs twice, must not leak
        # connections.
        self._close = weakref.finalize(self, _close, self._idle)

    def run(self, work: Callable[[Connection[Any]], _Result]) -> _Result:
        """Return the result of `work` with a connection; retry if the server had dropped it.

        `work` may therefore run twice and must be idempotent. Raises `StoreError` for server
        errors.
        """
        while True:
            connection, fresh = self._take()
            try:
                with self.translated():
                    answer = work(connection)
            except BaseException:
                again = connection.broken and not fresh
                connection.close()  # an interrupt may have left it in any state
                if not again:
                    raise
            else:
                self._give_back(connection)
                return answer

    @contextmanager
    def translated(self, advice: str = "") -> Iterator[None]:
        """Raise server and network errors as `StoreError` with the name and the next step."""
        try:
            yield
        except self._error as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(
                f"{self.name}: {reason}" + (f": {advice}" if advice else "")
            ) from error

    def close(self) -> None:
        """Close the connections; idempotent."""
        with self._lock:
            self.closed = True
            self._close()

    def _take(self) -> tuple[Connection[Any], bool]:
        """Return a connection, and whether it is new."""
        with self._lock:
            if self.closed:
                raise StoreError(f"{self.name}: the store is closed: connect again")
            if self._process != os.getpid():
                self._process = os.getpid()
                self._idle.clear()  # a forked child must not use its parent's connections
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

        with self.translated("is the server running, and are host, port, user and password right?"):
            # Prepared statements fail behind a connection pooler.
            connection = psycopg.connect(**self._settings, autocommit=True, prepare_threshold=None)
            try:
                for name, value in self._parameters.items():
                    connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
            except BaseException:
                connection.close()
                raise
            return connection


def _read(url: str) -> tuple[dict[str, Any], str]:
    """Return the connection settings, and the table of `postgresql://host/database/table`."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        server, database, table, query = (part or "" for part in _match(url))
        given = conninfo_to_dict(f"{server}/{database}{query}")
    except (ProgrammingError, ValueError):
        # libpq's message quotes the invalid URL, which may contain part of the password anywhere.
        raise StoreError(
            "the PostgreSQL URL is invalid: write "
            "postgresql://user:password@host:5432/database/table, with special characters of the "
            "password percent-encoded"
        ) from None
    bounds = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": 30,
        "tcp_user_timeout": NETWORK_TIMEOUT_SECONDS * 1_000,
    }
    return {**bounds, **given}, unquote(table)


def _match(url: str) -> tuple[str | None, ...]:
    """Return server, database, table and query; raise `ValueError` if a password splits them."""
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
