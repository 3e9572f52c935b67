"""Answer parts: a protocol-independent form of generated chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from conduit_lab.core.streams.stream import Stream
from conduit_lab.flow.citation import citations
from conduit_lab.models.generation.choice_stream import ChoiceStream
from conduit_lab.models.generation.result import Token
from conduit_lab.serving.faces.language.served_models import ServedModel, TextRequest
from conduit_lab.serving.faces.language.tool_calls import ToolCall, ToolCallReader
from conduit_lab.serving.faces.passage_links import citation_url
from conduit_lab.serving.gate.keys import Key
from conduit_lab.vectors.found_card import heading_of


class AnswerPart(NamedTuple):
    """One step of one generation, the `choice` of an answer.

    `text` continues it, `calls` are complete, and the last part has the `finish` reason: "stop",
    "length" or "tool_calls". `token` is the model's token, if known.
    """

    choice: int
    text: str
    token: Token | None = None
    finish: str | None = None
    calls: Sequence[ToolCall] = ()


class UrlCitation(NamedTuple):
    """A source of an answer, for the characters `start` to `end` of the answer."""

    url: str
    title: str
    start: int
    end: int
    quote: str


class PartReader:
    """Converts the chunks of one stream to parts of its generations.

    `base_url` is the address of the app and `caller` the key of the request, for links to sources.
    """

    def __init__(
        self,
        model: ServedModel,
        request: TextRequest,
        base_url: str,
        caller: Key | None = None,
    ) -> None:
        self._base_url = base_url
        self._caller = caller
        self._sources: Sequence[Mapping[str, Any]] = ()
        self._response = ""
        self._tools = request.tools
        self._template = model.template if request.tools is not None else ""
        self._tool_readers: dict[int, ToolCallReader] = {}
        self._called: set[int] = set()

    def read(self, chunk: Any) -> AnswerPart:
        """Convert one chunk."""
        if not isinstance(chunk, Token):
            return self._answered(chunk)
        finish = chunk.finish_reason
        if self._tools is None:
            return AnswerPart(chunk.choice, str(chunk), chunk, finish)
        choice = chunk.choice
        reader = self._tool_readers.get(choice)
        if reader is None:
            reader = ToolCallReader(self._template, self._tools)
            self._tool_readers[choice] = reader
        text, calls = reader.push(str(chunk))
        if finish is not None:
            rest, more = reader.finish()
            text, calls = text + rest, [*calls, *more]
        if calls:
            self._called.add(choice)
        if finish == "stop" and choice in self._called:
            finish = "tool_calls"  # type: ignore[assignment]
        return AnswerPart(choice, text, chunk, finish, calls)

    def read_all(self, stream: Stream[Any, Any], result: Any) -> list[AnswerPart]:
        """Return the parts of a finished stream with this `result`."""
        if isinstance(stream, ChoiceStream):
            return [self.read(token) for made in result for token in made.tokens]
        return [self._answered({"chunk": result["response"], "complete": True, **result})]

    @property
    def citations(self) -> list[UrlCitation]:
        """The sources of a finished answer, with the sentences taken from them.

        A source without a matching sentence cites the whole answer.
        """
        sources, response = self._sources, self._response
        found = citations(response, [source["text"] for source in sources])
        made = [
            self._citation(sources[each.source], *each.at, each.start, each.end) for each in found
        ]
        cited = {each.source for each in found}
        whole = [source for place, source in enumerate(sources) if place not in cited]
        return made + [
            self._citation(source, 0, len(response), 0, len(source["text"])) for source in whole
        ]

    def _answered(self, chunk: Mapping[str, Any]) -> AnswerPart:
        """Convert one chunk of a `Rag`."""
        self._sources = chunk.get("sources", self._sources)
        complete = bool(chunk["complete"])
        text = str(chunk["chunk"])
        self._response += text
        return AnswerPart(0, text, None, "stop" if complete else None)

    def _citation(
        self, source: Mapping[str, Any], start: int, end: int, begin: int, stop: int
    ) -> UrlCitation:
        url = citation_url(self._base_url, source, begin, stop, caller=self._caller)
        title = heading_of(source) or str(source["id"])
        return UrlCitation(url, title, start, end, source["text"][begin:stop])


class WrittenChoice:
    """One complete generation of an answer."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: list[ToolCall] = []
        self.tokens: list[Token] = []
        self.finish = "stop"

    def add(self, part: AnswerPart) -> None:
        """Append a part."""
        self.text += part.text
        self.calls += part.calls
        if part.token is not None:
            self.tokens.append(part.token)
        self.finish = part.finish or self.finish


def written(parts: Sequence[AnswerPart]) -> list[WrittenChoice]:
    """Return the generations of an answer in the order of their choices."""
    choices: dict[int, WrittenChoice] = {}
    for part in parts:
        choices.setdefault(part.choice, WrittenChoice()).add(part)
    return [choices[choice] for choice in sorted(choices)]
