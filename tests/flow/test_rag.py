"""Answers from what a store knows: found, packed, written, with their sources."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

from conduit_lab.core.errors import InputError, ModelRunError
from conduit_lab.core.spec import FloatArray
from conduit_lab.core.streams.stream import Stream
from conduit_lab.core.trace import recorder
from conduit_lab.core.trace.span_facts import remarks
from conduit_lab.core.trace.trace import Trace
from conduit_lab.flow.cited_answer import CitedAnswer
from conduit_lab.flow.rag import (
    BATCH_QUESTIONS,
    MAX_QUESTION_CHARACTERS,
    MIN_SCORE,
    UNKNOWN_ANSWER,
    Rag,
)
from conduit_lab.models.callable import CallableModel
from conduit_lab.models.generation.generator import Generator
from conduit_lab.vectors.store import VectorStore

WRITER = Path(__file__).parents[1] / "models" / "generation" / "decoders" / "llama"
TOPICS = ("refund", "kettle", "parcel")
DOCUMENT = "# Refunds\n\nA refund takes five days. Then the bank needs three more."


class Topics:
    """How often a text has each of three words; a text with none of them is like nothing."""

    dimension = 3

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            return np.array([texts.lower().count(topic) for topic in TOPICS], np.float32)
        return np.stack([self.encode(text) for text in texts])


class Echo:
    """Answers with what it was given."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def generate(
        self, prompt: Any = None, *, query: Any = None, context: Sequence[str] = (), **options: Any
    ) -> str:
        self.asked.append((prompt, query, list(context), options))
        return f"{query}: {' | '.join(context)}" if prompt is None else str(prompt)


class Speaker(Echo):
    """Answers word by word."""

    def stream(self, prompt: Any = None, **given: Any) -> Iterator[str]:
        for word in self.generate(prompt, **given).split(" "):
            yield f"{word} "


class First:
    """Finds the passage best that comes first in the alphabet."""

    name = "first"

    def score(self, query: str, passages: Sequence[str]) -> FloatArray:
        return -np.argsort(np.argsort(passages)).astype(np.float32)


@pytest.fixture
def store() -> Iterator[VectorStore]:
    with VectorStore(embedder=Topics(), name="handbook") as store:
        store.add("refunds#0", None, {"section": "returns", "start": 11, "end": 68}, DOCUMENT[11:])
        store.add("kettles#0", None, {"section": "products"}, "A kettle is descaled once a month.")
        store.add(
            "parcels#0",
            None,
            {"section": "delivery"},
            "A parcel takes three days, a kettle in it or not.",
        )
        yield store


@pytest.fixture
def writer() -> Iterator[Generator]:
    writer = Generator(WRITER, device="cpu", name="writer")
    yield writer
    writer.unload()


def spans(recorded: Trace) -> list[str]:
    return [span.name for span in recorded]


# What it answers


def test_the_best_passages_are_what_it_answers_from_and_its_sources(store: VectorStore) -> None:
    got = Rag(store, Echo(), top_k=1)("How long does a refund take?")
    assert got == {
        "response": f"How long does a refund take?: {DOCUMENT[11:]}",
        "sources": [
            {
                "id": "refunds#0",
                "score": pytest.approx(got["sources"][0]["score"]),
                "section": "returns",
                "start": 11,
                "end": 68,
                "span": [11, len(DOCUMENT)],
                "text": DOCUMENT[11:],
            }
        ],
    }


def test_a_span_is_of_the_content_where_the_entry_does_not_say_where_it_starts(
    store: VectorStore,
) -> None:
    source = Rag(store, Echo(), top_k=1, mode="dense")("kettle")["sources"][0]
    assert source["span"] == [0, len("A kettle is descaled once a month.")]


