"""The UI message stream v1 of the AI SDK: `useChat` with `DefaultChatTransport` (npm `ai`).

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.routing import Route

from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.faces.dialects.chunk_content import chunk_content, source_links
from conduit_lab.serving.faces.dialects.dialect import (
    Answered,
    ChatTurn,
    Dialect,
    read_object,
    read_text_parts,
    read_turns,
)
from conduit_lab.serving.faces.formats import SseFormat
from conduit_lab.serving.faces.language.event_lines import data_event

_OWN_FIELDS = {"id", "messages", "trigger", "messageId"}


def routes(app: EndpointHost) -> list[Route]:
    """Return the protocol's routes, below /aisdk."""
    return _DIALECT.routes(app)


def _read(value: Any) -> ChatTurn:
    body = read_object(value, "the body")
    messages = read_turns(body, _message_text)
    fields = {name: each for name, each in body.items() if name not in _OWN_FIELDS}
    return ChatTurn(messages, fields)


def _message_text(message: Mapping[str, Any], where: str) -> str:
    # other parts of earlier answers are not passed to the model
    skip = message.get("role") == "assistant"
    return read_text_parts(message.get("parts"), f"{where}.parts", skip=skip)


class UiMessageFormat:
    """The events of one answer: text, sources, files and data as parts of a message."""

    headers: Sequence[tuple[bytes, bytes]] = (
        *SseFormat.headers,
        (b"x-vercel-ai-ui-message-stream", b"v1"),
    )
    heartbeat = SseFormat.heartbeat

    def __init__(self, turn: ChatTurn, answered: Answered) -> None:
        self.prelude = data_event({"type": "start"})
        self._source_url = answered.source_url
        self._texts = 0  # text parts started so far
        self._in_text = False
        self._has_sources = False

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return the parts of chunk `number`."""
        content = chunk_content(chunk)
        parts: list[bytes] = []
        if content.sources and not self._has_sources:
            self._has_sources = True
            parts += map(data_event, self._sources(content.sources))
        if content.text:
            part = {"type": "text-delta", "id": self._text_id, "delta": content.text}
            parts += [self._text_start(), data_event(part)]
        if content.file is not None:
            file = {"type": "file", "url": content.file.url, "mediaType": content.file.type}
            parts += [self._text_end(), data_event(file)]
        if content.data is not None:
            data = data_event({"type": "data-chunk", "id": str(number), "data": content.data})
            parts += [self._text_end(), data]
        return b"".join(parts)

    def lagged(self, missed: int, resume_at: int) -> bytes:
        """Return a data part that reports the gap."""
        place = {"missed": missed, "resume_at": resume_at}
        return self._text_end() + data_event({"type": "data-lagged", "data": place})

    def error(self, kind: str, message: str) -> bytes:
        """Return an error part, without a finish marker."""
        return self._text_end() + data_event({"type": "error", "errorText": message})

    def end(self, count: int) -> bytes:
        """Return the end of the message."""
        finish = data_event({"type": "finish", "finishReason": "stop"})
        return self._text_end() + finish + b"data: [DONE]\n\n"

    @property
    def _text_id(self) -> str:
        return f"text-{self._texts if self._in_text else self._texts + 1}"

    def _text_start(self) -> bytes:
        if self._in_text:
            return b""
        self._in_text = True
        self._texts += 1
        return data_event({"type": "text-start", "id": self._text_id})

    def _text_end(self) -> bytes:
        if not self._in_text:
            return b""
        end = data_event({"type": "text-end", "id": self._text_id})
        self._in_text = False
        return end

    def _sources(self, sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return a part per source: a link if the app has a page for it, else a document."""
        parts: list[dict[str, Any]] = []
        for link in source_links(sources, self._source_url):
            about = {"sourceId": link.id, "title": link.title}
            if link.url is None:
                about |= {"type": "source-document", "mediaType": "text/plain"}
            else:
                about |= {"type": "source-url", "url": link.url}
            parts.append(about)
        return parts


_DIALECT = Dialect("/aisdk", _read, UiMessageFormat)
