"""Rag: answer a question from passages retrieved from a store."""

from __future__ import annotations

import inspect
import math
from collections.abc import Coroutine, Mapping, Sequence
from collections.abc import Generator as Producer
from contextlib import closing
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol, cast

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import GeneratorProtocol
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.chunk import chunk_text
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import View, figures
from conduit_lab.core.views.viewed import Viewed
from conduit_lab.flow.answer_stream import AnswerDraft, AnswerStream
from conduit_lab.flow.cited_answer import CitedAnswer, RagAnswer, passage_source
from conduit_lab.flow.packing import pack
from conduit_lab.flow.prompt_template import PromptTemplate, TemplateText
from conduit_lab.flow.prompted_generator import PromptedGenerator
from conduit_lab.vectors.search import Mode, Search

UNKNOWN_ANSWER = "I do not know."
# Cosine threshold for the best passage, for all-MiniLM-L6-v2 and the chunks of the handbook.
# Maximizing balanced accuracy on one half of data/questions.csv gives 0.40 (0.858 on the other
# half), on the other half 0.375 (0.823 on the first): tests/flow/test_threshold.py. Refusing an
# answerable question is the worse mistake.
MIN_SCORE = 0.38
MAX_QUESTION_CHARACTERS = 10_000
BATCH_QUESTIONS = 16  # answered concurrently; a generator's default batch size

_DISTANCES = ("l2", "manhattan")  # metrics for which lower is better


class Searchable(Protocol):
    """The parts of a store's interface that `Rag` uses."""

    name: str

    @property
    def metric(self) -> str:
        """How vectors are compared."""

    def search(self, query: Any, top_k: int = 5, *, mode: Any = "dense", rerank: Any = None) -> Any:
        """Return hits, best first, with `id`, `score`, `content`, `metadata`, and their `best`."""


