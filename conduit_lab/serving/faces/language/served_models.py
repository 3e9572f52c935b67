"""Served models: look up the models of an app by name, and run those that generate text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from conduit_lab.core.errors import InputError, MissingExtra
from conduit_lab.core.nearest import did_you_mean
from conduit_lab.flow.answer_stream import AnswerStream
from conduit_lab.flow.rag import Rag
from conduit_lab.models.generation.choice_stream import ChoiceStream
from conduit_lab.models.generation.generation_call import GenerationCall
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.generation.prompts import Truncate
from conduit_lab.models.generation.sampling_options import SamplingOptions
from conduit_lab.models.generation.token_stream import start_generation
from conduit_lab.serving.answer import RawHeaders
from conduit_lab.serving.endpoint import EndpointHost
from conduit_lab.serving.errors import HttpError
from conduit_lab.serving.faces.language.request_fields import FieldError
from conduit_lab.serving.faces.language.tool_calls import ToolUse
from conduit_lab.serving.gate.context import RequestContext
from conduit_lab.serving.gate.tenants import may_see
from conduit_lab.serving.rag_endpoint import RagEndpoint

_M = TypeVar("_M")


class TokenCounts(NamedTuple):
    """The token counts of one request; `cached` is the part of `prompt` from the prefix cache."""

    prompt: int
    cached: int
    generated: int


@dataclass(frozen=True)
class TextRequest:
    """A text generation request: `messages` of a chat, or `prompts` to continue.

    `json_schema` constrains the text.
    """

    sampling: SamplingOptions
    messages: Sequence[Mapping[str, Any]] | None = None
    prompts: Sequence[str | list[int]] = ()
    json_schema: Mapping[str, Any] | None = None
    tools: ToolUse | None = None
    truncate: Truncate | None = None


class ServedGenerator:
    """A `Generator` as a served model."""

    def __init__(self, name: str, generator: Generator) -> None:
        self.name = name
        self._generator = generator

    def start(self, request: TextRequest) -> ChoiceStream:
        """Start the generations of a request; raises `HttpError` and `InputError`."""
        self._check(request)
        tools = request.tools
        schema = request.json_schema if tools is None else tools.schema or request.json_schema
        prompts = [request.messages] if request.messages is not None else request.prompts
        calls = [
            GenerationCall(
                prompt,
                truncate=request.truncate,
                json_schema=schema,
                sampling=request.sampling,
                tools=None if tools is None else tools.template_tools,
            )
            for prompt in prompts
        ]
        try:
            return start_generation(
                self._generator,
                prompts[0] if len(prompts) == 1 else prompts,
                lambda: ChoiceStream(self._generator, calls, name=self.name),
            )
        except MissingExtra:
            raise HttpError(
                400, "unsupported_parameter", "this server does not support constrained generation"
            ) from None

    def count(self, request: TextRequest) -> int:
        """Return the number of tokens in a chat."""
        self._check(request)
        tools = None if request.tools is None else request.tools.template_tools
        return self._generator._parts().prompts.count_tokens(request.messages, tools=tools)

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes a token adds to a text, or the name of a token that adds none."""
        texts = self._generator._parts().token_bytes
        return texts.of(id, id) if texts.visible(id) else texts.name(id).encode()

    @property
    def template(self) -> str:
        """The source of its chat template, or ""."""
        return self._generator._parts().prompts.chat.source or ""

    def usage(self, stream: ChoiceStream) -> TokenCounts:
        """Return the token counts of a stream so far."""
        return TokenCounts(stream.prompt_tokens, stream.cached_tokens, stream.generated_tokens)

    def _check(self, request: TextRequest) -> None:
        if request.messages is None:
            return
        chat = self._generator._parts().prompts.chat
        if chat.source is None:
            raise FieldError(
                "model", f"the model {self.name!r} has no chat template: use completions"
            )
        if request.tools is not None and not chat.takes_tools:
            raise FieldError(
                "tools", f"the chat template of the model {self.name!r} does not support tools"
            )


class ServedRag:
    """A `Rag` as a chat model, which answers the last user message with its own settings."""

    template = ""  # tools are not supported

    def __init__(self, name: str, rag: Rag) -> None:
        self.name = name
        self._rag = rag

    def start(self, request: TextRequest) -> AnswerStream:
        """Start the answer to the last message; raises `HttpError` and `InputError`."""
        if request.messages is None:
            raise FieldError("model", f"the model {self.name!r} supports only chat")
        sampling = request.sampling
        given = {
            "tools": request.tools,
            "response_format": request.json_schema,
            "logprobs": sampling.logprobs,
            "n": sampling.n > 1,
        }
        for field, value in given.items():
            if value:
                raise FieldError(
                    field, f"{self.name!r} answers from documents and does not support {field}"
                )
        return self._rag.stream(_question(request))

    def count(self, request: TextRequest) -> int:
        """Return the number of tokens in the question; the passages are not known yet."""
        count = getattr(self._rag.generator, "count_tokens", None)
        return 0 if count is None else int(count(_question(request)))

    def token_bytes(self, id: int) -> bytes:
        """Raise `InputError`: its tokens are not known."""
        raise InputError(f"the tokens of {self.name!r} are not known")

    def usage(self, stream: AnswerStream) -> TokenCounts:
        """Return the token counts of a stream so far."""
        return TokenCounts(self._rag.prompt_tokens(stream.draft.answer), 0, stream.draft.tokens)


ServedModel = ServedGenerator | ServedRag


def text_models(context: RequestContext) -> dict[str, ServedModel]:
    """Return the text generation models: each `Generator` by name, each `Rag` by endpoint name.

    A `Rag` on a store hidden from the caller is left out; a generator takes precedence over a `Rag`
    of the same name.
    """
    app = context.app
    found: dict[str, ServedModel] = {
        each.name: ServedRag(each.name, each.rag)
        for each in app.endpoints
        if isinstance(each, RagEndpoint) and each is each.whole and may_see(context, each.rag.store)
    }
    generators = models_of(app, Generator)
    return found | {name: ServedGenerator(name, each) for name, each in generators.items()}


def models_of(app: EndpointHost, kind: type[_M]) -> dict[str, _M]:
    """Return the models of a kind by name; the newest wins a name."""
    return {each.name: each for each in app.models if isinstance(each, kind)}


def named_model(models: Mapping[str, _M], name: str, kind: str) -> _M:
    """Return the model with a name; otherwise raise a 404 with the nearest one."""
    if name not in models:
        shown = name if len(name) <= 100 else f"{name[:99]}…"
        raise HttpError(
            404, "model_not_found", f"no {kind} {shown!r} is served{did_you_mean(shown, models)}"
        )
    return models[name]


def truncation_headers(truncated: int) -> RawHeaders:
    """Return the header that counts truncated texts; empty if there were none."""
    return [(b"x-conduit-truncated", b"%d" % truncated)] if truncated else []


def _question(request: TextRequest) -> str:
    """Return the text of the last user message."""
    for message in reversed(request.messages or ()):
        if message.get("role") == "user":
            content = message["content"]
            parts = [content] if isinstance(content, str) else [part["text"] for part in content]
            return "\n".join(parts)
    raise InputError("expected a message of the user, got none")
