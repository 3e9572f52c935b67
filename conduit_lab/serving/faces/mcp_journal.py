"""Journal: the answers of MCP sessions, so that a client whose connection ended gets the rest.

Since the revision 2025-11-25 the answer to a POST begins with an event that has an ID and no data.
A client whose connection ends before the result, also where a tool closes it (SEP-1699), sends a
GET with the ID of its last event and gets the events after it.
"""

from __future__ import annotations

from collections import OrderedDict
from secrets import token_hex
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import (
    EventCallback,
    EventMessage,
    EventStore,
    StreamableHTTPServerTransport,
)
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCResponse

from conduit_lab.core.caller import current_caller
from conduit_lab.core.weight import weight

_RETRY_MILLISECONDS = 1000  # until a client asks for the rest
MAX_JOURNAL_BYTES = 2**24  # of all sessions; the answers that stopped growing first are dropped

_ANSWER_BYTES = 1000  # of an answer without messages
_MAX_DIGITS = 9  # of the number of a message


class SessionManager(StreamableHTTPSessionManager):
    """The sessions of one server, whose answers are kept in one journal."""

    def __init__(self, app: Server[Any], **options: Any) -> None:
        super().__init__(app, **options)
        self.retry_interval = _RETRY_MILLISECONDS
        self._journal = Journal()
        self._of_sessions: dict[str, SessionJournal] = {}

    def _admit_session(self, requestor: Any) -> StreamableHTTPServerTransport | None:
        # requests of different sessions have the same IDs, so each session needs its own store
        transport = super()._admit_session(requestor)
        if transport is not None and transport.mcp_session_id is not None:
            own = transport._event_store = SessionJournal(self._journal)
            self._of_sessions[transport.mcp_session_id] = own
        return transport

    async def _discard_session(
        self, session_id: str, transport: StreamableHTTPServerTransport
    ) -> None:
        if (own := self._of_sessions.pop(session_id, None)) is not None:
            self._journal.drop_session(own)
        await super()._discard_session(session_id, transport)


class Journal:
    """The newest answers of all sessions of a server; used by its event loop alone."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, _Answer] = OrderedDict()  # the last one grew last
        self._bytes = 0

    def begin(self, session: SessionJournal) -> _Answer:
        """Return a new answer without messages."""
        answer = _Answer(session)
        self._answers[answer.token] = answer
        self._grow(answer, _ANSWER_BYTES)
        return answer

    def add(self, answer: _Answer, message: JSONRPCMessage) -> None:
        """Add a message; one of an answer that was dropped is not kept."""
        if answer.token in self._answers:
            answer.messages.append(message)
            answer.is_whole = _is_result(message)
            self._grow(answer, _message_bytes(message))
            answer.notify()

    def find(self, token: str, session: SessionJournal) -> _Answer | None:
        """Return an answer of the session to a call of the caller, if it is kept."""
        answer = self._answers.get(token)
        if answer is None or answer.session is not session or answer.caller != current_caller():
            return None
        return answer

    def drop_session(self, session: SessionJournal) -> None:
        """Drop the answers of a session, and end the connections that wait for them."""
        for answer in [each for each in self._answers.values() if each.session is session]:
            self._drop(answer)

    def _grow(self, answer: _Answer, size: int) -> None:
        answer.bytes += size
        self._bytes += size
        self._answers.move_to_end(answer.token)
        while self._bytes > MAX_JOURNAL_BYTES and len(self._answers) > 1:
            self._drop(next(iter(self._answers.values())))

    def _drop(self, answer: _Answer) -> None:
        del self._answers[answer.token]
        self._bytes -= answer.bytes
        answer.is_whole = True
        answer.notify()


class SessionJournal(EventStore):
    """The part of one session in a journal.

    An event's ID is the token of its answer, which nobody can guess, and the number of messages up
    to it. A stream that began without an event of its own, such as one of an older client, is not
    kept: its events have no ID.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._growing: dict[str, _Answer] = {}  # by the ID of the request

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep a message of an answer, or begin one without a message; return the event's ID."""
        if message is None:
            answer = self._growing[stream_id] = self._journal.begin(self)
            return answer.event_id(0)
        if (growing := self._growing.get(stream_id)) is None:
            return ""
        self._journal.add(growing, message)
        if _is_result(message):
            del self._growing[stream_id]
        return growing.event_id(len(growing.messages))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> None:
        """Send the messages after an event, also those to come, up to the result.

        For a stream ID the package would go on itself, but it loses a message that comes while it
        changes over, and keeps the connection open after the result. So none is returned.
        """
        token, _, digits = last_event_id.partition(":")
        answer = self._journal.find(token, self)
        if answer is None or not (digits.isascii() and digits.isdigit()):
            return
        sent = int(digits[:_MAX_DIGITS])
        while True:
            for message in answer.messages[sent:]:
                sent += 1
                await send_callback(EventMessage(message, answer.event_id(sent)))
            if len(answer.messages) > sent:
                continue
            if answer.is_whole:
                return
            await answer.changed.wait()


class _Answer:
    """The messages of the answer to one request, so far."""

    def __init__(self, session: SessionJournal) -> None:
        self.token = token_hex(16)
        self.session = session
        self.caller = current_caller()
        self.messages: list[JSONRPCMessage] = []
        self.bytes = 0
        self.is_whole = False
        self.changed = anyio.Event()

    def event_id(self, number: int) -> str:
        """Return the ID of the event of a message, counted from 1."""
        return f"{self.token}:{number}"

    def notify(self) -> None:
        """Wake the connections that wait for more."""
        self.changed.set()
        self.changed = anyio.Event()


def _is_result(message: JSONRPCMessage) -> bool:
    return isinstance(message, JSONRPCResponse | JSONRPCError)


def _message_bytes(message: JSONRPCMessage) -> int:
    parts = (getattr(message, name, None) for name in ("params", "result", "error"))
    return sum(map(weight, parts))
