"""The events of a response, and the response they add up to (Open Responses specification)."""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from typing import Any

from conduit_lab.serving.faces.language.answer_parts import AnswerPart, UrlCitation
from conduit_lab.serving.faces.language.event_lines import EventLines, named_event
from conduit_lab.serving.faces.language.running_answer import RunningAnswer
from conduit_lab.serving.faces.language.tool_calls import ToolCall

_DEFAULTS: dict[str, Any] = {
    "background": False,
    "completed_at": None,
    "error": None,
    "frequency_penalty": 0,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "usage": None,
    "user": None,
}


class ResponseWriter:
    """Builds a response from the parts of a generation, and the events for each step.

    `response` is complete after `finish`. `echoed` are fields copied from the request.
    """

    def __init__(self, running: RunningAnswer, echoed: Mapping[str, Any]) -> None:
        self.running = running
        self._id = running.id
        self._sequence = 0
        self._begun = False
        self._text: str | None = None  # None unless a message is open
        self._parts: list[str] = []
        self._finish = "stop"
        self.output: list[dict[str, Any]] = []
        self.response: dict[str, Any] = {
            "id": f"resp_{running.id}",
            "object": "response",
            "created_at": int(time()),
            "status": "in_progress",
            "model": running.model.name,
            "output": self.output,
            **_DEFAULTS,
            **echoed,
        }

    def add(self, part: AnswerPart) -> bytes:
        """Add a part and return its events."""
        events = self._begin()
        if part.text:
            events += self._open_message()
            self._parts.append(part.text)
            events += self._event(
                "response.output_text.delta", **self._place, delta=part.text, logprobs=[]
            )
        for call in part.calls:
            events += self._close_message() + self._call(call)
        if part.finish is not None:
            self._finish = part.finish
            if not self.output:
                events += self._open_message()
            events += self._close_message()
        return events

    def finish(self) -> bytes:
        """Complete the response and return its last events."""
        events = self._begin() + self._close_message()
        cut = self._finish == "length"
        usage = self.running.usage()
        self.response |= {
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else int(time()),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": {
                "input_tokens": usage.prompt,
                "input_tokens_details": {"cached_tokens": usage.cached},
                "output_tokens": usage.generated,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt + usage.generated,
            },
        }
        return events + self._event(
            "response.incomplete" if cut else "response.completed", response=self.response
        )

    def fail(self, code: str, message: str) -> bytes:
        """Return the last events of a failed response."""
        events = self._begin()
        self.response |= {"status": "failed", "error": {"code": code, "message": message}}
        return events + self._event("error", code=code, message=message, param=None)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return b"".join(
            self._event(f"response.{state}", response=self.response)
            for state in ("created", "in_progress")
        )

    @property
    def _place(self) -> dict[str, Any]:
        """The fields that locate the open message's text."""
        index = len(self.output) - 1
        return {"item_id": f"msg_{self._id}_{index}", "output_index": index, "content_index": 0}

    def _open_message(self) -> bytes:
        if self._text is not None:
            return b""
        self._text, self._parts = "", []
        id = f"msg_{self._id}_{len(self.output)}"
        message = {
            "id": id,
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self.output.append(message)
        index = len(self.output) - 1
        return self._event(
            "response.output_item.added", output_index=index, item=message
        ) + self._event("response.content_part.added", **self._place, part=_text_part("", []))

    def _close_message(self) -> bytes:
        if self._text is None:
            return b""
        place, text = self._place, "".join(self._parts)
        annotations = [_annotation(each) for each in self.running.reader.citations]
        events = b"".join(
            self._event(
                "response.output_text.annotation.added",
                **place,
                annotation_index=index,
                annotation=annotation,
            )
            for index, annotation in enumerate(annotations)
        )
        part = _text_part(text, annotations)
        message = self.output[-1]
        message |= {"status": "completed", "content": [part]}
        self._text = None
        return (
            events
            + self._event("response.output_text.done", **place, text=text, logprobs=[])
            + self._event("response.content_part.done", **place, part=part)
            + self._event(
                "response.output_item.done", output_index=place["output_index"], item=message
            )
        )

    def _call(self, call: ToolCall) -> bytes:
        index = len(self.output)
        id = f"fc_{self._id}_{index}"
        item = {
            "id": id,
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        self.output.append(item)
        place = {"item_id": id, "output_index": index}
        begun = {**item, "arguments": "", "status": "in_progress"}
        return (
            self._event("response.output_item.added", output_index=index, item=begun)
            + self._event("response.function_call_arguments.delta", **place, delta=call.arguments)
            + self._event(
                "response.function_call_arguments.done",
                **place,
                name=call.name,
                arguments=call.arguments,
            )
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _event(self, kind: str, **values: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._sequence, **values}
        self._sequence += 1
        return named_event(kind, event)


class ResponseFormat(EventLines):
    """The events of a streamed response, with sequence numbers, ending with `[DONE]`."""

    def __init__(self, writer: ResponseWriter) -> None:
        self._writer = writer

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return the events of one chunk."""
        return self._writer.add(self._writer.running.reader.read(chunk))

    def error(self, kind: str, message: str) -> bytes:
        """Return an error event."""
        return self._writer.fail(kind, message)

    def end(self, count: int) -> bytes:
        """Return the completed response and `[DONE]`."""
        return self._writer.finish() + b"data: [DONE]\n\n"


def _text_part(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _annotation(citation: UrlCitation) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start,
        "end_index": citation.end,
    }
