"""Rag: answer a question from what a store knows."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Generator as Producer
from contextlib import closing
from numbers import Integral, Real
from typing import Any, Protocol, cast

from conduit_lab.core.errors import InputError
from conduit_lab.core.spec import Generator
from conduit_lab.core.stage import Stage
from conduit_lab.core.streams.chunk import chunk_text
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.views import figures, html
from conduit_lab.flow.packing import Counting, Packed, pack
from conduit_lab.models.generation.sampling import Sampling
from conduit_lab.models.generation.tainted import TaintedStr, concatenated
from conduit_lab.vectors.search import Mode, Search

UNKNOWN = "I do not know."
# Cosine of the best passage from which on a question is answered, for all-MiniLM-L6-v2 and the
# handbook's chunks. By balanced accuracy on one half of data/questions.csv it would be 0.40 (which
# reaches 0.858 on the other half), on that one 0.375 (0.823 on the first):
# tests/flow/test_threshold.py. To refuse what has an answer is the worse mistake.
MIN_SCORE = 0.38
LONGEST = 10_000  # characters of a question
# questions of a batch that are answered at once: what a generator writes together by default
TOGETHER = 16

_DISTANCES = ("l2", "manhattan")  # the metrics whose scores are better when they are lower
_PLACE = re.compile(r"\{(query|context)\}")

Prompt = str | Sequence[Mapping[str, Any]]
Answer = dict[str, Any]


class Searchable(Protocol):
    """What `Rag` needs of a store."""

    name: str

    @property
    def metric(self) -> str:
        """How vectors are compared."""

    def search(
        self,
        query: Any,
        top_k: int = 5,
        *,
        mode: Any = "dense",
        rerank: Any = None,
    ) -> Any:
        """Return hits, best first, each with `id`, `score`, `content` and `metadata`; `best` as `Hits` has it."""


class Rag(Stage):
    """Retrieve, then generate: a question in, `{"response": …, "sources": […]}` out.

        rag = Rag(handbook, writer, top_k=3, max_tokens=120) rag("How long does a refund take?")
        rag.stream("How long does a refund take?")  # the sources first, then the answer as it is
        written

    The `top_k` best passages of `store`, found as `mode` and `rerank` of its `search` say, are the
    context of `generator.generate(query=, context=)`. `options`, such as `max_tokens`, go to the
    generator. `prompt` takes the place of the generator's own: a text, or the messages of a chat,
    with `{context}` and `{query}` in it. Where the generator tells how much it reads, passages that
    are too much for it are cut at the end of a sentence.

    A source is a hit's metadata with its `id`, its `score`, the `text` that the generator was
    given, and its `span`: where that text begins and ends in its document, or in the entry's
    content, where that is no part of a document: its metadata has no `start` and `end` as far apart
    as the content is long.

    Where the best passage is less similar than `min_score` nothing is generated and the answer is
    "I do not know.", without sources. It is a score of the store's metric, by default none but for
    cosine: `MIN_SCORE`, 0.38, measured with all-MiniLM-L6-v2 on the questions about the handbook.
    It lets 86 % of those through that the handbook answers, and holds 84 % of the others back: 97 %
    of those about other things, 59 % of those that a shop could have answered. Choose your own for
    another embedder; -1 answers always. With mode "lexical" nothing is compared by meaning, so
    there is no threshold. Raises `InputError` for settings with which no question could be
    answered.
    """

    def __init__(
        self,
        store: Searchable,
        generator: Generator,
        *,
        top_k: int = 3,
        prompt: Prompt | None = None,
        mode: str = "hybrid",
        min_score: float | None = None,
        rerank: Any = None,
        name: str = "rag",
        **options: Any,
    ) -> None:
        _check(store, generator, options)
        Search(top_k, mode=cast(Mode, mode), rerank=rerank)  # raises for what no search takes
        if mode != "lexical" and getattr(store, "embedder", store) is None:
            raise InputError(
                f"the store has no embedder, and mode={mode!r} compares embeddings: give it one, "
                "VectorStore(embedder=…), or use mode='lexical'"
            )
        if min_score is not None:
            _check_threshold(min_score, mode)
        self.store = store
        self.generator = generator
        self.top_k = top_k
        self.prompt = None if prompt is None else _checked_prompt(prompt)
        self.mode = mode
        self.min_score = min_score
        self.rerank = rerank
        self.name = name
        self.options = options

    @property
    def threshold(self) -> float | None:
        """The score that the best passage must reach, or None."""
        if self.mode == "lexical":
            return None
        return (
            MIN_SCORE
            if self.min_score is None and self.store.metric == "cosine"
            else self.min_score
        )

    # Work

    def run(self, value: Any) -> Answer:
        """Answer one question, given as text; raises `InputError` for what is no question."""
        question = _question(value)
        sources = self._sources(question)
        return {
            "response": self._response(question, sources).lstrip(),
            "sources": sources,
        }  # many begin with a space

    def stream(self, question: str) -> Stream[dict[str, Any], Answer]:
        """Return a stream of `{"chunk": text, "complete": False}` that begins at once; its result
        is the answer.

        The first chunk has no text and the `sources`, the last one, `complete`, has `response` and
        `sources`. What is no question raises `InputError` here.
        """
        return Stream(self._chunks(_question(question)), name=self.name)

    def batch(self, values: Sequence[Any]) -> list[Answer]:
        """Return one answer for each question; a generator that streams writes them together."""
        questions = [_question(value) for value in values]
        if not hasattr(self.generator, "stream"):  # it may bear one call at a time alone
            return super().batch(questions)
        answers = []
        for start in range(0, len(questions), TOGETHER):
            streams = [self.stream(question) for question in questions[start : start + TOGETHER]]
            try:
                answers += [stream.result() for stream in streams]
            finally:
                for stream in streams:
                    stream.cancel()
        return answers

    async def acall(self, value: Any) -> Answer:
        """Answer from an event loop, which stays free; where the caller is cancelled the writing ends too."""
        stream = self.stream(value)
        try:
            return await stream
        finally:
            stream.cancel()

    def _chunks(self, question: str) -> Producer[dict[str, Any], None, Answer]:
        with recorder.span(self.name, self.kind, self, question) as span:
            sources = self._sources(question)
            yield {"chunk": "", "complete": False, "sources": sources}
            response = ""
            with closing(
                self._written(question, sources)
            ) as texts:  # a trace keeps what is not closed alive
                for text in texts:
                    text = text if response else text.lstrip()
                    if not text:
                        continue
                    response += text
                    yield {"chunk": text, "complete": False}
            answer = {"response": response, "sources": sources}
            if span is not None:
                span.output = answer
            yield {"chunk": "", "complete": True, **answer}
            return answer

    # Retrieving

    def _sources(self, question: str) -> list[dict[str, Any]]:
        """Return the passages to answer from, none where nothing is relevant."""
        with recorder.span("retrieve", "call", self, question) as span:
            hits = [hit for hit in self._hits(question) if hit.content]
            if span is not None:
                span.output = hits
                span.note = figures.plural(len(hits), "passage") if hits else "nothing relevant"
        if not hits:
            return []
        with recorder.span("pack", "call", self) as span:
            packed = pack([hit.content for hit in hits], self._room(question))
            if span is not None:
                span.output = packed
                whole = sum(part.text == hits[part.place].content for part in packed)
                span.note = (
                    f"{whole} whole, {len(packed) - whole} cut, {len(hits) - len(packed)} left out"
                )
        if not packed:
            raise InputError(
                f"the question has {len(question)} characters and leaves no room for a passage in the "
                f"{self.generator.context} tokens of the generator: ask a shorter one"  # type: ignore[attr-defined]
            )
        return [_source(hits[part.place], part) for part in packed]

    def _hits(self, question: str) -> Any:
        """Return the hits, or none where not even the best passage is similar enough."""
        hits = self.store.search(question, top_k=self.top_k, mode=self.mode, rerank=self.rerank)
        # a fused or a reranker's score says which passage is better, and not whether it is any good
        best, threshold = hits.best, self.threshold
        if best is None or threshold is None:
            return hits
        sign = -1 if self.store.metric in _DISTANCES else 1
        return hits if sign * best >= sign * threshold else []

    def _room(self, question: str) -> Callable[[list[str]], bool]:
        """Return what tells whether passages fit beside the question and an answer."""
        generator = self.generator
        if not isinstance(generator, Counting):
            return lambda texts: True
        most = generator.context
        room = most - min(self.options.get("max_tokens", Sampling.max_tokens), most // 2)
        return lambda texts: self._ask(generator.count_tokens, question, texts) <= room

    # Generating

    def _response(self, question: str, sources: Sequence[Mapping[str, Any]]) -> str:
        if not sources:
            return UNKNOWN
        texts = [source["text"] for source in sources]
        if isinstance(self.generator, Stage):  # it records itself
            return self._ask(self.generator.generate, question, texts, **self.options)  # type: ignore[no-any-return]
        with self._generating(question, texts) as span:
            response: str = self._ask(self.generator.generate, question, texts, **self.options)
            if span is not None:
                span.output = response
            return response

    def _written(
        self, question: str, sources: Sequence[Mapping[str, Any]]
    ) -> Producer[str, None, None]:
        """Yield the answer as it is written, or as a whole where the generator does not stream."""
        stream = getattr(self.generator, "stream", None)
        if stream is None or not sources:
            yield self._response(question, sources)
            return
        texts = [source["text"] for source in sources]
        with self._generating(question, texts) as span:
            tokens = self._ask(stream, question, texts, **self.options)
            try:
                for token in tokens:
                    if text := chunk_text(token):
                        yield text
            finally:
                if isinstance(tokens, Producer):
                    tokens.close()
            if isinstance(tokens, Stream):  # raises where somebody else cancelled it
                result = tokens.result()
                if span is not None:
                    span.output, span.note = result, str(getattr(result, "usage", ""))

    def _generating(self, question: str, texts: Sequence[str]) -> Any:
        name = str(getattr(self.generator, "name", type(self.generator).__name__))
        return recorder.span(
            name, "generate", self.generator, {"query": question, "context": texts}
        )

    def _ask(
        self, method: Callable[..., Any], question: str, texts: Sequence[str], **options: Any
    ) -> Any:
        """Call a method of the generator with the question and the passages, in its prompt or in this one's own."""
        if self.prompt is None:
            return method(query=question, context=texts, **options)
        values = {"query": question, "context": "\n\n".join(texts)}
        if isinstance(self.prompt, str):
            return method(_filled(self.prompt, values), **options)
        messages = [
            {**message, "content": _filled(message["content"], values)} for message in self.prompt
        ]
        return method(messages, **options)

    # Showing

    def _facts(self) -> list[str]:
        facts = [
            f"store {getattr(self.store, 'name', type(self.store).__name__)!r}",
            f"generator {getattr(self.generator, 'name', type(self.generator).__name__)!r}",
            f"{self.mode}, top {self.top_k}",
        ]
        if self.rerank is not None:
            facts.append(
                f"reranked by {getattr(self.rerank, 'name', type(self.rerank).__name__)!r}"
            )
        return facts if self.min_score is None else [*facts, f"answers from {self.min_score}"]

    def __repr__(self) -> str:
        return " · ".join([f"Rag {self.name!r}", *self._facts()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return html.bundle(repr(self), html.header("Rag", self.name, self._facts()))


def _question(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"a question is a text, got {type(value).__name__}")
    if not value.strip():
        raise InputError("the question is empty: wanted a text")
    if len(value) > LONGEST:
        raise InputError(f"the question has {len(value)} characters: wanted at most {LONGEST}")
    return value


def _source(hit: Any, part: Packed) -> dict[str, Any]:
    """Return the hit's metadata under what is the source's own, which no metadata replaces."""
    begin = _start(hit.metadata, hit.content)
    own = {"id": hit.id, "score": hit.score}
    return {
        **own,
        **hit.metadata,
        **own,
        "span": [begin, begin + len(part.text)],
        "text": part.text,
    }


def _start(metadata: Mapping[str, Any], content: str) -> int:
    """Return where a chunk begins in its document, 0 for any other entry, whose `start` is the user's own."""
    start, end = metadata.get("start"), metadata.get("end")
    offsets = all(isinstance(at, int) and not isinstance(at, bool) for at in (start, end))
    return start if offsets and start >= 0 and end - start == len(content) else 0  # type: ignore[operator,return-value]


def _check(store: Any, generator: Any, options: Mapping[str, Any]) -> None:
    """Raise `InputError` for parts that do not fit together."""
    for part, name, method in ((store, "store", "search"), (generator, "generator", "generate")):
        if not callable(getattr(part, method, None)):
            raise InputError(f"a Rag expects a {name} with {method}(…), got {type(part).__name__}")
    try:
        inspect.signature(generator.generate).bind(query="", context=[], **options)
    except TypeError as error:
        raise InputError(
            f"{type(generator).__name__}.generate(query=, context=) does not take what this Rag gives it: {error}"
        ) from None
    except ValueError:  # a built-in says nothing of its parameters
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
            "min_score is a similarity, and mode='lexical' compares none: leave it out, or use mode='hybrid'"
        )


def _checked_prompt(prompt: Prompt) -> Prompt:
    """Return a prompt that has both places; `ValueError` for another."""
    messages = [{"content": prompt}] if isinstance(prompt, str) else list(prompt)
    contents = [
        message.get("content") if isinstance(message, Mapping) else None for message in messages
    ]
    if not all(isinstance(content, str) for content in contents):
        raise ValueError("a prompt is a text, or messages that each have a text as content")
    found = {name for content in contents for name in _PLACE.findall(str(content))}
    if found != {"query", "context"}:
        raise ValueError("a prompt wants {query} and {context} in it, where they are put")
    return prompt if isinstance(prompt, str) else messages


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with the values in their places, as data: a value's braces mean nothing."""
    parts: list[str] = []
    done = 0
    for place in _PLACE.finditer(template):
        parts += [template[done : place.start()], TaintedStr(values[place[1]])]
        done = place.end()
    return concatenated([*parts, template[done:]])
