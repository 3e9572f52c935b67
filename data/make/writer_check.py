"""Held-out figures of the demo writer: the package's Generator on the exported folder."""

import json
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from writer_facts import REFUSAL, Trial, trial
from writer_handbook import HANDBOOK, Handbook

from conduit_lab import Embedder, Generator, VectorStore

MODELS = Path(__file__).resolve().parents[1] / "models"
PAGE = Path(__file__).with_name("writer_page.md")
BEGINNING = "Our return policy"
QUESTIONS = 300  # per kind
FLOOR = 0.9  # minimum share of exact answers from one passage, as in the tour
BATCH_ROWS = 16
MAX_TOKENS = 96  # of an answer

Case = tuple[list[str], str, str]  # passages, question, answer

# passages and questions with none of the templates' words; the answer is the sentence that contains
# the words after the bar
OUTSIDE = (
    (
        "Our people in Harlow tested the Zindo R8 last week. It ran for 57 minutes before the battery gave up. We were "
        "surprised that it makes only 48 decibels. | The Zindo R9 is the bigger brother. Its battery held out for 93 "
        "minutes in the same test. It makes 61 decibels.",
        "How many minutes did the R8 run? | 57 minutes",
        "How many minutes did the Zindo R9 run in the test? | 93 minutes",
        "How loud is the Zindo R8? | 48 decibels",
        "Where was the Zindo R8 tested? | Harlow",
        "Does the Zindo R8 have wheels? |",
    ),
    (
        "Mrs Okafor called on 3 June. She wants her fridge collected on Friday. Her order has the number OM-20417. | "
        "Mr Lindqvist wrote on 9 June. His dryer is too loud, and he would like a technician on Monday. He paid €312.",
        "When did Mrs Okafor call? | 3 June",
        "What does Mr Lindqvist want? | technician on Monday",
        "How much did Mr Lindqvist pay? | €312",
        "On which day should the fridge be collected? | collected on Friday",
        "What is the number of Mrs Okafor's order? | OM-20417",
        "When was Mr Lindqvist born? |",
    ),
    (
        "Parking behind the showroom costs €2 an hour. On Sundays it is free. | The cafe next to the showroom opens at "
        "nine. Its apple cake costs €4.50 a slice. | The bus number 17 stops in front of the showroom. It comes every "
        "twelve minutes.",
        "What does parking cost? | €2 an hour",
        "When is parking free? | Sundays",
        "When does the cafe open? | opens at nine",
        "How much is a slice of apple cake? | €4.50",
        "Which bus stops at the showroom? | number 17",
        "How often does the bus come? | every twelve minutes",
        "Is there a swimming pool? |",
    ),
    (
        "Never put the Solano pan in the dishwasher. Wash it by hand with warm water and a soft sponge. | The Solano "
        "lid can go into the dishwasher. It is made of glass and weighs 640 grams. | The Solano spoon is made of beech "
        "wood.",
        "Can the Solano pan go into the dishwasher? | Never put the Solano pan",
        "How do I wash the pan? | Wash it by hand",
        "What is the Solano spoon made of? | beech wood",
        "What does the lid weigh? | 640 grams",
        "Can the lid go in the dishwasher? | can go into the dishwasher",
        "How old is the Solano spoon? |",
    ),
    (
        "Holiday hours: the Brixen shop is shut from 24 to 27 December. The Marl shop stays open. | Staff get a "
        "discount of 15 percent. Students get 8 percent with a valid card.",
        "When is the Brixen shop shut? | 24 to 27 December",
        "Does the Marl shop stay open? | Marl shop stays open",
        "What discount do students get? | 8 percent",
        "How much discount do staff get? | 15 percent",
        "Do pensioners get a discount? |",
    ),
)
TOUR = (
    "How long do I have to return something?",
    "My kettle broke, who pays for sending it back?",
    "How do I descale the coffee machine?",
)


class Row(NamedTuple):
    """A kind of question with shares: target, exact answers, correct values, baseline.

    The check fails if a `held` row is below `FLOOR`.
    """

    words: str
    held: bool
    target: float
    exact: float
    value: float
    chance: float


class Writer:
    """The exported writer, answering in batches."""

    def __init__(self, folder: Path) -> None:
        self._model = Generator(folder)

    def answers(self, cases: Sequence[Case]) -> list[str]:
        """Return the answers, generated in batches."""

        def answer(case: Case) -> str:
            passages, question, _ = case
            return str(
                self._model.generate(query=question, context=passages, max_tokens=MAX_TOKENS)
            ).strip()

        with ThreadPoolExecutor(BATCH_ROWS) as pool:
            return list(pool.map(answer, cases))

    def exact(self, cases: Sequence[Case]) -> float:
        """Return the share of exact answers."""
        return share(
            got == answer for got, (_, _, answer) in zip(self.answers(cases), cases, strict=True)
        )

    def prose(self, beginning: str) -> str:
        """Return a continuation including its beginning."""
        return beginning + str(self._model.generate(beginning, max_tokens=MAX_TOKENS))


def check(folder: Path) -> None:
    """Measure the folder and write its README.md. Raises `SystemExit` for a row below `FLOOR`."""
    writer = Writer(folder)
    rows = figures(writer)
    (folder / "README.md").write_text(page(folder, writer, rows))
    for row in rows:
        given = f"target {row.target:.2f}, by attribute {row.chance:.3f}"
        print(f"{row.exact:.3f} {row.value:.3f} ({given}) {row.words}")
    if below := [row.words for row in rows if row.held and row.exact < FLOOR]:
        raise SystemExit(f"below {FLOOR}: {', '.join(below)}")


