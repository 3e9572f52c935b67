"""`/v1/chat/completions`: the next message of a chat, complete or streamed."""

from __future__ import annotations

from time import time
from typing import Any

from conduit_lab.models.generation.result import Token
from conduit_lab.serving import codec
from conduit_lab.serving.faces.exchange import Exchange
from conduit_lab.serving.faces.language.answer_parts import (
    AnswerPart,
    UrlCitation,
    WrittenChoice,
    written,
)
from conduit_lab.serving.faces.language.chat_messages import MAX_MESSAGES, MAX_TOOLS, read_messages
from conduit_lab.serving.faces.language.event_lines import EventLines, data_event
from conduit_lab.serving.faces.language.request_fields import RequestFields
from conduit_lab.serving.faces.language.running_answer import RunningAnswer, running_answer
from conduit_lab.serving.faces.language.served_models import (
    TextRequest,
    TokenCounts,
)
from conduit_lab.serving.faces.language.text_format import read_format
from conduit_lab.serving.faces.language.tool_calls import ToolCall, ToolUse
from conduit_lab.serving.faces.language.tool_choice import choose_tools, read_function
from conduit_lab.serving.faces.openai.openai_errors import openai_error
from conduit_lab.serving.faces.openai.sampling_fields import (
    MAX_ANSWER_TOKENS,
    MAX_TOP_LOGPROBS,
    read_sampling,
)

_UNSUPPORTED = ("audio", "prediction", "functions", "function_call", "web_search_options")


async def create_chat_completion(exchange: Exchange) -> None:
    """Answer POST /v1/chat/completions."""
    fields = RequestFields(await exchange.json())
    request = _read(fields)
    has_logprobs = fields.flag("logprobs")
    streamed = fields.flag("stream")
    has_usage = fields.object("stream_options").flag("include_usage")
    name = fields.text("model")
    async with running_answer(exchange, name, request, streamed=streamed) as running:
        answer = _Answer(running, has_logprobs)
        if streamed:
            await running.send(_ChatFormat(answer, has_usage))
        else:
            await exchange.send(answer.whole(written(await running.parts())))


def _read(fields: RequestFields) -> TextRequest:
    fields.refuse(*_UNSUPPORTED)
    if any(each != "text" for each in fields.items("modalities", 8)):
        fields.refuse("modalities", reason="the models of this server generate only text")
    limit = "max_completion_tokens" if fields.has("max_completion_tokens") else "max_tokens"
    logprobs = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS, 0)
    format = fields.object("response_format")
    return TextRequest(
        read_sampling(
            fields,
            max_tokens=fields.integer(limit, 1, MAX_ANSWER_TOKENS, MAX_ANSWER_TOKENS),
            logprobs=logprobs if fields.flag("logprobs") else 0,
        ),
        messages=read_messages(fields.items("messages", MAX_MESSAGES, required=True)),
        json_schema=read_format(format, format.object("json_schema")),
        tools=_read_tools(fields),
    )


def _read_tools(fields: RequestFields) -> ToolUse | None:
    tools = [
        RequestFields(each, f"tools[{place}]")
        for place, each in enumerate(fields.items("tools", MAX_TOOLS))
    ]
    for each in tools:
        each.one_of("type", ("function",), "function")
    functions = [read_function(each.object("function")) for each in tools]
    if not fields.has("tool_choice") or isinstance(fields.value("tool_choice"), str):
        modes = ("auto", "none", "required")
        return choose_tools(functions, fields.one_of("tool_choice", modes, "auto"))
    named = fields.object("tool_choice").object("function").text("name")
    return choose_tools(functions, "named", named)


