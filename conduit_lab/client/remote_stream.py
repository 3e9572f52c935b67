"""The chunks of a served stream, across reconnections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Any

from conduit_lab.client.answer_errors import answer_error, event_error
from conduit_lab.client.app_connection import Connection
from conduit_lab.client.contract import Contract, RequestParts
from conduit_lab.client.event_parser import Event, EventParser
from conduit_lab.client.shown_values import shown_value
from conduit_lab.core.errors import InputError, RemoteError
from conduit_lab.core.streams.production import producing
from conduit_lab.serving import codec

if TYPE_CHECKING:
    import httpx

_FIRST_PAUSE_SECONDS = 0.2
_MAX_PAUSE_SECONDS = 2.0
_START_TRIES = 3  # of a request that was never sent


class RemoteChunks:
    """Reads one stream of an endpoint, and resumes it at the next chunk if possible.

    After a lost connection it reconnects for as long as the endpoint keeps the stream (`resume`
    seconds). Without `resume`, or before the first event, a lost connection is an error.
    """

    def __init__(self, connection: Connection, contract: Contract, message: RequestParts) -> None:
        self._connection = connection
        self._contract = contract
        self._message = message
        self._what = f"{contract.method} {contract.path}"
        self._request_id = ""
        self._last_id = ""

    async def chunks(self) -> AsyncGenerator[Any, None]:
        """Yield the chunks; raise `RemoteError` if the stream fails or is cancelled."""
        lost_at: float | None = None
        tries = 0
        while True:
            try:
                async with aclosing(self._events()) as events:
                    async for event in events:
                        lost_at, tries = None, 0
                        if event.type == "message":
                            yield shown_value(_loads(event.data))
                        elif event.type == "lagged":
                            _skip(event.data)
                        elif event.type == "error":
                            raise event_error(event.data, self._request_id, self._what)
                return
            except self._connection.lost as error:
                now = monotonic()
                lost_at = lost_at or now
                tries += 1
                if not self._may_try(error, now - lost_at, tries):
                    raise self._connection.unreachable(self._what, error) from None
            await asyncio.sleep(min(_FIRST_PAUSE_SECONDS * 2 ** (tries - 1), _MAX_PAUSE_SECONDS))

    def _may_try(self, error: Exception, seconds: float, tries: int) -> bool:
        if self._last_id:
            return self._contract.resume is not None and seconds < self._contract.resume
        return self._connection.was_never_sent(error) and tries < _START_TRIES

    async def _events(self) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection, starting after the last event read."""
        headers = {"last-event-id": self._last_id} if self._last_id else {}
        async with self._connection.stream(
            self._contract.method,
            self._message.path,
            query=self._message.query,
            body=self._message.body,
            headers=headers,
        ) as response:
            self._request_id = response.headers.get("x-request-id", "")
            if response.status_code == 204:  # all chunks have been received
                return
            await self._check(response)
            parser = EventParser()
            async for data in response.aiter_raw():
                for event in parser.feed(data):
                    self._last_id = event.id or self._last_id
                    yield event

    async def _check(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            body = await response.aread()
            raise answer_error(response.status_code, body, self._request_id, self._what)
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise RemoteError(f"{self._what} expected server-sent events, got {kind[:100]!r}")


def _loads(data: bytes) -> Any:
    try:
        return codec.loads(data)
    except InputError:
        raise RemoteError("a chunk of the stream expected JSON, got other text") from None


def _skip(data: bytes) -> None:
    """Skip dropped chunks in the stream's log, so its readers get one `StreamLagged`."""
    facts = _loads(data)
    resume_at = facts.get("resume_at") if isinstance(facts, dict) else None
    stream = producing()
    if isinstance(resume_at, int) and stream is not None and resume_at > stream.count:
        stream._log.skip(resume_at)
