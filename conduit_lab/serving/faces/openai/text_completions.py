"""`/v1/completions`: the continuation of one or more prompts, complete or streamed."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any

from conduit_lab.models.generation.result import Token
from conduit_lab.serving.faces.exchange import Exchange
from conduit_lab.serving.faces.language.answer_parts import WrittenChoice, written
from conduit_lab.serving.faces.language.event_lines import EventLines, data_event
from conduit_lab.serving.faces.language.request_fields import FieldError, RequestFields
from conduit_lab.serving.faces.language.running_answer import RunningAnswer, running_answer
from conduit_lab.serving.faces.language.served_models import (
    TextRequest,
)
from conduit_lab.serving.faces.openai.chat_completions import usage_of
from conduit_lab.serving.faces.openai.openai_errors import openai_error
from conduit_lab.serving.faces.openai.sampling_fields import (
    MAX_ANSWER_TOKENS,
    MAX_CHOICES,
    MAX_TOP_LOGPROBS,
    read_sampling,
)

_DEFAULT_TOKENS = 16  # OpenAI's


async def create_completion(exchange: Exchange) -> None:
    """Answer POST /v1/completions."""
    fields = RequestFields(await exchange.json())
    request = _read(fields)
    streamed = fields.flag("stream")
    has_usage = fields.object("stream_options").flag("include_usage")
    name = fields.text("model")
    async with running_answer(exchange, name, request, streamed=streamed) as running:
        answer = _Completion(running, fields.has("logprobs"))
        if streamed:
            await running.send(_CompletionFormat(answer, has_usage))
        else:
            await exchange.send(answer.whole(written(await running.parts())))


def _read(fields: RequestFields) -> TextRequest:
    fields.refuse("echo", "suffix")
    if fields.integer("best_of", 1, MAX_CHOICES, 1) != 1:
        fields.refuse("best_of")
    logprobs = fields.integer("logprobs", 0, MAX_TOP_LOGPROBS, 0)
    limit = fields.integer("max_tokens", 1, MAX_ANSWER_TOKENS, _DEFAULT_TOKENS)
    sampling = read_sampling(fields, max_tokens=limit, logprobs=logprobs)
    prompts = _prompts(fields.value("prompt"))
    if len(prompts) * sampling.n > MAX_CHOICES:
        raise FieldError(
            "n", f"expected at most {MAX_CHOICES} completions, got {len(prompts)} × {sampling.n}"
        )
    return TextRequest(sampling, prompts=prompts)


def _prompts(given: Any) -> Sequence[str | list[int]]:
    """Return the prompts, which are strings or lists of token IDs."""
    if isinstance(given, str) or _is_ids(given):
        return [given]
    fits = isinstance(given, list) and 0 < len(given) <= MAX_CHOICES
    if fits and (all(isinstance(each, str) for each in given) or all(map(_is_ids, given))):
        return list(given)
    raise FieldError(
        "prompt", f"prompt expects a string, token ids, or a list of 1 to {MAX_CHOICES} of either"
    )


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


class _Completion:
    """Builds the JSON values of one answer."""

    def __init__(self, running: RunningAnswer, has_logprobs: bool) -> None:
        self.running = running
        self._has_logprobs = has_logprobs
        self.head = {
            "id": f"cmpl-{running.id}",
            "object": "text_completion",
            "created": int(time()),
            "model": running.model.name,
        }

    def whole(self, choices: Sequence[WrittenChoice]) -> dict[str, Any]:
        """Return the complete answer."""
        made = [
            self.choice(place, each.text, each.tokens, each.finish)
            for place, each in enumerate(choices)
        ]
        return {**self.head, "choices": made, "usage": usage_of(self.running.usage())}

    def choice(
        self, place: int, text: str, tokens: Sequence[Token], finish: str | None, offset: int = 0
    ) -> dict[str, Any]:
        """Return one choice, or a part of it starting at character `offset`."""
        return {
            "index": place,
            "text": text,
            "logprobs": self._logprobs(tokens, offset) if self._has_logprobs else None,
            "finish_reason": finish,
        }

    def _logprobs(self, tokens: Sequence[Token], offset: int) -> dict[str, Any]:
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token)
        return {
            "tokens": [self._text(token.id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self._text(id): logprob for id, logprob in token.tops} for token in tokens
            ],
            "text_offset": offsets,
        }

    def _text(self, id: int) -> str:
        return self.running.model.token_bytes(id).decode("utf-8", "replace")


class _CompletionFormat(EventLines):
    """The events of a streamed completion, ending with `[DONE]`."""

    def __init__(self, answer: _Completion, has_usage: bool) -> None:
        self._answer = answer
        self._has_usage = has_usage
        self._lengths: dict[int, int] = {}

    def chunk(self, number: int, chunk: Any) -> bytes:
        """Return the event of one chunk."""
        part = self._answer.running.reader.read(chunk)
        offset = self._lengths.get(part.choice, 0)
        self._lengths[part.choice] = offset + len(part.text)
        tokens = [part.token] if part.token is not None else []
        choice = self._answer.choice(part.choice, part.text, tokens, part.finish, offset)
        return data_event({**self._answer.head, "choices": [choice]})

    def error(self, kind: str, message: str) -> bytes:
        """Return an error event, which no `[DONE]` follows."""
        return data_event(openai_error(message, "server_error", kind))

    def end(self, count: int) -> bytes:
        """Return the usage if requested, and `[DONE]`."""
        usage = b""
        if self._has_usage:
            counts = usage_of(self._answer.running.usage())
            usage = data_event({**self._answer.head, "choices": [], "usage": counts})
        return usage + b"data: [DONE]\n\n"