@pytest.mark.parametrize(
    "own",
    [
        {"start": 2024},
        {"start": 2024, "end": 2025},
        {"start": 12.5, "end": 39.5},
        {"start": "5", "end": "32"},
        {"start": True, "end": 28},
        {"start": -7, "end": 20},
        {"start": None, "end": 27},
        {"start": [5], "end": [32]},
        {"end": 27},
    ],
    ids=str,
)
@pytest.mark.parametrize("id", ["a", "a#0"])
def test_a_start_of_the_users_own_moves_no_span(own: dict[str, Any], id: str) -> None:
    with VectorStore(embedder=Topics()) as store:
        store.add(id, None, own, "A kettle is a kettle, yes. ")
        [source] = Rag(store, Echo(), mode="dense")("kettle")["sources"]
    assert source["span"] == [0, 27]
    assert {key: source[key] for key in own} == own


def test_metadata_cannot_replace_what_is_a_sources_own(store: VectorStore) -> None:
    forged = {"id": "forged", "score": 9, "span": "forged", "text": "forged", "page": 3}
    store.add("true", None, forged, "Kettle, kettle, refund.")
    source = Rag(store, Echo(), top_k=1)("kettle kettle refund")["sources"][0]
    assert (source["id"], source["page"]) == ("true", 3)
    assert (source["span"], source["text"]) == ([0, 23], "Kettle, kettle, refund.")
    assert source["score"] != 9


def test_it_does_not_know_what_nothing_is_similar_to(store: VectorStore) -> None:
    echo = Echo()
    answer = Rag(store, echo)("What is the capital of France?")
    assert (answer["response"], answer["sources"]) == (UNKNOWN_ANSWER, [])
    assert echo.asked == []


def test_it_does_not_know_where_the_best_is_less_similar_than_wanted(store: VectorStore) -> None:
    question = "kettle refund parcel"  # 0.577 to what is about one of them, 0.816 about two
    assert Rag(store, Echo(), min_score=0.8)(question)["response"] != UNKNOWN_ANSWER
    assert Rag(store, Echo(), min_score=0.83)(question)["response"] == UNKNOWN_ANSWER


def test_every_question_is_answered_from_the_lowest_similarity_on(store: VectorStore) -> None:
    assert Rag(store, Echo(), mode="dense", min_score=-1)("Paris?")["response"] != UNKNOWN_ANSWER


def test_an_empty_store_knows_nothing() -> None:
    with VectorStore(embedder=Topics()) as store:
        assert Rag(store, Echo())("kettle")["response"] == UNKNOWN_ANSWER


def test_entries_without_text_answer_nothing() -> None:
    with VectorStore(embedder=Topics()) as store:
        store.add("bare", [0, 1, 0])
        assert Rag(store, Echo(), mode="dense")("kettle")["response"] == UNKNOWN_ANSWER


def test_words_alone_find_without_an_embedder_and_without_a_threshold() -> None:
    with VectorStore(3) as store:
        store.add("kettle", [0, 1, 0], content="Kettles are descaled once a month.")
        rag = Rag(store, Echo(), mode="lexical")
        assert rag("descaled?")["response"] == "descaled?: Kettles are descaled once a month."
        assert rag("Paris")["response"] == UNKNOWN_ANSWER


def test_a_threshold_of_its_own_goes_with_the_cosine_alone() -> None:
    topics = Topics()
    with VectorStore(embedder=topics) as cosine, VectorStore(metric="l2", embedder=topics) as l2:
        assert (Rag(cosine, Echo()).threshold, Rag(l2, Echo()).threshold) == (MIN_SCORE, None)
        assert Rag(l2, Echo(), min_score=2.0).threshold == 2.0
        assert Rag(cosine, Echo(), mode="lexical").threshold is None


@pytest.mark.parametrize(
    ("metric", "reached", "missed"), [("dot", 1.9, 2.1), ("l2", 1.1, 0.9), ("manhattan", 1.1, 0.9)]
)
def test_a_threshold_is_a_score_of_the_stores_metric(
    metric: str, reached: float, missed: float
) -> None:
    with VectorStore(metric=metric, embedder=Topics()) as store:
        store.add("kettle", content="A kettle.")
        answers = [
            Rag(store, Echo(), mode="dense", min_score=score)("kettle, kettle")
            for score in (reached, missed)
        ]
        assert [bool(answer["sources"]) for answer in answers] == [True, False]