def page(folder: Path, writer: Writer, rows: Sequence[Row]) -> str:
    """Return the folder's README.md: its template, filled with the measurements."""
    lines = [
        f"| {row.words} | {QUESTIONS} | {row.exact:.3f} | {row.value:.3f} | {row.chance:.3f} "
        f"| {row.target:.2f} |"
        for row in rows
    ]
    cases = outside()
    right = share(
        words in got for got, (_, _, words) in zip(writer.answers(cases), cases, strict=True)
    )
    kept = Handbook().trials(random.Random(1))
    questions = [question for _, question, _ in kept]
    lines.append(f"| hand-written, in words of no template | {len(cases)} | | {right:.3f} | | |")
    for words, contexts in (
        ("the handbook, the right section", [[passages[0]] for passages, _, _ in kept]),
        ("the handbook, the right section, then two others", [passages for passages, _, _ in kept]),
        ("the handbook, the best chunk of a search", retrieved(questions, 1)),
        ("the handbook, the three best chunks", retrieved(questions, 3)),
    ):
        asked = [
            (context, q, answer) for context, (_, q, answer) in zip(contexts, kept, strict=True)
        ]
        lines.append(f"| {words} | {len(asked)} | {writer.exact(asked):.3f} | | | |")
    config = json.loads((folder / "config.json").read_text())
    samples = []
    for count in (1, 3):
        asked = [
            (context, question, "")
            for context, question in zip(retrieved(TOUR, count), TOUR, strict=True)
        ]
        samples += [
            f"- {case[1]} (top {count}) *{got}*"
            for case, got in zip(asked, writer.answers(asked), strict=True)
        ]
    samples.append(f"- `writer.stream({BEGINNING!r})`: *{writer.prose(BEGINNING)}*")
    gaps = {
        "{figures}": "\n".join(lines),
        "{samples}": "\n".join(samples),
        "{parameters}": f"{config['parameters'] / 1e6:.2f} million",
        "{tokens}": f"{config['tokens_trained_on'] / 1e6:.0f} million",
    }
    text = PAGE.read_text("utf-8")
    for name, value in gaps.items():
        text = text.replace(name, value)
    return text


def figures(writer: Writer) -> list[Row]:
    """Return the share of correct answers to each kind of question on invented facts.

    The baseline knows the attribute in question and picks any sentence about it.
    """
    rng = random.Random(11)
    found = []
    for words, target, sharing, case in (
        ("one passage, which tells it", 0.95, 1, alone),
        ("one passage, which does not (refusal)", 0.90, 0, alone),
        ("three passages, one tells the attribute", 0.95, 1, plain),
        ("three passages, two tell it", 0.90, 2, plain),
        ("three passages, all tell it", 0.90, 3, plain),
        ("the same, values exchanged", 0.90, 3, swapped),
        ("three passages, none tells it (refusal)", 0.90, 0, plain),
    ):
        trials = [trial(rng, sharing) for _ in range(QUESTIONS)]
        cases = [case(one) for one in trials]
        pairs = list(zip(trials, cases, writer.answers(cases), strict=True))
        found.append(
            Row(
                words,
                case is alone,
                target,
                share(got == answer for _, (_, _, answer), got in pairs),
                share(
                    _values(one, got) == _values(one, answer) for one, (_, _, answer), got in pairs
                ),
                sum(
                    1 / (1 if case is alone else len(one.candidates)) for one in trials if one.asked
                )
                / QUESTIONS,
            )
        )
    return found


def share(right: Iterable[bool]) -> float:
    """Return the share of true values."""
    every = list(right)
    return sum(every) / len(every)


def _values(one: Trial, text: str) -> set[str]:
    """Return the values of the attribute in a text; a refusal counts as one."""
    told = {
        fact.value
        for group in one.groups
        for fact in group
        if one.asked and fact.attribute == one.asked.attribute
    }
    return {value for value in (*told, REFUSAL) if value in text}


def plain(one: Trial) -> Case:
    """Return a question with its three passages."""
    return one.passages, one.question, one.answer


def alone(one: Trial) -> Case:
    """Return a question with only the passage about its thing."""
    return one.alone(), one.question, one.answer


def swapped(one: Trial) -> Case:
    """Return a question with the values in question swapped between the passages."""
    told = [
        fact
        for group in one.groups
        for fact in group
        if one.asked and fact.attribute == one.asked.attribute
    ]
    changes = {
        fact.sentence: fact.sentence.replace(fact.value, other.value)
        for fact, other in zip(told, told[1:] + told[:1], strict=True)
    }
    passages = []
    for passage in one.passages:
        for sentence, changed in changes.items():
            if sentence in passage:
                passage = passage.replace(sentence, changed)
                break
        passages.append(passage)
    return passages, one.question, changes.get(one.answer, one.answer)


def outside() -> list[Case]:
    """Return the hand-written questions with the required words of the answer, or a refusal."""
    found: list[Case] = []
    for text, *questions in OUTSIDE:
        for line in questions:
            question, _, words = line.partition(" |")
            found.append((text.split(" | "), question, words.strip() or REFUSAL))
    return found


def retrieved(questions: Sequence[str], count: int) -> list[list[str]]:
    """Return the handbook's best chunks per question, as retrieved by `Rag`."""
    with VectorStore(embedder=Embedder(MODELS / "minilm")) as store:
        store.add_documents(HANDBOOK)
        return [
            [hit.content or "" for hit in store.search(question, top_k=count, mode="hybrid")]
            for question in questions
        ]
