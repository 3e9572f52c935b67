"""Sentences: dummy samples for text models."""

from __future__ import annotations

# of different length, topic and kind, which all affect an embedding
SENTENCES = (
    "Hello!",
    "rain",
    "Thank you very much.",
    "Is this seat taken?",
    "42 apples and 7 pears",
    "The cat sleeps on the warm roof.",
    "Please close the door behind you, the dog runs away otherwise.",
    "How do I change the address of an order that I placed this morning?",
    "The committee postponed its decision until the new figures are in.",
    "Water boils at a lower temperature in the mountains than at the sea.",
    "I never said that she took the money.",
    "Chop the onions, fry them in butter until they are golden, and add the rice.",
    "return sum(x * x for x in values) / len(values)",
    (
        "Our train was late, so we missed the ferry and spent the night in a small hotel by "
        "the harbour."
    ),
    "Interest rates rose again, and with them the cost of every house that is not paid for yet.",
    "ERROR 503: the service is not available, try again in 30 seconds",
    "He had the patience of a gardener and the temper of the weather.",
    "Which of the two medicines should be taken before a meal?",
    (
        "Light takes a little more than eight minutes from the sun to the earth; what we see "
        "of it is already past."
    ),
    (
        "The contract ends on 31 December unless one of the parties extends it in writing "
        "three months before."
    ),
    "Goal! Two minutes before the end, and nobody on the left wing had seen him coming.",
    "She tuned the old violin, played three notes, shook her head and tuned it again.",
    "A battery that is kept half full in a cool place lives longest.",
    "Nobody knows.",
    (
        "The museum shows coins, maps and letters of four centuries; entry is free on the "
        "first Sunday of a month, and groups of more than ten people are asked to write a "
        "week ahead."
    ),
    (
        "If the pump is loud but no water comes, there is air in the pipe: open the valve at "
        "the top until it drips."
    ),
    "first second third",
    "Das ist kein englischer Satz.",
    "Prices in euros, taxes included, delivery not.",
    "The bridge carries two lanes of cars, one of trams and a path for everybody else.",
    "Bees dance to tell each other where the flowers are.",
    (
        "What would you have done in my place, with the door locked, the phone dead and the "
        "river still rising?"
    ),
)