def test_a_reranker_has_the_last_word(store: VectorStore) -> None:
    found = [
        Rag(store, Echo(), top_k=2, mode="dense", rerank=reranker)("parcel kettle")["sources"]
        for reranker in (None, First())
    ]
    assert [[source["id"] for source in sources] for sources in found] == [
        ["parcels#0", "kettles#0"],
        ["kettles#0", "parcels#0"],
    ]


@pytest.mark.parametrize(
    "question",
    ["", " \n", None, 3, ["kettle"], b"kettle", "k" * (MAX_QUESTION_CHARACTERS + 1), "k" * 10**7],
)
def test_what_is_no_question_is_refused(store: VectorStore, question: Any) -> None:
    echo = Echo()
    rag = Rag(store, echo)
    for ask in (rag, rag.stream, lambda value: rag.batch(["kettle", value])):
        with pytest.raises(InputError, match="question"):
            ask(question)
    assert echo.asked == []


# What the generator is asked


def test_options_go_to_the_generator(store: VectorStore) -> None:
    echo = Echo()
    Rag(store, echo, max_tokens=9, stop=["\n"])("kettle")
    assert echo.asked[0][3] == {"max_tokens": 9, "stop": ["\n"]}


def test_a_prompt_takes_the_place_of_the_generators(store: VectorStore) -> None:
    store.add("braces", None, {}, "Kettle {query} {context} {0}, kettle refund.")
    rag = Rag(store, Echo(), top_k=1, prompt="F: {context}\nQ: {query} {x}\nA:")
    wanted = (
        "F: Kettle {query} {context} {0}, kettle refund.\nQ: {context} kettle kettle refund {x}\nA:"
    )
    assert rag("{context} kettle kettle refund")["response"] == wanted


def test_a_prompt_may_be_a_chat(store: VectorStore) -> None:
    chat = [
        {"role": "system", "content": "Say what is here: {context}"},
        {"role": "user", "content": "{query}"},
    ]
    echo = Echo()
    Rag(store, echo, top_k=1, prompt=chat)("refund")
    assert echo.asked[0][0] == [
        {"role": "system", "content": f"Say what is here: {DOCUMENT[11:]}"},
        {"role": "user", "content": "refund"},
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        *("", "{query}", "{context}", [], [{"role": "user"}], ["{query} {context}"]),
        *([{"content": 3}], [{"content": "{query} {context}"}, {"content": 3}]),
    ],
)
def test_a_prompt_without_its_places_is_refused_when_it_is_made(
    store: VectorStore, prompt: Any
) -> None:
    with pytest.raises(ValueError, match="a prompt"):
        Rag(store, Echo(), prompt=prompt)


# Settings


