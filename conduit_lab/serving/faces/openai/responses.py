"""`/v1/responses`: the text subset of the Open Responses specification, complete or streamed.

https://www.openresponses.org/specification. Nothing is stored, so each request has its whole input.
"""

from __future__ import annotations

from typing import Any

from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.serving.faces.exchange import Exchange
from conduit_lab.serving.faces.language.chat_messages import (
    MAX_MESSAGES,
    MAX_TOOLS,
    read_content,
    read_messages,
    tool_call_message,
)
from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields
from conduit_lab.serving.faces.language.running_answer import running_answer
from conduit_lab.serving.faces.language.served_models import (
    TextRequest,
)
from conduit_lab.serving.faces.language.text_format import read_format
from conduit_lab.serving.faces.language.tool_calls import ToolUse
from conduit_lab.serving.faces.language.tool_choice import choose_tools, read_function
from conduit_lab.serving.faces.openai.response_events import ResponseFormat, ResponseWriter
from conduit_lab.serving.faces.openai.sampling_fields import MAX_ANSWER_TOKENS

_STATEFUL = ("previous_response_id", "conversation", "background", "prompt")
_ECHOED = ("instructions", "metadata", "user", "tools", "tool_choice", "max_output_tokens")


async def create_response(exchange: Exchange) -> None:
    """Answer POST /v1/responses."""
    fields = RequestFields(await exchange.json())
    request = _read(fields)
    streamed = fields.flag("stream")
    echoed = {each: fields.value(each) for each in _ECHOED if fields.has(each)}
    sampling = request.sampling
    echoed |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    echoed["truncation"] = "disabled" if request.truncate is None else "auto"
    name = fields.text("model")
    async with running_answer(exchange, name, request, streamed=streamed) as running:
        writer = ResponseWriter(running, echoed)
        if streamed:
            await running.send(ResponseFormat(writer))
        else:
            for part in await running.parts():
                writer.add(part)
            writer.finish()
            await exchange.send(writer.response)


def _read(fields: RequestFields) -> TextRequest:
    fields.refuse(*_STATEFUL, reason="this server does not store responses")
    fields.refuse("top_logprobs")
    messages = _input(fields.value("input"))
    if fields.has("instructions"):
        messages.insert(0, {"role": "system", "content": fields.text("instructions")})
    format = fields.object("text").object("format")
    return TextRequest(
        SamplingOptions(
            max_tokens=fields.integer("max_output_tokens", 1, MAX_ANSWER_TOKENS, MAX_ANSWER_TOKENS),
            temperature=fields.number("temperature", 0, 2, 1),
            top_p=fields.number("top_p", 0, 1, 1),
        ),
        messages=messages,
        json_schema=read_format(format, format),
        tools=_read_tools(fields),
        truncate="start" if _truncates(fields) else None,
    )


def _truncates(fields: RequestFields) -> bool:
    return fields.one_of("truncation", ("auto", "disabled"), "disabled") == "auto"


def _input(given: Any) -> list[dict[str, Any]]:
    """Return the messages of an input, which is a string or a list of items."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not 0 < len(given) <= MAX_MESSAGES:
        raise FieldError("input", f"input expects a string or 1 to {MAX_MESSAGES} items")
    messages: list[dict[str, Any]] = []
    for place, each in enumerate(given):
        where = f"input[{place}]"
        item = RequestFields(each, where)
        kind = item.text("type", "message")
        if kind == "message":
            messages += read_messages([each], where)
        elif kind == "function_call":
            call = tool_call_message(item.text("name"), item.text("arguments"))
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            output = read_content(item.value("output"), item.name("output"))
            call_id = item.text("call_id")
            messages.append({"role": "tool", "content": output, "tool_call_id": call_id})
        elif kind != "reasoning":
            raise FieldError(
                item.name("type"), f"{item.name('type')} {kind[:60]!r} is not supported"
            )
    if not messages:
        raise FieldError("input", "input expects a message, got none")
    return messages


def _read_tools(fields: RequestFields) -> ToolUse | None:
    tools = [
        RequestFields(each, f"tools[{place}]")
        for place, each in enumerate(fields.items("tools", MAX_TOOLS))
    ]
    for each in tools:
        each.one_of("type", ("function",), "")
    functions = [read_function(each) for each in tools]
    if not fields.has("tool_choice") or isinstance(fields.value("tool_choice"), str):
        modes = ("auto", "none", "required")
        return choose_tools(functions, fields.one_of("tool_choice", modes, "auto"))
    return choose_tools(functions, "named", fields.object("tool_choice").text("name"))
