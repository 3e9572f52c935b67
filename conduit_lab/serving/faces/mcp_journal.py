"""Journal: the recent answers of MCP sessions, for clients that lost their connection.

Since the revision 2025-11-25 the response to a POST begins with an event that has an ID and no
data. A client that loses its connection before the result, or whose connection a tool closes
(SEP-1699), sends a GET with the ID of its last event and receives the events after it.
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

_RETRY_MILLISECONDS = 1000  # until a client reconnects
MAX_JOURNAL_BYTES = 2**24  # for all sessions; the answers that stopped growing first are dropped

_ANSWER_BYTES = 1000  # of an answer without messages
_MAX_DIGITS = 9  # of the number of a message


class SessionManager(StreamableHTTPSessionManager):
    """The sessions of one server, with a shared journal of their answers."""

    def __init__(self, app: Server[Any], **options: Any) -> None:
        super().__init__(app, **options)
        self.retry_interval = _RETRY_MILLISECONDS
        self._journal = Journal()
        self._of_sessions: dict[str, SessionJournal] = {}

    def _admit_session(self, requestor: Any) -> StreamableHTTPServerTransport | None:
        # request IDs are unique only within a session, so each session needs its own store
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
    """The newest answers of all sessions of a server; used only by its event loop."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, _Answer] = (
            OrderedDict()
        )  # in the order of their last message
        self._bytes = 0

    def begin(self, session: SessionJournal) -> _Answer:
        """Create an answer without messages."""
        answer = _Answer(session)
        self._answers[answer.token] = answer
        self._grow(answer, _ANSWER_BYTES)
        return answer

    def add(self, answer: _Answer, message: JSONRPCMessage) -> None:
        """Add a message, unless the answer was dropped."""
        if answer.token in self._answers:
            answer.messages.append(message)
            answer.is_whole = _is_result(message)
            self._grow(answer, _message_bytes(message))
            answer.notify()

    def find(self, token: str, session: SessionJournal) -> _Answer | None:
        """Return an answer of this session to the current caller, or None."""
        answer = self._answers.get(token)
        if answer is None or answer.session is not session or answer.caller != current_caller():
            return None
        return answer

    def drop_session(self, session: SessionJournal) -> None:
        """Drop the answers of a session, and end the connections waiting for them."""
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
    """The event store of one session, backed by the journal.

    An event ID is the unguessable token of its answer and the number of messages up to the event.
    Streams without a priming event, such as those of older clients, are not stored: their events
    have no ID.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._growing: dict[str, _Answer] = {}  # by the ID of the request

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Store a message of an answer, or begin an answer with None; return the event ID."""
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
        """Send the messages after an event, including later ones, up to the result.

        If this returned a stream ID, the mcp package would continue the stream itself; it can lose
        a message while it switches over, and keeps the connection open after the result.
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
        """Return the event ID of a message, counted from 1."""
        return f"{self.token}:{number}"

    def notify(self) -> None:
        """Wake the waiting connections."""
        self.changed.set()
        self.changed = anyio.Event()


def _is_result(message: JSONRPCMessage) -> bool:
    return isinstance(message, JSONRPCResponse | JSONRPCError)


def _message_bytes(message: JSONRPCMessage) -> int:
    parts = (getattr(message, name, None) for name in ("params", "result", "error"))
    return sum(map(weight, parts))
