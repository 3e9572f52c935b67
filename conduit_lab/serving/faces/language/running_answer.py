"""RunningAnswer: one text generation request in progress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from conduit_lab.core.streams.stream import Stream
from conduit_lab.serving.faces.exchange import Exchange
from conduit_lab.serving.faces.formats import EventFormat
from conduit_lab.serving.faces.language.answer_parts import AnswerPart, PartReader
from conduit_lab.serving.faces.language.served_models import (
    ServedModel,
    TextRequest,
    TokenCounts,
    named_model,
    text_models,
)


class RunningAnswer:
    """One text generation request in progress on `model`; `reader` converts its chunks."""

    def __init__(
        self, exchange: Exchange, model: ServedModel, request: TextRequest, stream: Any
    ) -> None:
        self.id = exchange.context.id
        self.model = model
        self.reader = PartReader(model, request, exchange.base_url, exchange.context.caller)
        self._exchange = exchange
        self._stream: Stream[Any, Any] = stream

    def usage(self) -> TokenCounts:
        """Return the token counts so far."""
        usage: Any = self.model.usage
        counts: TokenCounts = usage(self._stream)
        return counts

    def stop_sequence(self) -> str | None:
        """Return the stop sequence that ended the generation, or None."""
        find = getattr(self._stream, "stop_sequence", None)
        return None if find is None else find(0)

    async def send(self, format: EventFormat) -> None:
        """Send the answer as a stream of events."""
        await self._exchange.send_stream(self._stream, format)

    async def parts(self) -> list[AnswerPart]:
        """Wait for the complete answer."""
        result = await self._exchange.result(self._stream)
        return self.reader.read_all(self._stream, result)


@asynccontextmanager
async def running_answer(
    exchange: Exchange, name: str, request: TextRequest, *, streamed: bool
) -> AsyncIterator[RunningAnswer]:
    """Start a generation on the named model; count its tokens on exit."""
    model = named_model(text_models(exchange.context), name, "model")
    stream: Stream[Any, Any] = await exchange.start(
        model.start, request, of=name, streamed=streamed
    )
    answer = RunningAnswer(exchange, model, request, stream)
    try:
        yield answer
    finally:
        counts = answer.usage()
        exchange.context.count_tokens(counts.prompt, counts.generated)
