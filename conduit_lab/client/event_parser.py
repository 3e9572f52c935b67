"""EventParser: an incremental parser of server-sent events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from typing import NamedTuple

from conduit_lab.core.errors import RemoteError

MAX_EVENT_BYTES = 64 * 2**20  # per event, so that an endless one cannot fill memory

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its type, its UTF-8 data, and the last ID received so far."""

    type: str
    data: bytes
    id: str


class EventParser:
    """Parses the bytes of one response; `retry` is the server's reconnection delay in seconds."""

    def __init__(self) -> None:
        self.retry: float | None = None
        self._rest = b""
        self._begun = False
        self._size = 0  # bytes of the incomplete event
        self._id = ""
        self._type = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[Event]:
        """Parse more data and return the completed events."""
        rest = self._rest + data
        if not self._begun:
            if len(rest) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(rest):
                self._rest = rest
                return []
            self._begun = True
            rest = rest.removeprefix(_BYTE_ORDER_MARK)
        # a trailing CR may be the first half of a CRLF
        ends = rest.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(rest[:-1] if ends else rest)
        self._rest += b"\r" if ends else b""
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + len(self._rest) > MAX_EVENT_BYTES:
            raise RemoteError(
                f"the stream has an event of more than {MAX_EVENT_BYTES:,} bytes: send it in parts"
            )
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        self._size += len(line)
        if name == b"data":
            self._data.append(value)
            return None
        text = value.decode("utf-8", "replace")
        if name == b"event":
            self._type = text
        elif name == b"id" and "\0" not in text:
            self._id = text
        elif name == b"retry" and text.isascii() and text.isdigit():
            self.retry = min(int(text[:9]) / 1000, 3600.0)
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._type or "message", b"\n".join(self._data), self._id)
        has_data = bool(self._data)
        self._type, self._data, self._size = "", [], 0
        return event if has_data else None
