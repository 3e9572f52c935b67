"""AG-UI 1.0: the events of an agent run, for front ends (npm `@ag-ui/client`).

https://docs.ag-ui.com/concepts/events
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from starlette.routing import Route

from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.dialects.chunk_content import chunk_content, source_links
from conduit_lab.serving.faces.dialects.dialect import (
    Answered,
    ChatTurn,
    Dialect,
    read_ids,
    read_object,
    read_text_parts,
    read_turns,
)
from conduit_lab.serving.faces.formats import SseFormat
from conduit_lab.serving.faces.language.event_lines import data_event


def routes(app: EndpointHost) -> list[Route]:
    """Return the protocol's routes, below /agui."""
    return _DIALECT.routes(app)


def _read(value: Any) -> ChatTurn:
    body = read_object(value, "the body")
    fields = dict(read_object(body.get("forwardedProps") or {}, "forwardedProps"))
    if "state" in body:
        fields["state"] = body["state"]
    return ChatTurn(read_turns(body, _message_text), fields, read_ids(body, ("threadId", "runId")))


def _message_text(message: Mapping[str, Any], where: str) -> str:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    return read_text_parts(content, f"{where}.content", skip=False)


class RunFormat:
    """The events of one run, which has one step, named after its endpoint, and one message."""

    headers: Sequence[tuple[bytes, bytes]] = SseFormat.headers
    heartbeat = SseFormat.heartbeat

    def __init__(self, turn: ChatTurn, answered: Answered) -> None:
        self._run = {each: turn.ids.get(each) or token_hex(8) for each in ("threadId", "runId")}
        self._step = {"stepName": answered.name}
        self.prelude = self._event("RUN_STARTED", self._run) + self._event(
            "STEP_STARTED", self._step
        )
        self._source_url = answered.source_url
        self._message: dict[str, str] | None = None  # the open message
        self._has_sources = False

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return the events of chunk `number`."""
        content = chunk_content(chunk)
        events: list[bytes] = []
        if content.sources and not self._has_sources:
            self._has_sources = True
            links = source_links(content.sources, self._source_url)
            state = {"sources": [each._asdict() for each in links]}
            events.append(self._event("STATE_SNAPSHOT", {"snapshot": state}))
        if content.text:
            if self._message is None:
                self._message = {"messageId": token_hex(8)}
                begun = self._message | {"role": "assistant"}
                events.append(self._event("TEXT_MESSAGE_START", begun))
            delta = self._message | {"delta": content.text}
            events.append(self._event("TEXT_MESSAGE_CONTENT", delta))
        value = content.data
        if content.file is not None:
            value = {"type": content.file.type, "base64": content.file.base64}
        if value is not None:
            events.append(self._event("CUSTOM", {"name": "chunk", "value": value}))
        return b"".join(events)

    def lagged(self, missed: int, resume_at: int) -> bytes:
        """Return a custom event that reports the gap."""
        place = {"missed": missed, "resume_at": resume_at}
        return self._event("CUSTOM", {"name": "lagged", "value": place})

    def error(self, kind: str, message: str) -> bytes:
        """Return the last events of a failed run."""
        return self._message_end() + self._event("RUN_ERROR", {"message": message, "code": kind})

    def end(self, count: int) -> bytes:
        """Return the end of the message, the step and the run."""
        step = self._event("STEP_FINISHED", self._step)
        return self._message_end() + step + self._event("RUN_FINISHED", self._run)

    def _message_end(self) -> bytes:
        return b"" if self._message is None else self._event("TEXT_MESSAGE_END", self._message)

    def _event(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        return data_event({"type": kind, **fields})


_DIALECT = Dialect("/agui", _read, RunFormat)
