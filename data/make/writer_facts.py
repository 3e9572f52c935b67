"""Invented facts for the demo writer: sentences, passages of them, and questions with answers.

The answer to a question is the matching sentence of the passages, verbatim, or a refusal.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from writer_things import KINDS, ORDER, PRODUCT, SHOP, Attribute, Kind, drawn, held_out

REFUSAL = "I do not know: the passages do not say."
_EVERY = (PRODUCT, PRODUCT, PRODUCT, PRODUCT, SHOP, ORDER)


@dataclass(frozen=True)
class Fact:
    """A sentence about one attribute of a thing."""

    name: str
    kind: Kind
    attribute: Attribute
    sentence: str
    value: str


@dataclass(frozen=True)
class Exercise:
    """Passages and questions about them, with answers."""

    passages: list[str]
    questions: list[tuple[str, str]]


def exercise(rng: random.Random, *, kept: bool = False, questions: int = 8) -> Exercise:
    """Return passages about usually three things, and questions, a third of them unanswerable."""
    kind = rng.choice(_EVERY)
    names = distinct_names(kind, rng, rng.choice((1, 1, 2, 3, 3, 3)), kept)
    size = rng.randint(1, 4)
    shared = rng.sample(kind.attributes, min(size + 1, len(kind.attributes)))
    everyone = rng.random() < 0.6
    groups = []
    for name in names:
        chosen = (
            shared[:size]
            if everyone
            else rng.sample(kind.attributes, min(size, len(kind.attributes)))
        )
        groups.append(
            [
                fact(kind, attribute, name, rng, kept)
                for attribute in rng.sample(chosen, len(chosen))
            ]
        )
    passages = [passage(group, rng) for group in groups]
    facts = [one for group in groups for one in group]
    asked = [
        (question(one.attribute, one.name, rng), one.sentence)
        for one in rng.sample(facts, len(facts))
    ]
    refused = [(absent_question(kind, groups, rng, kept), REFUSAL) for _ in range(questions // 3)]
    mixed = asked[: questions - len(refused)] + refused
    rng.shuffle(mixed)
    return Exercise(passages, mixed)


def distinct_names(kind: Kind, rng: random.Random, count: int, kept: bool) -> list[str]:
    """Return distinct names, some of which share one part."""
    names: list[str] = []
    while len(names) < count:
        name = drawn(kind.name, rng, kept)
        if names and rng.random() < 0.3:
            name = near(rng.choice(names), rng, kind, kept)
        if name not in names:
            names.append(name)
    return names


def near(name: str, rng: random.Random, kind: Kind, kept: bool) -> str:
    """Return another name that shares one part with `name`."""
    first, _, last = name.rpartition(" ")
    for _ in range(20):
        other, _, end = kind.name(rng).rpartition(" ")
        made = f"{first} {end}" if rng.random() < 0.7 else f"{other} {last}"
        if first and other and made != name and held_out(made) == kept:
            return made
    return drawn(kind.name, rng, kept)


def fact(kind: Kind, attribute: Attribute, name: str, rng: random.Random, kept: bool) -> Fact:
    """Return one sentence about a thing."""
    value = drawn(attribute.value, rng, kept)
    return Fact(
        name, kind, attribute, rng.choice(attribute.sentences).format(n=name, v=value), value
    )


def passage(facts: Sequence[Fact], rng: random.Random) -> str:
    """Return the facts about one thing as a paragraph, sometimes with an introduction."""
    sentences = [one.sentence for one in facts]
    if rng.random() < 0.4:
        introduction = rng.choice(facts[0].kind.introductions)
        sentences.insert(0, introduction.format(n=facts[0].name, k=rng.choice(KINDS)))
    return " ".join(sentences)


def question(attribute: Attribute, name: str, rng: random.Random) -> str:
    """Return a question for an attribute of a thing."""
    text = rng.choice(attribute.questions).format(n=name)
    return text[0].upper() + text[1:]


def absent_question(
    kind: Kind, groups: Sequence[Sequence[Fact]], rng: random.Random, kept: bool
) -> str:
    """Return an unanswerable question: the passages lack the thing or the fact."""
    names = [group[0].name for group in groups]
    told = {one.attribute for group in groups for one in group}
    if rng.random() < 0.5:
        while (name := distinct_names(kind, rng, 1, kept)[0]) in names or rng.random() < 0.5:
            name = near(rng.choice(names), rng, kind, kept)
            if name not in names:
                break
        return question(rng.choice(sorted(told, key=lambda one: one.sentences)), name, rng)
    group = rng.choice(groups)
    own = {one.attribute for one in group}
    others = [attribute for attribute in told if attribute not in own] if rng.random() < 0.6 else []
    others = others or [attribute for attribute in kind.attributes if attribute not in own]
    return question(rng.choice(sorted(others, key=lambda one: one.sentences)), group[0].name, rng)


@dataclass(frozen=True)
class Trial:
    """One question of the check: passages, answer, and the sentences about its attribute."""

    passages: list[str]
    question: str
    answer: str
    candidates: list[str]
    groups: list[list[Fact]]
    asked: Fact | None

    def alone(self) -> list[str]:
        """Return the passage about the thing, or about another one if the thing is absent."""
        names = [group[0].name.casefold() for group in self.groups]
        return [
            self.passages[
                next((n for n, name in enumerate(names) if name in self.question.casefold()), 0)
            ]
        ]


def trial(rng: random.Random, sharing: int) -> Trial:
    """Return a question on three passages with held-out names and values.

    `sharing` of the passages state the attribute; with 0 the answer is a refusal: the thing is
    absent, or only other things have the attribute.
    """
    kind = rng.choice(_EVERY)
    names = distinct_names(kind, rng, 3, kept=True)
    asked, *others = rng.sample(kind.attributes, len(kind.attributes))
    refuse = sharing == 0
    absent = refuse and rng.random() < 0.5
    holders = set(rng.sample(range(3), 3 if absent else sharing or rng.randint(1, 2)))
    groups = []
    for place, name in enumerate(names):
        told = rng.sample(others, rng.randint(1, 3)) + [asked] * (place in holders)
        groups.append([fact(kind, one, name, rng, True) for one in rng.sample(told, len(told))])
    candidates = [one for group in groups for one in group if one.attribute == asked]
    right = None if refuse else rng.choice(candidates)
    if right is not None:
        name = right.name
    elif absent:
        while (name := near(rng.choice(names), rng, kind, True)) in names:
            pass
    else:
        name = names[rng.choice([place for place in range(3) if place not in holders])]
    return Trial(
        [passage(group, rng) for group in groups],
        question(asked, name, rng),
        right.sentence if right else REFUSAL,
        [one.sentence for one in candidates],
        groups,
        right,
    )
