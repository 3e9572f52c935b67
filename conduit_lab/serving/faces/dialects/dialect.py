"""Dialect: one chat front end protocol, for every stream endpoint and generator of an app."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from starlette.routing import Route

from conduit_lab.core.errors import InputError
from conduit_lab.core.streams.stream import Stream
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.serving.argument_problems import brief
from conduit_lab.serving.call import Call
from conduit_lab.serving.endpoint import Endpoint, EndpointHost
from conduit_lab.serving.errors import error_body
from conduit_lab.serving.faces.exchange import Exchange, Handler, protocol_route
from conduit_lab.serving.faces.formats import EventFormat
from conduit_lab.serving.faces.language.chat_messages import MAX_MESSAGES
from conduit_lab.serving.faces.language.served_models import (
    ServedGenerator,
    TextRequest,
    models_of,
)
from conduit_lab.serving.faces.passage_links import citation_url
from conduit_lab.serving.rag_endpoint import RagEndpoint

_ROLES = ("system", "developer", "user", "assistant", "tool")
_SHOWN_ROLES = ("activity", "reasoning")  # of AG-UI: shown to the user, not sent to models


class ChatTurn(NamedTuple):
    """The request of a chat front end: the `messages` so far, each with a role and text.

    `fields` are additional values, `ids` those to repeat in events.
    """

    messages: list[dict[str, str]]
    fields: Mapping[str, Any] = {}
    ids: Mapping[str, str] = {}

    @property
    def text(self) -> str:
        """The text of the last user message."""
        for message in reversed(self.messages):
            if message["role"] == "user":
                return message["content"]
        raise InputError("expected a user message, got none")


class Answered(NamedTuple):
    """The endpoint or model of an answer: its `name`, and a function from a source to its URL."""

    name: str
    source_url: Callable[[Mapping[str, Any]], str] | None = None


class Dialect(NamedTuple):
    """One protocol: its route prefix, its request parser, and its event format."""

    prefix: str
    read: Callable[[Any], ChatTurn]
    format: Callable[[ChatTurn, Answered], EventFormat]

    def routes(self, app: EndpointHost) -> list[Route]:
        """Return a route per stream endpoint, `Rag` and `Generator` of an app.

        Each is served below the prefix: an endpoint at its path, a `Rag` at the path of its whole
        answer, a generator at its name.
        """
        handlers: dict[str, Handler] = {}
        for endpoint in app.endpoints:
            if endpoint.shape == "stream":
                path = endpoint.at if isinstance(endpoint, RagEndpoint) else endpoint.path
                handlers[path] = self._endpoint_handler(endpoint)
        for name, generator in models_of(app, Generator).items():
            handlers.setdefault(f"/{name}", self._model_handler(ServedGenerator(name, generator)))
        return [
            protocol_route(
                app, self.prefix[1:], f"{self.prefix}{path}", handler, error_body=error_body
            )
            for path, handler in handlers.items()
        ]

    def _endpoint_handler(self, endpoint: Endpoint[..., Any]) -> Handler:
        async def answer(exchange: Exchange) -> None:
            turn = self.read(await exchange.json())
            call = await exchange.bind(bind_turn, endpoint, turn, exchange.path)
            stream = await exchange.call(endpoint, call)
            caller = exchange.context.caller
            shows = isinstance(endpoint, RagEndpoint)
            url = partial(citation_url, exchange.base_url, caller=caller) if shows else None
            await self._send(exchange, stream, turn, Answered(endpoint.name, url))

        return answer

    def _model_handler(self, model: ServedGenerator) -> Handler:
        async def answer(exchange: Exchange) -> None:
            turn = self.read(await exchange.json())
            request = TextRequest(SamplingOptions(), messages=turn.messages)
            stream = await exchange.start(model.start, request, of=model.name, streamed=True)
            try:
                await self._send(exchange, stream, turn, Answered(model.name))
            finally:
                counts = model.usage(stream)
                exchange.context.count_tokens(counts.prompt, counts.generated)

        return answer

    async def _send(
        self, exchange: Exchange, stream: Stream[Any], turn: ChatTurn, answered: Answered
    ) -> None:
        await exchange.send_stream(stream, self.format(turn, answered))


def bind_turn(
    endpoint: Endpoint[..., Any], turn: ChatTurn, path: Mapping[str, Any], size: int
) -> Call:
    """Bind a turn to an endpoint call.

    A parameter named `messages` gets all messages; otherwise the first unfilled parameter gets the
    text of the last user message. Request fields fill the parameters of the same name. A handler
    that takes the request gets `messages` and the fields as its JSON body. `size` is that of the
    request's body.
    """
    signature = endpoint.signature
    if signature.request is not None:
        return signature.from_fields({**turn.fields, "messages": turn.messages}, size)
    names = list(inspect.signature(endpoint).parameters)
    arguments = {name: turn.fields[name] for name in names if name in turn.fields}
    path = {name: value for name, value in path.items() if name in names}
    if "messages" in names:
        arguments["messages"] = turn.messages
    else:
        given = {*arguments, *path}
        free = [name for name in (*signature.required, *names) if name not in given]
        if free:
            arguments[free[0]] = turn.text
    return signature.from_fields(arguments, size, path)


def read_object(value: Any, where: str) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object; else raise `InputError`."""
    if not isinstance(value, dict):
        raise InputError(f"{where} expects an object, got {brief(value)}")
    return value


def read_turns(
    body: Mapping[str, Any], text: Callable[[Mapping[str, Any], str], str]
) -> list[dict[str, str]]:
    """Return the `messages` of a request, with their content extracted by `text`."""
    items = body.get("messages")
    if not isinstance(items, list) or not items:
        raise InputError(f"messages expects a list of at least one message, got {brief(items)}")
    if len(items) > MAX_MESSAGES:
        raise InputError(f"messages expects at most {MAX_MESSAGES}, got {len(items)}")
    messages = []
    for place, item in enumerate(items):
        where = f"messages[{place}]"
        message = read_object(item, where)
        role = message.get("role")
        if role in _SHOWN_ROLES:
            continue
        if role not in _ROLES:
            expected = ", ".join(_ROLES)
            raise InputError(f"{where}.role expects one of {expected}, got {brief(role)}")
        role = "system" if role == "developer" else role
        messages.append({"role": role, "content": text(message, where)})
    return messages


def read_text_parts(parts: Any, where: str, *, skip: bool) -> str:
    """Return the joined text of a list of parts; `skip` or reject other parts."""
    if not isinstance(parts, list):
        raise InputError(f"{where} expects a list of parts, got {brief(parts)}")
    texts: list[str] = []
    for place, item in enumerate(parts):
        part = read_object(item, f"{where}[{place}]")
        text = part.get("text")
        if part.get("type") == "text" and isinstance(text, str):
            texts.append(text)
        elif not skip:
            raise InputError(
                f"{where}[{place}] expects text: this endpoint supports only text, and "
                "fetches nothing"
            )
    return "\n".join(texts)


def read_ids(body: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return the string fields of a request that events repeat."""
    return {name: value for name in names if isinstance(value := body.get(name), str)}