class _Answer:
    """Builds the JSON values of one answer."""

    def __init__(self, running: RunningAnswer, has_logprobs: bool) -> None:
        self.running = running
        self.has_logprobs = has_logprobs
        self.head = {
            "id": f"chatcmpl-{running.id}",
            "created": int(time()),
            "model": running.model.name,
        }

    def whole(self, choices: list[WrittenChoice]) -> dict[str, Any]:
        """Return the complete answer."""
        return {
            **self.head,
            "object": "chat.completion",
            "choices": [self._choice(place, each) for place, each in enumerate(choices)],
            "usage": usage_of(self.running.usage()),
        }

    def _choice(self, place: int, choice: WrittenChoice) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text if choice.text or not choice.calls else None,
            "refusal": None,
        }
        if choice.calls:
            message["tool_calls"] = [_tool_call(each) for each in choice.calls]
        if found := self.annotations():
            message["annotations"] = found
        return {
            "index": place,
            "message": message,
            "logprobs": self.logprobs(choice.tokens),
            "finish_reason": choice.finish,
        }

    def annotations(self) -> list[dict[str, Any]]:
        """Return the sources of a `Rag`'s answer."""
        return [url_citation(each) for each in self.running.reader.citations]

    def logprobs(self, tokens: list[Token]) -> dict[str, Any] | None:
        """Return the logprobs of tokens, or None unless requested."""
        if not self.has_logprobs:
            return None
        return {"content": [self._logprob(each) for each in tokens], "refusal": None}

    def _logprob(self, token: Token) -> dict[str, Any]:
        tops = [self._token(id, logprob) for id, logprob in token.tops]
        return {**self._token(token.id, token.logprob), "top_logprobs": tops}

    def _token(self, id: int, logprob: float) -> dict[str, Any]:
        content = self.running.model.token_bytes(id)
        return {
            "token": content.decode("utf-8", "replace"),
            "logprob": logprob,
            "bytes": list(content),
        }


class _ChatFormat(EventLines):
    """The events of a streamed chat completion, ending with `[DONE]`."""

    def __init__(self, answer: _Answer, has_usage: bool) -> None:
        self._answer = answer
        self._has_usage = has_usage
        self._begun: dict[int, int] = {}  # number of tool calls so far, by choice
        head = {**answer.head, "object": "chat.completion.chunk"}
        self._head = head
        self._start = b'data: %b,"choices":[{"index":' % codec.dumps(head)[:-1]
        self._end = b',"usage":null}\n\n' if has_usage else b"}\n\n"

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return the events of one chunk."""
        part = self._answer.running.reader.read(chunk)
        events = b""
        if part.choice not in self._begun:
            self._begun[part.choice] = 0
            events = self._event(part.choice, {"role": "assistant", "content": ""})
        if part.text or (self._answer.has_logprobs and part.token is not None):
            events += self._text(part)
        if part.calls:
            events += self._event(part.choice, {"tool_calls": self._calls(part)})
        if part.finish is None:
            return events
        if found := self._answer.annotations():
            events += self._event(part.choice, {"annotations": found})
        return events + self._event(part.choice, {}, part.finish)

    def error(self, kind: str, message: str) -> bytes:
        """Return an error event, which no `[DONE]` follows."""
        return data_event(openai_error(message, "server_error", kind))

    def end(self, count: int) -> bytes:
        """Return the usage if requested, and `[DONE]`."""
        usage = {**self._head, "choices": [], "usage": usage_of(self._answer.running.usage())}
        return (data_event(usage) if self._has_usage else b"") + b"data: [DONE]\n\n"

    def _text(self, part: AnswerPart) -> bytes:
        content = codec.dumps(part.text)
        tokens = [part.token] if part.token is not None else []
        logprobs = b"null"
        if self._answer.has_logprobs:
            logprobs = codec.dumps(self._answer.logprobs(tokens))
        return b'%b%d,"delta":{"content":%b},"logprobs":%b,"finish_reason":null}]%b' % (
            self._start,
            part.choice,
            content,
            logprobs,
            self._end,
        )

    def _event(self, choice: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return b'%b%d,"delta":%b,"logprobs":null,"finish_reason":%b}]%b' % (
            self._start,
            choice,
            codec.dumps(delta),
            codec.dumps(finish),
            self._end,
        )

    def _calls(self, part: AnswerPart) -> list[dict[str, Any]]:
        first = self._begun[part.choice]
        self._begun[part.choice] += len(part.calls)
        return [
            {"index": place, **_tool_call(each)} for place, each in enumerate(part.calls, first)
        ]


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def url_citation(citation: UrlCitation) -> dict[str, Any]:
    """Return a source as a message annotation."""
    return {
        "type": "url_citation",
        "url_citation": {
            "url": citation.url,
            "title": citation.title,
            "start_index": citation.start,
            "end_index": citation.end,
        },
    }


def usage_of(counts: TokenCounts) -> dict[str, Any]:
    """Return the usage of a completion."""
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.generated,
        "total_tokens": counts.prompt + counts.generated,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
    }
