"""The handbook as exercises for the demo writer: paragraphs are passages, sentences are answers."""

import random
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from writer_facts import Exercise
from writer_things import drawn, word

HANDBOOK = Path(__file__).resolve().parents[1] / "handbook"
QUESTIONS = Path(__file__).with_name("writer_questions.md")
_SENTENCE = re.compile(r"(?<=[.!?])[ \n]+(?=[A-Z\"“€0-9])")
_NUMBER = re.compile(r"\d+")
_NAMES = re.compile(
    r"\b(?:(Pebble|Brook Vario|Crumb|Finch Auto|Finch|Ripple|Tarn|Gale|Frost|Ember|Drift|Cirrus|Zephyr|Crease Station|"
    r"Crease|Whirl) )?([A-Z]{1,2}\d{1,3}[A-Z]?)\b"
)
_COMMON = """
a an and are as at be but by can do does for from has have how i if in is it its may my no not of on one or our
she he so than that the their them then there these they this those to us was we what when where which who will
with you your been had were would also all any each only more most very into out up about after before
"""
_KEYWORD_FORMS = (
    *(
        "{}?",
        "What about {}?",
        "Tell me about {}.",
        "How is it with {}?",
        "Question about {}",
        "{}",
        "What is {}?",
    ),
    *(
        "Can I {}?",
        "Do you {}?",
        "How much {}?",
        "When {}?",
        "Who {}?",
        "What if {}?",
        "How long {}?",
        "Is {}?",
    ),
)


@dataclass(frozen=True)
class Question:
    """A question: its forms, answer and section; `kept` questions are reserved for the check."""

    forms: tuple[str, ...]
    answer: str
    section: int
    kept: bool


class Handbook:
    """The handbook's pages, as sections of paragraphs of sentences."""

    def __init__(self) -> None:
        self.pages = [file.read_text("utf-8") for file in sorted(HANDBOOK.glob("*/*.md"))]

    @cached_property
    def sections(self) -> list[list[str]]:
        """The blocks per section: its heading, then paragraphs, lists and tables."""
        found: list[list[str]] = []
        for page in self.pages:
            for block in filter(None, (block.strip() for block in page.split("\n\n"))):
                if block.startswith("#"):
                    found.append([])
                found[-1].append(block)
        return found

    @cached_property
    def questions(self) -> list[Question]:
        """The questions. Raises `ValueError` for words that are not in exactly one sentence."""
        every = [
            (one, number)
            for number, blocks in enumerate(self.sections)
            for b in blocks
            for one in sentences_of(b)
        ]
        found = []
        for line in QUESTIONS.read_text("utf-8").splitlines():
            if line[:2] in ("- ", "* "):
                forms, _, words = line[2:].partition(" | ")
                matches = [(one, number) for one, number in every if words.strip() in one]
                if len(matches) != 1:
                    raise ValueError(f"{words!r} is in {len(matches)} sentences, expected one")
                found.append(Question(tuple(forms.split(" / ")), *matches[0], line[0] == "*"))
        return found

    def trials(self, rng: random.Random) -> list[tuple[list[str], str, str]]:
        """Return the kept questions, each with its section and two others."""
        found = []
        for question in self.questions:
            if question.kept:
                others = [
                    one for number, one in enumerate(self.sections) if number != question.section
                ]
                passages = [
                    "\n\n".join(one)
                    for one in (self.sections[question.section], *rng.sample(others, 2))
                ]
                found.append((passages, question.forms[0], question.answer))
        return found

    def exercise(self, rng: random.Random, count: int, most: int) -> Exercise:
        """Return at most `count` sections of at most `most` characters, and questions about them.

        In most of them names and numbers are replaced, in some sentences are dropped. All questions
        are answerable: a search decides whether a section is relevant.
        """
        asked = rng.sample([one for one in self.questions if not one.kept], count)
        sections: list[list[list[str]]] = []
        for number in dict.fromkeys(one.section for one in asked):
            section = self._shortened(self.sections[number], rng)
            size = sum(len(text) for one in (*sections, section) for block in one for text in block)
            if not sections or size <= most:
                sections.append(section)
        rng.shuffle(sections)
        shown = [
            text for section in sections for block in section for text in block if is_sentence(text)
        ]
        pairs = [
            (_rewritten(rng.choice(one.forms), rng), one.answer)
            for one in self.questions
            if not one.kept and one.answer in shown
        ]
        rng.shuffle(pairs)
        pairs = pairs[:5] + [
            (keywords(text, rng), text) for text in rng.sample(shown, min(4, len(shown)))
        ]
        rng.shuffle(pairs)
        passages = ["\n\n".join(_joined(block) for block in section) for section in sections]
        return exchanged(Exercise(passages, pairs), rng)

    def _shortened(self, blocks: list[str], rng: random.Random) -> list[list[str]]:
        """Return the sentences of a section's blocks, with some of them dropped in half of the cases."""
        heading, *rest = [
            [block] if block.startswith("|") else sentences_of(block) for block in blocks
        ]
        whole = rng.random() < 0.5
        rest = [
            kept
            for block in rest
            if (kept := [text for text in block if whole or rng.random() < 0.7])
        ]
        if not whole:
            rng.shuffle(rest)
            for block in rest:
                rng.shuffle(block)
        return [heading, *rest] if rng.random() < 0.8 or not rest else rest

    def prose(self, rng: random.Random) -> str:
        """Return some paragraphs of a page."""
        page = rng.choice(self.pages)
        blocks = [block.strip() for block in page.split("\n\n") if not block.startswith(("|", "#"))]
        start = rng.randrange(len(blocks))
        return "\n\n".join(blocks[start : start + 3])