class Rag(Viewed, Stage):
    """Retrieve, then generate: a question in, `{"response": …, "sources": […]}` out.

        rag = Rag(handbook, writer, top_k=3, max_tokens=120)
        rag("How long does a refund take?")
        rag.stream("How long does a refund take?")  # the sources first, then the text

    The `top_k` best passages of `store`, searched with `mode` and `rerank`, are the context of
    `generator.generate(query=, context=)`. `options`, such as `max_tokens`, are passed to the
    generator. `prompt` replaces the generator's own prompt: a text, or the messages of a chat, that
    contains `{context}` and `{query}`. Passages that exceed the generator's context are cut at the
    end of a sentence.

    A source is a hit's metadata with its `id`, its `score`, the `text` passed to the generator, and
    its `span`: the start and end of that text in its document. For an entry that is not part of a
    document (its metadata lacks a `start` and `end` that match the content's length), the span
    refers to the entry's content.

    If the best passage scores below `min_score`, nothing is generated and the answer is "I do not
    know.", without sources. The score is the store's metric. The default is `MIN_SCORE`, 0.38, for
    cosine and none for other metrics. It was measured with all-MiniLM-L6-v2 on the questions about
    the handbook: 86 % of the answerable questions pass, and 84 % of the others are rejected (97 %
    of those about other subjects, 59 % of those that a shop could have answered). Choose your own
    for another embedder; -1 always answers. Mode "lexical" does not compare embeddings, so it has
    no threshold. Raises `InputError` for settings that cannot work.
    """

    def __init__(
        self,
        store: Searchable,
        generator: GeneratorProtocol,
        *,
        top_k: int = 3,
        prompt: TemplateText | None = None,
        mode: str = "hybrid",
        min_score: float | None = None,
        rerank: Any = None,
        name: str = "rag",
        **options: Any,
    ) -> None:
        _check(store, generator, options)
        Search(top_k, mode=cast(Mode, mode), rerank=rerank)  # raises for invalid settings
        if mode != "lexical" and getattr(store, "embedder", store) is None:
            raise InputError(
                f"the store has no embedder, and mode={mode!r} compares embeddings: pass one, "
                "VectorStore(embedder=…), or use mode='lexical'"
            )
        if min_score is not None:
            _check_threshold(min_score, mode)
        self.store = store
        self.generator = generator
        self.top_k = top_k
        self._template = None if prompt is None else PromptTemplate(prompt)
        self.mode = mode
        self.min_score = min_score
        self.rerank = rerank
        self.name = name
        self.options = options

    @property
    def children(self) -> tuple[Stage, ...]:
        """The reranker and the generator, if they are stages."""
        return tuple(part for part in (self.rerank, self.generator) if isinstance(part, Stage))

    @property
    def revision(self) -> Any:
        """The version of the store, which grows with every change; None if it has none."""
        return getattr(self.store, "version", None)

    @property
    def prompt(self) -> TemplateText | None:
        """The prompt that replaces the generator's own, or None."""
        return None if self._template is None else self._template.template

    @property
    def threshold(self) -> float | None:
        """The score that the best passage must reach, or None."""
        if self.mode == "lexical":
            return None
        if self.min_score is None and self.store.metric == "cosine":
            return MIN_SCORE
        return self.min_score

    # Work

    if TYPE_CHECKING:

        def __call__(self, value: str) -> RagAnswer:
            """Answer one question."""

    def run(self, value: Any) -> RagAnswer:
        """Answer one question; raises `InputError` for anything but a non-empty text."""
        question = _question(value)
        found = self._found(question)
        sources = found["sources"]
        # generated text often begins with a space
        found["response"] = self._response(question, sources).lstrip()
        return cast(RagAnswer, found)

    def stream(self, question: str, /) -> AnswerStream:
        """Return a stream of `{"chunk": text, "complete": False}`; its result is the answer.

        It starts immediately. The first chunk has no text but the `sources`; the last one,
        `complete`, has `response` and `sources`. Raises `InputError` for anything but a non-empty
        text.
        """
        draft = AnswerDraft(_question(question))
        return AnswerStream(self._chunks(question, draft), draft)

    def prompt_tokens(self, answer: CitedAnswer) -> int:
        """Return the number of tokens of an answer's prompt; 0 without sources or if unknown."""
        sources = answer.get("sources", ())
        return self._writer.tokens(answer.question, _texts(sources)) if sources else 0

    def batch(self, values: Sequence[Any]) -> list[RagAnswer]:
        """Return one answer per question; a generator that streams decodes them as a batch."""
        questions = [_question(value) for value in values]
        if not hasattr(self.generator, "stream"):  # it may accept only one call at a time
            return super().batch(questions)
        answers = []
        for start in range(0, len(questions), BATCH_QUESTIONS):
            streams = [
                self.stream(question) for question in questions[start : start + BATCH_QUESTIONS]
            ]
            try:
                answers += [stream.result() for stream in streams]
            finally:
                for stream in streams:
                    stream.cancel()
        return answers

    def acall(self, value: Any) -> Coroutine[Any, Any, RagAnswer]:
        """Answer from an event loop; the awaited stream records the span."""
        return self.arun(value)

    async def arun(self, value: Any) -> RagAnswer:
        """Answer from an event loop; cancelling the caller also cancels the generation."""
        stream = self.stream(value)
        try:
            return await stream
        finally:
            stream.cancel()

    def _chunks(
        self, question: str, draft: AnswerDraft
    ) -> Producer[dict[str, Any], None, RagAnswer]:
        with recorder.span(self.name, self.kind, self, question) as span:
            found = self._found(question)
            sources = found["sources"]
            draft.found = found
            yield {"chunk": "", "complete": False, "sources": sources}
            response = ""
            # an unclosed generator would be kept alive by a trace
            with closing(self._written(question, sources)) as chunks:
                for chunk in chunks:
                    text = chunk_text(chunk)
                    text = text if response else text.lstrip()
                    draft.add(chunk, text)
                    if not text:
                        continue
                    response += text
                    yield {"chunk": text, "complete": False}
            found["response"] = response
            answer = cast(RagAnswer, found)
            if span is not None:
                span.output = answer
            yield {"chunk": "", "complete": True, **answer}
            return answer

    # Retrieving

    def _found(self, question: str) -> CitedAnswer:
        """Return an answer without text: the passages to answer from, if any is relevant."""
        with recorder.span("retrieve", "call", self, question) as span:
            found = self.store.search(
                question, top_k=self.top_k, mode=self.mode, rerank=self.rerank
            )
            hits = [hit for hit in found if hit.content] if self._is_relevant(found) else []
            if span is not None:
                span.output = hits
                span.annotate(
                    detail=figures.plural(len(hits), "passage") if hits else "nothing relevant"
                )
        best = found.best
        if not hits:
            return CitedAnswer("", [], question, best, self.threshold)
        with recorder.span("pack", "call", self) as span:
            packed = pack([hit.content for hit in hits], self._writer.fits(question))
            if span is not None:
                span.output = packed
                whole = sum(part.text == hits[part.place].content for part in packed)
                cut, out = len(packed) - whole, len(hits) - len(packed)
                span.annotate(detail=f"{whole} whole, {cut} cut, {out} left out")
        if not packed:
            raise InputError(
                f"the question has {len(question)} characters, leaving no room for a passage in "
                f"the {self.generator.context} tokens of the generator: ask a shorter one"  # type: ignore[attr-defined]
            )
        sources = [passage_source(hits[part.place], part) for part in packed]
        return CitedAnswer(
            "", sources, question, best, self.threshold, self._similarities(found, sources)
        )

    def _similarities(self, hits: Any, sources: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return the known cosine similarities of the sources by id."""
        if self.store.metric != "cosine":
            return {}
        if self.mode == "dense" and self.rerank is None:
            return {source["id"]: source["score"] for source in sources}
        known = getattr(hits, "similarities", {})
        return {source["id"]: known[source["id"]] for source in sources if source["id"] in known}

    def _is_relevant(self, hits: Any) -> bool:
        """Return whether the best passage reaches the threshold."""
        # a fused or reranked score orders passages, but does not show whether any is relevant
        best, threshold = hits.best, self.threshold
        if best is None or threshold is None:
            return True
        sign = -1 if self.store.metric in _DISTANCES else 1
        return bool(sign * best >= sign * threshold)

    # Generating

    @property
    def _writer(self) -> PromptedGenerator:
        return PromptedGenerator(self.generator, self._template, self.options)

    def _response(self, question: str, sources: Sequence[Mapping[str, Any]]) -> str:
        return self._writer.text(question, _texts(sources)) if sources else UNKNOWN_ANSWER

    def _written(
        self, question: str, sources: Sequence[Mapping[str, Any]]
    ) -> Producer[Any, None, None]:
        if sources:
            yield from self._writer.chunks(question, _texts(sources))
        else:
            yield UNKNOWN_ANSWER

    # Showing

    def _view(self) -> View:
        facts = [
            f"store {_name(self.store)!r}",
            f"generator {_name(self.generator)!r}",
            f"{self.mode}, top {self.top_k}",
        ]
        if self.rerank is not None:
            facts.append(f"reranked by {_name(self.rerank)!r}")
        if self.min_score is not None:
            facts.append(f"answers from {self.min_score}")
        return View("Rag", self.name, facts)


def _texts(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    return [source["text"] for source in sources]


def _name(part: Any) -> str:
    return str(getattr(part, "name", type(part).__name__))


def _question(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"a question is a text, got {type(value).__name__}")
    if not value.strip():
        raise InputError("the question is empty: expected a text")
    if len(value) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"the question has {len(value)} characters: expected at most {MAX_QUESTION_CHARACTERS}"
        )
    return value


def _check(store: Any, generator: Any, options: Mapping[str, Any]) -> None:
    """Raise `InputError` for parts that do not fit together."""
    for part, name, method in ((store, "store", "search"), (generator, "generator", "generate")):
        if not callable(getattr(part, method, None)):
            raise InputError(
                f"a Rag expects a {name} with {method}(…), got {type(part).__name__}: "
                'Rag(store, load_model("path/to/writer")), with a VectorStore and a Generator'
            )
    try:
        inspect.signature(generator.generate).bind(query="", context=[], **options)
    except TypeError as error:
        raise InputError(
            f"{type(generator).__name__}.generate(query=, context=) does not accept the "
            f"arguments of this Rag: {error}"
        ) from None
    except ValueError:  # a built-in has no signature
        pass
    tokens = options.get("max_tokens", 1)
    if isinstance(tokens, bool) or not isinstance(tokens, Integral) or tokens < 1:
        raise InputError(f"max_tokens is a whole number of at least 1, got {tokens!r}")


def _check_threshold(min_score: Any, mode: str) -> None:
    if (
        isinstance(min_score, bool)
        or not isinstance(min_score, Real)
        or not math.isfinite(min_score)
    ):
        raise InputError(f"min_score is a finite number, got {min_score!r}")
    if mode == "lexical":
        raise InputError(
            "min_score is a similarity, and mode='lexical' compares none: leave it out, or use "
            "mode='hybrid'"
        )
