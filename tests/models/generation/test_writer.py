"""The demo writer of data/models/writer: its answers from passages, and its prose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.flow.rag import Rag
from conduit_lab.models.generation.generator import Generator
from conduit_lab.models.load import load_model
from conduit_lab.vectors.store import VectorStore

FOLDER = Path(__file__).parents[3] / "data" / "models" / "writer"
REFUSAL = "I do not know: the passages do not say."
PASSAGE = "The warranty of the {name} is {months} months. The {name} costs €67."


class Names:
    """Tells texts about one thing from those about the other."""

    dimension = 2

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        if isinstance(texts, str):
            return np.array(["Breva" in texts, "Tolmin" in texts], np.float32)
        return np.stack([self.encode(text) for text in texts])


@pytest.fixture(scope="module")
def writer() -> Iterator[Generator]:
    made = load_model(FOLDER)
    assert isinstance(made, Generator)
    yield made
    made.unload()


def ask(writer: Generator, question: str, *passages: str) -> str:
    return writer.generate(query=question, context=list(passages), max_tokens=64).strip()


@pytest.mark.parametrize(
    ("name", "months"), [("Breva K3", 24), ("Tolmin S8", 31), ("Dorva P40", 58)]
)
def test_it_copies_facts_of_unknown_things_from_the_passage(
    writer: Generator, name: str, months: int
) -> None:
    answer = ask(
        writer, f"What is the warranty of the {name}?", PASSAGE.format(name=name, months=months)
    )
    assert answer == f"The warranty of the {name} is {months} months."


def test_it_answers_the_question_about_the_thing(writer: Generator) -> None:
    passage = PASSAGE.format(name="Breva K3", months=24)
    assert ask(writer, "How much does the Breva K3 cost?", passage) == "The Breva K3 costs €67."


@pytest.mark.parametrize(
    "question", ["How heavy is the Breva K3?", "What is the warranty of the Zindo R8?"]
)
def test_it_refuses_questions_that_the_passage_does_not_answer(
    writer: Generator, question: str
) -> None:
    assert ask(writer, question, PASSAGE.format(name="Breva K3", months=24)) == REFUSAL


def test_it_continues_a_prompt_in_whole_sentences(writer: Generator) -> None:
    stream = writer.stream("Our return policy", max_tokens=96)
    text = "".join(token.text for token in stream)
    assert text.startswith(" ") and "." in text
    assert len(set(text.split())) > 10  # it does not repeat itself


def test_its_answers_do_not_depend_on_the_batch(writer: Generator) -> None:
    names = ("Breva K3", "Tolmin S8", "Dorva P40")
    asked = [
        (f"What is the warranty of the {name}?", PASSAGE.format(name=name, months=9))
        for name in names
    ]
    unbatched = [ask(writer, question, passage) for question, passage in asked]
    streams = [
        writer.stream(query=question, context=[passage], max_tokens=64)
        for question, passage in asked
    ]
    assert [str(stream.result(20)).strip() for stream in streams] == unbatched


def test_rag_answers_from_it(writer: Generator) -> None:
    with VectorStore(dimension=2, embedder=Names()) as store:
        for name, months in (("Breva K3", 24), ("Tolmin S8", 31)):
            store.add_texts([PASSAGE.format(name=name, months=months)])
        answer = Rag(store, writer, top_k=1, mode="dense")("What is the warranty of the Tolmin S8?")
    assert answer["response"].strip() == "The warranty of the Tolmin S8 is 31 months."


def test_its_folder_is_small(writer: Generator) -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 8.5e6
