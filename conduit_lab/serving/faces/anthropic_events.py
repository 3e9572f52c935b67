"""The events of a message in Anthropic's API, and the message they add up to."""

from __future__ import annotations

import json
from typing import Any

from conduit_lab.serving.faces.language.answer_parts import AnswerPart, UrlCitation
from conduit_lab.serving.faces.language.event_lines import EventLines, named_event
from conduit_lab.serving.faces.language.running_answer import RunningAnswer
from conduit_lab.serving.faces.language.tool_calls import ToolCall

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessageWriter:
    """Builds a message from the parts of a generation, and the events for each step.

    `message` is complete after `finish`.
    """

    def __init__(self, running: RunningAnswer) -> None:
        self.running = running
        self._begun = False
        self._texts: list[str] | None = None  # of the open text block
        self._finish = "stop"
        self.content: list[dict[str, Any]] = []
        self.message: dict[str, Any] = {
            "id": f"msg_{running.id}",
            "type": "message",
            "role": "assistant",
            "model": running.model.name,
            "content": self.content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }

    def add(self, part: AnswerPart) -> bytes:
        """Add a part and return its events."""
        events = self._begin()
        if part.text:
            events += self._open_text()
            if self._texts is not None:
                self._texts.append(part.text)
            events += self._delta({"type": "text_delta", "text": part.text})
        for call in part.calls:
            events += self._close_text() + self._call(call)
        if part.finish is not None:
            self._finish = part.finish
            events += self._close_text()
        return events

    def finish(self) -> bytes:
        """Complete the message and return its last events."""
        events = self._begin() + self._close_text()
        found = self.running.stop_sequence()
        reason = "stop_sequence" if found is not None else _STOP_REASONS[self._finish]
        stop = {"stop_reason": reason, "stop_sequence": found}
        usage = self._counts()
        self.message |= {**stop, "usage": usage}
        return (
            events
            + named_event("message_delta", {"type": "message_delta", "delta": stop, "usage": usage})
            + named_event("message_stop", {"type": "message_stop"})
        )

    def _counts(self) -> dict[str, int]:
        counts = self.running.usage()
        return {
            "input_tokens": counts.prompt - counts.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counts.cached,
            "output_tokens": counts.generated,
        }

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        self.message["usage"] = self._counts()
        return named_event("message_start", {"type": "message_start", "message": self.message})

    def _open_text(self) -> bytes:
        if self._texts is not None:
            return b""
        self._texts = []
        return self._start({"type": "text", "text": "", "citations": None})

    def _close_text(self) -> bytes:
        if self._texts is None:
            return b""
        citations = [
            _citation(place, each) for place, each in enumerate(self.running.reader.citations)
        ]
        events = b"".join(
            self._delta({"type": "citations_delta", "citation": each}) for each in citations
        )
        self.content[-1] |= {"text": "".join(self._texts), "citations": citations or None}
        self._texts = None
        return events + self._stop()

    def _call(self, call: ToolCall) -> bytes:
        block = {"type": "tool_use", "id": f"toolu_{call.id[5:]}", "name": call.name, "input": {}}
        events = self._start(block)
        try:
            self.content[-1]["input"] = json.loads(call.arguments)
        except ValueError:
            self.content[-1]["input"] = {"arguments": call.arguments}
        arguments = json.dumps(self.content[-1]["input"], ensure_ascii=False)
        delta = {"type": "input_json_delta", "partial_json": arguments}
        return events + self._delta(delta) + self._stop()

    def _start(self, block: dict[str, Any]) -> bytes:
        self.content.append(block)
        return self._block("content_block_start", content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._block("content_block_delta", delta=delta)

    def _stop(self) -> bytes:
        return self._block("content_block_stop")

    def _block(self, kind: str, **values: Any) -> bytes:
        event = {"type": kind, "index": len(self.content) - 1, **values}
        return named_event(kind, event)


class MessageFormat(EventLines):
    """The events of a streamed message, from `message_start` to `message_stop`."""

    heartbeat = named_event("ping", {"type": "ping"})

    def __init__(self, writer: MessageWriter) -> None:
        self._writer = writer

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return the events of one chunk."""
        return self._writer.add(self._writer.running.reader.read(chunk))

    def error(self, kind: str, message: str) -> bytes:
        """Return an error event."""
        error = {"type": "api_error", "message": message}
        return named_event("error", {"type": "error", "error": error})

    def end(self, count: int) -> bytes:
        """Return the end of the message."""
        return self._writer.finish()


def _citation(place: int, citation: UrlCitation) -> dict[str, Any]:
    return {
        "type": "search_result_location",
        "cited_text": citation.quote,
        "search_result_index": place,
        "source": citation.url,
        "title": citation.title,
        "start_block_index": 0,
        "end_block_index": 1,
    }