def is_sentence(text: str) -> bool:
    """Return whether a text can be an answer: not a heading or a table."""
    return not text.startswith(("#", "|"))


def sentences_of(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph; a heading or list item counts as one."""
    if paragraph.startswith(("- ", "#")) or re.match(r"\d\. ", paragraph):
        return paragraph.splitlines()
    return _SENTENCE.split(paragraph)


def _joined(sentences: list[str]) -> str:
    return ("\n" if sentences[0].startswith(("- ", "1. ")) else " ").join(sentences)


def keywords(sentence: str, rng: random.Random) -> str:
    """Return a few words of a sentence in the form of a short question."""
    words = [one.strip('.,;:!?"()') for one in sentence.split()]
    if rng.random() < 0.5:  # a verbatim part
        size = min(len(words), rng.randint(2, 6))
        start = rng.randrange(len(words) - size + 1)
        chosen = words[start : start + size]
    else:
        words = [
            one for one in words if one.lower() not in _COMMON.split() and len(one) > 2
        ] or words
        chosen = rng.sample(words, min(len(words), rng.randint(1, 4)))
    text = rng.choice(_KEYWORD_FORMS).format(" ".join(chosen))
    return text[0].upper() + text[1:]


def exchanged(made: Exercise, rng: random.Random) -> Exercise:
    """Return the exercise with numbers and product names replaced consistently."""
    everything = "\n".join([*made.passages, *(text for pair in made.questions for text in pair)])
    swap: dict[str, str] = {}
    if rng.random() < 0.6:
        for number in sorted(set(_NUMBER.findall(everything))):
            low = 10 ** (len(number) - 1) if len(number) > 1 else 1
            swap[number] = str(rng.randrange(low, 10 ** len(number)))
    names: dict[str, str] = {}
    if rng.random() < 0.6:
        for first, code in sorted(set(_NAMES.findall(everything))):
            if first:
                names.setdefault(first, drawn(word, rng, False))
            names.setdefault(code, rng.choice("ABCDEFGHKLMNPRSTVWXZ") + str(rng.randint(1, 99)))

    def changed(text: str) -> str:
        parts = _NAMES.split(text)
        out = []
        for place in range(0, len(parts), 3):
            out.append(_NUMBER.sub(lambda match: swap.get(match[0], match[0]), parts[place]))
            if place + 2 < len(parts):
                first, code = parts[place + 1], parts[place + 2]
                out.append((names.get(first, first) + " " if first else "") + names.get(code, code))
        return "".join(out)

    questions = [(changed(q), changed(a)) for q, a in made.questions]
    return Exercise([changed(one) for one in made.passages], questions)


def _rewritten(question: str, rng: random.Random) -> str:
    """Return the question, sometimes as if typed hastily."""
    roll = rng.random()
    if roll < 0.1 and not _NUMBER.search(question):
        return question.lower()
    if roll < 0.2:
        return question.rstrip("?.")
    if roll < 0.3:
        return rng.choice(("Hello, ", "Hi! ", "Please tell me: ", "One question: ")) + question
    return question
