"""The body of a request that asks for another protocol, for a parser that would drop it.

Java's `HttpClient` and `curl --http2` send `upgrade: h2c` with their first request. A server may
ignore that (RFC 9110, section 7.8), but httptools ends at such a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import httptools

_CHUNKED = b"transfer-encoding: chunked\r\n"


class _Connection(Protocol):
    """The connection of the request."""

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""

    def on_message_complete(self) -> None:
        """Take the end of the body."""


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request has a body, which may be empty."""
    return b"content-length" in headers or b"transfer-encoding" in headers


def body_parser(
    connection: _Connection, headers: Mapping[bytes, bytes]
) -> httptools.HttpRequestParser:
    """Return a parser for the body of a request with these headers; it ignores what follows."""
    length = headers.get(b"content-length")
    framing = _CHUNKED if length is None else b"content-length: %b\r\n" % length
    parser = httptools.HttpRequestParser(_Body(connection))
    parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
    return parser


class _Body:
    """Passes on the events of one body."""

    def __init__(self, connection: _Connection) -> None:
        self._connection: _Connection | None = connection

    def on_body(self, body: bytes) -> None:
        if self._connection is not None:
            self._connection.on_body(body)

    def on_message_complete(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.on_message_complete()
