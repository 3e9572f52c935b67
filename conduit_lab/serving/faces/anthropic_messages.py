"""Anthropic's Messages API: `/v1/messages` and `/v1/messages/count_tokens`.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import json
from typing import Any

from starlette.routing import Route

from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.serving import codec
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.anthropic_events import MessageFormat, MessageWriter
from conduit_lab.serving.faces.exchange import Exchange, protocol_route
from conduit_lab.serving.faces.language.chat_messages import (
    MAX_MESSAGES,
    MAX_TOOLS,
    read_content,
    tool_call_message,
)
from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields
from conduit_lab.serving.faces.language.running_answer import running_answer
from conduit_lab.serving.faces.language.served_models import (
    TextRequest,
    named_model,
    text_models,
)
from conduit_lab.serving.faces.language.text_format import read_format
from conduit_lab.serving.faces.language.tool_calls import ToolUse
from conduit_lab.serving.faces.language.tool_choice import choose_tools, read_function

_MAX_TOKENS = 1_000_000
_MAX_STOPS = 16
_MAX_TOP_K = 1_000_000
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


def routes(app: EndpointHost) -> list[Route]:
    """Return the protocol's routes."""
    handlers = {"/v1/messages": create_message, "/v1/messages/count_tokens": count_message_tokens}
    return [
        protocol_route(app, "anthropic", path, handler, error_body=anthropic_error_body)
        for path, handler in handlers.items()
    ]


def anthropic_error_body(error: HttpError, request_id: str) -> bytes:
    """Return the body of an error response."""
    default = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _ERROR_TYPES.get(error.status, default)
    return codec.dumps(
        {
            "type": "error",
            "error": {"type": kind, "message": error.message},
            "request_id": request_id,
        }
    )


async def create_message(exchange: Exchange) -> None:
    """Answer POST /v1/messages."""
    fields = RequestFields(await exchange.json())
    stops = fields.items("stop_sequences", _MAX_STOPS)
    sampling = SamplingOptions(
        max_tokens=fields.integer("max_tokens", 1, _MAX_TOKENS),
        temperature=fields.number("temperature", 0, 1, 1),
        top_p=fields.number("top_p", 0, 1, 1),
        top_k=fields.integer("top_k", 0, _MAX_TOP_K, 0),
        stop=stops,
    )
    format = fields.object("output_config").object("format")
    request = TextRequest(
        sampling,
        _messages(fields),
        json_schema=read_format(format, format),
        tools=_read_tools(fields),
    )
    streamed = fields.flag("stream")
    name = fields.text("model")
    async with running_answer(exchange, name, request, streamed=streamed) as running:
        writer = MessageWriter(running)
        if streamed:
            await running.send(MessageFormat(writer))
        else:
            for part in await running.parts():
                writer.add(part)
            writer.finish()
            await exchange.send(writer.message)


async def count_message_tokens(exchange: Exchange) -> None:
    """Answer POST /v1/messages/count_tokens."""
    fields = RequestFields(await exchange.json())
    model = named_model(text_models(exchange.context), fields.text("model"), "model")
    request = TextRequest(SamplingOptions(), _messages(fields), tools=_read_tools(fields))
    await exchange.send({"input_tokens": await exchange.run(model.count, request, of=model.name)})


def _messages(fields: RequestFields) -> list[dict[str, Any]]:
    """Return the messages in the form of chat templates, the system message first."""
    messages: list[dict[str, Any]] = []
    if fields.has("system"):
        text = read_content(fields.value("system"), "system")
        messages.append({"role": "system", "content": text})
    items = fields.items("messages", MAX_MESSAGES, required=True)
    for place, each in enumerate(items):
        messages += _message(RequestFields(each, f"messages[{place}]"))
    if not items or messages[-1]["role"] == "assistant":
        raise FieldError(
            "messages",
            "messages must end with a user message: prefilled answers are not supported",
        )
    return messages


def _message(fields: RequestFields) -> list[dict[str, Any]]:
    """Return one message in the form of chat templates, with a message per tool result."""
    role = fields.one_of("role", ("user", "assistant"), "")
    content = fields.value("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list):
        raise FieldError(
            fields.name("content"), f"{fields.name('content')} expects a string or blocks"
        )
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for place, each in enumerate(blocks):
        block = RequestFields(each, f"{fields.name('content')}[{place}]")
        kind = block.text("type")
        if kind == "tool_use" and role == "assistant":
            calls.append(tool_call_message(block.text("name"), json.dumps(block.value("input"))))
        elif kind == "tool_result" and role == "user":
            given = block.value("content") if block.has("content") else ""
            text = read_content(given, block.name("content"))
            results.append(
                {"role": "tool", "content": text, "tool_call_id": block.text("tool_use_id")}
            )
        elif kind not in ("thinking", "redacted_thinking"):
            texts.append(read_content([each], block.name("type")))
    message: dict[str, Any] = {"role": role, "content": "\n".join(texts)}
    if calls:
        message["tool_calls"] = calls
    return [*results, *([message] if texts or calls or not results else [])]


def _read_tools(fields: RequestFields) -> ToolUse | None:
    tools = [
        RequestFields(each, f"tools[{place}]")
        for place, each in enumerate(fields.items("tools", MAX_TOOLS))
    ]
    for each in tools:
        each.one_of("type", ("custom",), "custom")
    functions = [read_function(each, "input_schema") for each in tools]
    for function in functions:
        if "input_schema" in function:
            function["parameters"] = function.pop("input_schema")
    choice = fields.object("tool_choice")
    mode = choice.one_of("type", ("auto", "any", "tool", "none"), "auto")
    name = choice.text("name") if mode == "tool" else ""
    return choose_tools(functions, {"any": "required", "tool": "named"}.get(mode, mode), name)