class Named:
    """A generator whose options are known."""

    def generate(self, query: str, context: Sequence[str], max_tokens: int = 9) -> str:
        return f"{len(context)} of {max_tokens}"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "fuzzy"}, "mode is one of dense, lexical, hybrid, got 'fuzzy'"),
        ({"mode": None}, "mode is one of"),
        ({"top_k": 0}, "top_k is a whole number from 1"),
        ({"top_k": 2.5}, "top_k is a whole number from 1"),
        ({"top_k": True}, "top_k is a whole number from 1"),
        ({"top_k": 10_001}, "top_k is a whole number from 1"),
        ({"min_score": "0.5"}, "min_score is a finite number, got '0.5'"),
        ({"min_score": float("nan")}, "min_score is a finite number, got nan"),
        ({"min_score": -np.inf}, "min_score is a finite number, got -inf"),
        ({"min_score": True}, "min_score is a finite number, got True"),
        ({"min_score": [0.5]}, r"min_score is a finite number, got \[0.5\]"),
        (
            {"min_score": 0.5, "mode": "lexical"},
            "min_score is a similarity, and mode='lexical' compares none",
        ),
        ({"rerank": 5}, r"rerank expects a model with score\(query, passages\)"),
        ({"rerank": "cross-encoder"}, r"rerank expects a model with score\(query, passages\)"),
        ({"max_tokens": 0}, "max_tokens is a whole number of at least 1, got 0"),
        ({"max_tokens": "9"}, "max_tokens is a whole number of at least 1, got '9'"),
        ({"max_token": 9}, "Named.generate.* does not accept .* 'max_token'"),
        ({"where": {"section": "a"}}, "Named.generate.* does not accept .* 'where'"),
    ],
    ids=str,
)
def test_settings_that_answer_no_question_are_refused_where_they_are_made(
    store: VectorStore, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        Rag(store, Named(), **settings)


def test_parts_that_cannot_work_are_refused_where_they_are_put_together(store: VectorStore) -> None:
    parts: Any = "a store"
    with pytest.raises(InputError, match=r"a Rag expects a store with search\(…\), got str"):
        Rag(parts, Echo())
    with pytest.raises(InputError, match=r"a Rag expects a generator with generate\(…\), got str"):
        Rag(store, parts)
    classifier: Any = CallableModel(lambda _: np.array([0.5, 0.5]), labels=["a", "b"])
    with pytest.raises(InputError, match=r'got CallableModel: Rag\(store, load_model\("'):
        Rag(store, classifier)
    with VectorStore(3) as bare:
        for mode in ("dense", "hybrid"):
            with pytest.raises(
                InputError,
                match=f"the store has no embedder, and mode='{mode}' compares embeddings",
            ):
                Rag(bare, Echo(), mode=mode)
        Rag(bare, Echo(), mode="lexical")


def test_a_store_is_not_opened_to_check_settings(tmp_path: Path) -> None:
    lazy = VectorStore(3, path=tmp_path / "none.db", embedder=Topics(), lazy=True)
    score: Any = np.float32(0.5)
    Rag(lazy, Echo(), min_score=score)
    assert not (tmp_path / "none.db").exists()


def test_what_a_reranker_returns_is_checked(store: VectorStore) -> None:
    class Short:
        name = "short"

        def score(self, query: str, passages: Sequence[str]) -> FloatArray:
            return np.zeros(len(passages) - 1, np.float32)

    with pytest.raises(
        ModelRunError,
        match=r"reranker 'short' returned float32 \[2\], expected one number per passage",
    ):
        Rag(store, Echo(), rerank=Short())("a kettle, a refund")


def test_showing_it_never_raises(store: VectorStore) -> None:
    rag = Rag(store, Echo())
    wrong: Any = object()
    rag.min_score = rag.store = wrong
    assert "answers from <object" in repr(rag)
    assert "store &#x27;object&#x27;" in rag._repr_mimebundle_()["text/html"]


# What there is room for


def test_passages_are_cut_to_what_the_generator_reads(writer: Generator) -> None:
    passage = " ".join(f"Refund number {place} takes five days." for place in range(12))
    with VectorStore(embedder=Topics()) as store:
        store.add("long", None, {"start": 100, "end": 100 + len(passage)}, passage)
        store.add("short", None, {}, "A refund is a refund.")
        got = Rag(store, writer, top_k=2, max_tokens=20)("refund?")
    source = got["sources"][0]
    assert source["span"] == [100, 100 + len(source["text"])]
    assert passage.startswith(source["text"])
    assert source["text"].endswith(" takes five days.")
    asked = writer.count_tokens(
        query="refund?", context=[source["text"] for source in got["sources"]]
    )
    assert 200 < asked <= writer.context - 20
    assert got["response"]


def test_the_question_is_not_cut(store: VectorStore, writer: Generator) -> None:
    with pytest.raises(InputError, match="no room for a passage in the 256 tokens"):
        Rag(store, writer)("refund " * 100)


def test_the_room_is_that_of_its_own_prompt(store: VectorStore, writer: Generator) -> None:
    rag = Rag(store, writer, prompt="word " * 30 + "{context} {query}", max_tokens=20)
    texts = [source["text"] for source in rag("refund")["sources"]]
    assert writer.count_tokens("word " * 30 + "\n\n".join(texts) + " refund") <= writer.context - 20


# As it is written


def test_a_stream_gives_the_sources_then_the_text_then_the_answer(
    store: VectorStore, writer: Generator
) -> None:
    rag = Rag(store, writer, top_k=1, max_tokens=12)
    stream = rag.stream("refund")
    answer = stream.result()
    first, *middle, last = stream.kept
    assert answer == rag("refund")
    assert first == {"chunk": "", "complete": False, "sources": answer["sources"]}
    assert "".join(chunk["chunk"] for chunk in middle) == answer["response"] == stream.text
    assert {chunk["complete"] for chunk in middle} == {False}
    assert last == {"chunk": "", "complete": True, **answer}


@pytest.mark.parametrize("generator", [Echo(), Speaker()])
def test_any_generator_streams(store: VectorStore, generator: Any) -> None:
    chunks = list(Rag(store, generator, top_k=1).stream("refund"))
    assert len(chunks) == 3 if type(generator) is Echo else len(chunks) > 9
    assert chunks[-1]["response"].strip() == f"refund: {DOCUMENT[11:]}"


def test_a_stream_says_that_it_does_not_know(store: VectorStore) -> None:
    chunks = list(Rag(store, Echo()).stream("Paris?"))
    assert [chunk["chunk"] for chunk in chunks] == ["", UNKNOWN_ANSWER, ""]
    assert chunks[-1] == {"chunk": "", "complete": True, "response": UNKNOWN_ANSWER, "sources": []}


def test_a_cancelled_stream_ends_the_writing(store: VectorStore, writer: Generator) -> None:
    writing = []

    class Watched:
        def generate(self, **given: Any) -> str:
            raise AssertionError("it streams")

        def stream(self, **given: Any) -> Stream[Any]:
            writing.append(writer.stream(**given))
            return writing[0]

    stream = Rag(store, Watched(), top_k=1, max_tokens=200, logit_bias={0: -99.0, 2: -99.0}).stream(
        "refund"
    )
    reader = iter(stream)
    while not next(reader)["chunk"]:
        pass
    stream.cancel()
    writing[0].wait(10)
    assert (stream.state, writing[0].state) == ("cancelled", "cancelled")


def test_a_cancelled_stream_closes_a_plain_generator_under_a_trace_too(store: VectorStore) -> None:
    closed = threading.Event()

    class Endless(Echo):
        def stream(self, **given: Any) -> Iterator[str]:
            try:
                while True:
                    yield "more "
                    sleep(0.001)  # a slow reader must not lag
            finally:
                closed.set()

    with recorder.record("cell") as recorded:
        stream = Rag(store, Endless()).stream("refund")
        reader = iter(stream)
        while not next(reader)["chunk"]:
            pass
        stream.cancel()
        assert closed.wait(10)
    assert recorded["Endless"].error is not None  # which holds on to what ran


def test_an_error_of_the_generator_is_the_streams(store: VectorStore) -> None:
    class Broken(Echo):
        def stream(self, **given: Any) -> Iterator[str]:
            yield "begun"
            raise RuntimeError("no power")

    stream = Rag(store, Broken()).stream("refund")
    with pytest.raises(RuntimeError, match="no power"):
        stream.result()


# Many, and from an event loop


def test_a_batch_is_each_answer_in_order(store: VectorStore, writer: Generator) -> None:
    rag = Rag(store, writer, top_k=1, max_tokens=5)
    questions = ["refund", "Paris?", "kettle", "parcel"] * (BATCH_QUESTIONS // 2)
    assert rag.batch(questions) == [rag(question) for question in questions]
    assert rag.batch([]) == []


def test_a_generator_that_does_not_stream_is_asked_one_by_one(store: VectorStore) -> None:
    echo = Echo()
    Rag(store, echo, top_k=1).batch(["refund", "kettle"])
    assert [asked[1] for asked in echo.asked] == ["refund", "kettle"]


def test_an_event_loop_gets_the_same_answers(store: VectorStore, writer: Generator) -> None:
    rag = Rag(store, writer, top_k=1, max_tokens=5)

    async def ask() -> list[Any]:
        return list(await asyncio.gather(rag.acall("refund"), rag.acall("kettle")))

    assert asyncio.run(ask()) == [rag("refund"), rag("kettle")]


def test_a_task_that_is_cancelled_ends_the_writing(store: VectorStore) -> None:
    class Endless(Echo):
        ended = False

        def stream(self, **given: Any) -> Iterator[str]:
            try:
                while True:
                    yield "more "
            finally:
                self.ended = True

    endless = Endless()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Rag(store, endless).acall("refund")
        while not endless.ended:
            await asyncio.sleep(0.001)

    asyncio.run(leave())


# What is shown


@pytest.mark.parametrize(
    "ask", [lambda rag: rag("refund"), lambda rag: rag.stream("refund").result()]
)
def test_a_trace_shows_retrieval_packing_and_generation(
    store: VectorStore, writer: Generator, ask: Any
) -> None:
    with recorder.record("cell") as recorded:
        answer = ask(Rag(store, writer, top_k=2, max_tokens=5))
    assert [name for name in spans(recorded) if name != "handbook"] == [
        "cell",
        "rag",
        "retrieve",
        "pack",
        "writer",
    ]
    assert recorded["handbook"].kind == "search"
    ids = [source["id"] for source in answer["sources"]]
    assert [hit.id for hit in recorded["retrieve"].output] == ids
    assert remarks(recorded["retrieve"].attributes) == "2 passages"
    assert remarks(recorded["pack"].attributes) == "2 whole, 0 cut, 0 left out"
    assert recorded["writer"].kind == "generate"
    assert recorded["writer"].output == answer["response"]
    assert "5 tokens" in remarks(recorded["writer"].attributes)
    assert recorded["rag"].output == answer


def test_a_trace_shows_a_generator_that_records_nothing_itself(store: VectorStore) -> None:
    with recorder.record("cell") as recorded:
        Rag(store, Echo(), top_k=1)("refund")
    assert recorded["Echo"].output == f"refund: {DOCUMENT[11:]}"


def test_a_trace_shows_the_result_of_a_stream_that_records_nothing_itself(
    store: VectorStore,
) -> None:
    class Days(Echo):
        def stream(self, **given: Any) -> Stream[str]:
            return Stream(iter(["five ", "days"]))

    days = Days()
    with recorder.record("cell") as recorded:
        Rag(store, days, top_k=1).stream("refund").result()
    assert recorded["Days"].output == "five days"


def test_a_trace_says_that_nothing_was_relevant(store: VectorStore) -> None:
    with recorder.record("cell") as recorded:
        Rag(store, Echo())("Paris?")
    assert remarks(recorded["retrieve"].attributes) == "nothing relevant"
    assert "pack" not in spans(recorded)


@pytest.mark.parametrize("mode", ["dense", "hybrid", "lexical"])
def test_an_answer_shows_its_sources_with_the_cosine_where_it_is_known(
    store: VectorStore, mode: str
) -> None:
    dense = {hit.id: hit.score for hit in store.search("refund?", 3)}
    for got in (
        (rag := Rag(store, Echo(), mode=mode))("refund?"),
        rag.stream("refund?").result(),
    ):
        assert isinstance(got, CitedAnswer)
        ids = {source["id"] for source in got["sources"]}
        known = {} if mode == "lexical" else {id: dense[id] for id in ids}
        assert got.question == "refund?"
        assert got.similarities == pytest.approx(known)
        assert "refund?" in got._repr_mimebundle_()["text/html"]


def test_an_unknown_answer_knows_how_near_the_best_passage_was(store: VectorStore) -> None:
    got: Any = Rag(store, Echo())("Who are you?")
    assert (got.best, got.threshold) == (0.0, MIN_SCORE)
    assert "scored 0.00; an answer needs 0.38" in got._repr_mimebundle_()["text/html"]


def test_its_repr_says_what_it_is_made_of(store: VectorStore) -> None:
    rag = Rag(store, Echo(), name="<help>", rerank=First(), min_score=0.25)
    assert repr(rag) == (
        "Rag '<help>' · store 'handbook' · generator 'Echo' · hybrid, top 3 · "
        "reranked by 'first' · answers from 0.25"
    )
    assert "&lt;help&gt;" in rag._repr_mimebundle_()["text/html"]
