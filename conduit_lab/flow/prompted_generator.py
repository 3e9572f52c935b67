"""PromptedGenerator: a generator with the prompt and options of a `Rag`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Generator as Producer
from contextlib import nullcontext
from typing import Any

from conduit_lab.core.spec import GeneratorProtocol
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.flow.packing import Counting
from conduit_lab.flow.prompt_template import PromptTemplate
from conduit_lab.models.generation.sampling_options import SamplingOptions


class PromptedGenerator:
    """Answers questions from passages; without a template, it uses the generator's own prompt.

    `options`, such as `max_tokens`, are passed to each generation.
    """

    __slots__ = ("_generator", "_options", "_template")

    def __init__(
        self,
        generator: GeneratorProtocol,
        template: PromptTemplate | None,
        options: Mapping[str, Any],
    ) -> None:
        self._generator = generator
        self._template = template
        self._options = options

    def text(self, question: str, passages: Sequence[str]) -> str:
        """Return a complete answer."""
        write = self._generator.generate
        if isinstance(self._generator, Stage):  # it records its own span
            return self._ask(write, question, passages, **self._options)  # type: ignore[no-any-return]
        with self._span(question, passages) as span:
            answer: str = self._ask(write, question, passages, **self._options)
            if span is not None:
                span.output = answer
            return answer

    def chunks(self, question: str, passages: Sequence[str]) -> Producer[Any, None, None]:
        """Yield the generator's chunks; the whole text if it does not stream."""
        stream = getattr(self._generator, "stream", None)
        if stream is None:
            yield self.text(question, passages)
            return
        is_stage = isinstance(self._generator, Stage)
        with nullcontext() if is_stage else self._span(question, passages) as span:
            tokens = self._ask(stream, question, passages, **self._options)
            try:
                yield from tokens
            finally:
                if isinstance(tokens, Producer):
                    tokens.close()
            if isinstance(tokens, Stream):  # raises if it was cancelled elsewhere
                result = tokens.result()
                if span is not None:
                    span.output = result

    def tokens(self, question: str, passages: Sequence[str]) -> int:
        """Return the number of tokens of a prompt; 0 if the generator does not count them."""
        count = getattr(self._generator, "count_tokens", None)
        return 0 if count is None else int(self._ask(count, question, passages))

    def fits(self, question: str) -> Callable[[list[str]], bool]:
        """Return a predicate: whether passages fit beside the question and an answer."""
        generator = self._generator
        if not isinstance(generator, Counting):
            return lambda passages: True
        context = generator.context
        answer = self._options.get("max_tokens", SamplingOptions.max_tokens)
        room = context - min(answer, context // 2)
        return lambda passages: self._ask(generator.count_tokens, question, passages) <= room

    def _span(self, question: str, passages: Sequence[str]) -> Any:
        name = str(getattr(self._generator, "name", type(self._generator).__name__))
        return recorder.span(
            name, "generate", self._generator, {"query": question, "context": passages}
        )

    def _ask(
        self, method: Callable[..., Any], question: str, passages: Sequence[str], **options: Any
    ) -> Any:
        """Call a method of the generator with the question and the passages."""
        if self._template is None:
            return method(query=question, context=passages, **options)
        return self._template.call(method, question, "\n\n".join(passages), **options)
