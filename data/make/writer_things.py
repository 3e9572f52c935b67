"""Things with invented names for the demo writer, and sentences and questions about them.

Names and values are drawn at random; one in eight, chosen by a hash, is held out for the check.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

HELD_OUT = 8  # one name or value in this many is held out


def _words(text: str) -> list[str]:
    return text.split()


_ONSETS = _words("b br c cr d dr f fl g gl gr h j k l m n p pl pr r s st t tr v w z")
_VOWELS = _words("a e i o u a e i o u ai ea oo ou")
_CODAS = ["", "", "", "", "", "", "l", "m", "n", "r", "s", "x", "nd", "rt", "st"]
_ENDINGS = ["a", "o", "en", "er", "il", "on", "um", "et", "is", "", "", ""]
KINDS = _words(
    "kettle toaster iron blender fan heater dryer washer cooker fridge freezer oven hob grill mixer juicer"
)
KINDS += [
    "vacuum cleaner",
    "coffee machine",
    "air purifier",
    "dishwasher",
    "washing machine",
    "rice cooker",
]
_SHADES = _words("pale dark deep soft warm cool bright matt")
_COLOURS = _words("green blue red grey cream white black yellow brown orange silver copper")
_DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = _words(
    "January February March April May June July August September October November December"
)

Draw = Callable[[random.Random], str]


@dataclass(frozen=True)
class Attribute:
    """An attribute of a kind of thing: sentences with `{n}` and `{v}`, questions with `{n}`."""

    value: Draw
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its names, introductions and attributes."""

    name: Draw
    introductions: tuple[str, ...]
    attributes: tuple[Attribute, ...]


def held_out(text: str) -> bool:
    """Return whether a name or a value is held out for the check."""
    return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT == 0


def drawn(draw: Draw, rng: random.Random, kept: bool) -> str:
    """Return a name or a value, either held out or for training."""
    while held_out(text := draw(rng)) != kept:
        pass
    return text


def word(rng: random.Random, most: int = 2) -> str:
    """Return an invented capitalized word of up to `most` syllables and an ending."""
    made = "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for _ in range(rng.randint(1, most))
    )
    return (made + rng.choice(_ENDINGS)).capitalize()


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTVWXZ") for _ in range(rng.choice((0, 1, 1, 2))))
    return letters + str(rng.randint(1, 999) if rng.random() < 0.3 else rng.randint(1, 99))


def _product(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return f"{word(rng)} {word(rng, 1)}"
    return f"{word(rng)} {_code(rng)}" if rng.random() < 0.85 else word(rng)


def _number(low: int, high: int, words: str = "{}") -> Draw:
    return lambda rng: words.format(f"{rng.randint(low, high):,}")


def _tenths(low: int, high: int, words: str) -> Draw:
    return lambda rng: words.format(f"{rng.randint(low, high)}.{rng.randint(1, 9)}")


def _attribute(value: Draw, sentences: str, questions: str) -> Attribute:
    return Attribute(value, tuple(sentences.split(" | ")), tuple(questions.split(" | ")))


def _price(rng: random.Random) -> str:
    return (
        f"€{rng.randint(2, 999)}"
        if rng.random() < 0.7
        else f"€{rng.randint(1, 99)}.{rng.randint(10, 99)}"
    )


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(6, 22)}:{rng.choice('012345')}{rng.choice('05')}"


def _date(rng: random.Random) -> str:
    return f"{rng.randint(1, 30)} {rng.choice(_MONTHS)}"


def _part(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTVWXZ") for _ in range(2))
    return f"{letters}-{rng.randint(1, 99):02}"


def _person(rng: random.Random) -> str:
    return f"{rng.choice(('Mr', 'Ms', 'Dr'))} {word(rng)}"


PRODUCT = Kind(
    _product,
    (
        "The {n} is a {k} for small kitchens.",
        "The {n} is a {k} for large families.",
        "The {n} is one of our newest models.",
        "Many customers ask about the {n}.",
        "The {n} is a simple {k}.",
    ),
    (
        _attribute(
            lambda rng: f"{rng.randint(2, 99)} {rng.choice(('months', 'months', 'years'))}",
            "The warranty of the {n} is {v}. | The {n} has a warranty of {v}. | The {n} comes with {v} of warranty. | "
            "The warranty for the {n} lasts {v}.",
            "How long is the warranty of the {n}? | What is the warranty of the {n}? | "
            "How long does the warranty for the {n} last? | What warranty does the {n} have? | "
            "For how long is the {n} under warranty? | Tell me the warranty of the {n}.",
        ),
        _attribute(
            _price,
            "The price of the {n} is {v}. | The {n} costs {v}. | You pay {v} for the {n}. | The {n} is sold for {v}.",
            "How much is the {n}? | What does the {n} cost? | What is the price of the {n}? | "
            "How much does the {n} cost? | How much do I pay for the {n}? | What do you charge for the {n}?",
        ),
        _attribute(
            _tenths(0, 60, "{} kg"),
            "The weight of the {n} is {v}. | The {n} weighs {v}. | The {n} has a weight of {v}.",
            "How heavy is the {n}? | What does the {n} weigh? | What is the weight of the {n}? | "
            "How much does the {n} weigh? | Tell me the weight of the {n}.",
        ),
        _attribute(
            _number(5, 250, "{} cm"),
            "The height of the {n} is {v}. | The {n} is {v} tall. | The {n} has a height of {v}.",
            "How tall is the {n}? | What is the height of the {n}? | How high is the {n}? | "
            "Tell me the height of the {n}.",
        ),
        _attribute(
            _number(5, 250, "{} cm"),
            "The width of the {n} is {v}. | The {n} is {v} wide. | The {n} has a width of {v}.",
            "How wide is the {n}? | What is the width of the {n}? | How much width does the {n} need? | "
            "Tell me the width of the {n}.",
        ),
        _attribute(
            _tenths(0, 90, "{} litres"),
            "The {n} holds {v}. | The capacity of the {n} is {v}. | The {n} has a tank of {v}. | "
            "The tank of the {n} takes {v}.",
            "How much does the {n} hold? | What is the capacity of the {n}? | How big is the tank of the {n}? | "
            "How many litres does the {n} take? | How much water fits in the {n}?",
        ),
        _attribute(
            _number(200, 3900, "{} watts"),
            "The {n} needs {v}. | The power of the {n} is {v}. | The {n} has {v}. | The {n} works with {v}.",
            "How much power does the {n} need? | What is the power of the {n}? | How many watts does the {n} have? | "
            "How powerful is the {n}?",
        ),
        _attribute(
            _number(20, 99, "{} decibels"),
            "The noise of the {n} is {v}. | The {n} makes a noise of {v}. | The {n} reaches {v}.",
            "How loud is the {n}? | How noisy is the {n}? | What is the noise of the {n}? | "
            "How much noise does the {n} make? | Is the {n} quiet?",
        ),
        _attribute(
            lambda rng: f"{rng.choice(_SHADES)} {rng.choice(_COLOURS)}",
            "The colour of the {n} is {v}. | The {n} is sold in {v}. | The {n} comes in {v}. | "
            "The {n} is available in {v}.",
            "What colour is the {n}? | In which colour is the {n} sold? | What is the colour of the {n}? | "
            "Which colour does the {n} come in?",
        ),
        _attribute(
            _part,
            "The filter of the {n} is the {v}. | The {n} takes the filter {v}. | The {n} needs the filter {v}.",
            "Which filter does the {n} need? | What is the filter of the {n}? | Which filter fits the {n}? | "
            "What filter do I buy for the {n}?",
        ),
        _attribute(
            word,
            "The {n} is made in {v}. | The {n} comes from {v}. | The {n} is built in {v}.",
            "Where is the {n} made? | Where does the {n} come from? | In which town is the {n} built? | "
            "Where do you make the {n}?",
        ),
        _attribute(
            _number(3, 400, "{} minutes"),
            "The battery of the {n} lasts {v}. | The {n} runs for {v} on its battery. | "
            "On one charge the {n} runs for {v}.",
            "How long does the battery of the {n} last? | How long does the {n} run? | "
            "What is the battery life of the {n}? | How many minutes does the {n} run on its battery?",
        ),
        _attribute(
            _number(2, 60, "{} working days"),
            "The delivery of the {n} takes {v}. | The {n} is delivered within {v}. | The {n} arrives within {v}.",
            "How long does the delivery of the {n} take? | When will the {n} be delivered? | "
            "When does the {n} arrive? | How fast is the {n} delivered? | How soon do I get the {n}?",
        ),
        _attribute(
            _number(5, 120, "{} days"),
            "You may return the {n} within {v}. | The {n} can be sent back within {v}. | "
            "The return period of the {n} is {v}.",
            "How long may I return the {n}? | Until when can I send back the {n}? | "
            "What is the return period of the {n}? | How many days do I have to return the {n}?",
        ),
        _attribute(
            _price,
            "Sending back the {n} costs {v}. | The return of the {n} costs {v}. | "
            "The return label for the {n} costs {v}.",
            "What does it cost to send back the {n}? | How much is the return of the {n}? | "
            "What is the price of a return label for the {n}? | What do I pay to return the {n}?",
        ),
        _attribute(
            _price,
            "The repair of the {n} costs {v}. | Repairing the {n} costs {v}. | We repair the {n} for {v}.",
            "What does the repair of the {n} cost? | How much is a repair of the {n}? | "
            "What do you charge to repair the {n}? | What do I pay when the {n} has to be mended?",
        ),
        _attribute(
            _number(2, 40, "{} years"),
            "Spare parts for the {n} are kept for {v}. | We keep spare parts for the {n} for {v}.",
            "How long are there spare parts for the {n}? | For how long do you keep parts for the {n}? | "
            "How many years can I get spare parts for the {n}?",
        ),
        _attribute(
            _number(2, 60, "{} weeks"),
            "Descale the {n} every {v}. | The {n} has to be descaled every {v}. | The {n} wants descaling every {v}.",
            "How often do I descale the {n}? | When must the {n} be descaled? | How often does the {n} need descaling?",
        ),
        _attribute(
            _number(2, 60, "{} minutes"),
            "The {n} heats up in {v}. | The {n} is hot after {v}. | The {n} is ready after {v}.",
            "How long does the {n} take to heat up? | When is the {n} hot? | How fast does the {n} heat up? | "
            "After how long is the {n} ready?",
        ),
        _attribute(
            lambda rng: f"{rng.choice(_MONTHS)} {rng.randint(2000, 2099)}",
            "The {n} has been sold since {v}. | The {n} was first sold in {v}. | We have sold the {n} since {v}.",
            "Since when has the {n} been sold? | When was the {n} first sold? | Since when do you sell the {n}?",
        ),
        _attribute(
            _number(2, 999, "{} pieces"),
            "There are {v} of the {n} in stock. | The stock of the {n} is {v}. | We have {v} of the {n} in stock.",
            "How many of the {n} are in stock? | What is the stock of the {n}? | How many of the {n} do you have?",
        ),
        _attribute(
            lambda rng: f"{rng.choice('EFHPU')}{rng.randint(1, 99)}",
            "When the {n} is blocked it shows {v}. | A blocked {n} shows the code {v}. | "
            "The {n} shows {v} when it is blocked.",
            "What does the {n} show when it is blocked? | Which code does a blocked {n} show? | "
            "What is the code for a blocked {n}?",
        ),
    ),
)
SHOP = Kind(
    lambda rng: f"{word(rng)} {rng.choice(('shop', 'showroom', 'workshop', 'store'))}",
    (
        "The {n} is near the station.",
        "The {n} is one of our oldest.",
        "The {n} has a small car park.",
    ),
    (
        _attribute(
            _clock,
            "The {n} opens at {v}. | The doors of the {n} open at {v}.",
            "When does the {n} open? | At what time does the {n} open? | What time can I come to the {n}?",
        ),
        _attribute(
            _clock,
            "The {n} closes at {v}. | The last customers leave the {n} at {v}.",
            "When does the {n} close? | At what time does the {n} close? | How late can I come to the {n}?",
        ),
        _attribute(
            lambda rng: f"{rng.choice(_DAYS)} and {rng.choice(_DAYS)}",
            "The {n} is closed on {v}. | The {n} stays shut on {v}.",
            "On which days is the {n} closed? | When is the {n} shut?",
        ),
        _attribute(
            lambda rng: f"0{rng.randint(100, 999)} {rng.randint(1000, 9999)}",
            "The phone number of the {n} is {v}. | You can call the {n} on {v}. | The {n} has the number {v}.",
            "What is the phone number of the {n}? | How can I call the {n}? | Which number does the {n} have?",
        ),
        _attribute(
            _person,
            "The {n} is run by {v}. | The head of the {n} is {v}. | The {n} is led by {v}.",
            "Who runs the {n}? | Who is the head of the {n}? | Who leads the {n}? | Who is in charge of the {n}?",
        ),
        _attribute(
            lambda rng: (
                f"{word(rng)} {rng.choice(('Street', 'Road', 'Lane', 'Square'))} {rng.randint(1, 199)}"
            ),
            "The {n} is at {v}. | The address of the {n} is {v}. | You find the {n} at {v}.",
            "Where is the {n}? | What is the address of the {n}? | Where do I find the {n}?",
        ),
    ),
)
ORDER = Kind(
    lambda rng: f"order OM-{rng.randint(10**4, 10**6)}",
    ("We looked at {n}.", "There is a note about {n}.", "You asked about {n}."),
    (
        _attribute(
            _date,
            "We sent {n} on {v}. | The warehouse sent {n} on {v}. | The date of dispatch of {n} is {v}.",
            "When was {n} sent? | On which day did you send {n}? | When did {n} leave the warehouse?",
        ),
        _attribute(
            _date,
            "You will have {n} on {v}. | The carrier brings {n} on {v}. | The carrier will deliver {n} on {v}.",
            "When will {n} come? | On which day will {n} be delivered? | When do I get {n}? | When does {n} arrive?",
        ),
        _attribute(
            _price,
            "The total of {n} is {v}. | You paid {v} for {n}. | The sum of {n} is {v}.",
            "What is the total of {n}? | How much did I pay for {n}? | What is the sum of {n}?",
        ),
        _attribute(
            _price,
            "The refund for {n} is {v}. | We refund {v} for {n}. | You get back {v} for {n}.",
            "How much is the refund for {n}? | What do I get back for {n}? | How much do you refund for {n}?",
        ),
        _attribute(
            lambda rng: f"{word(rng)} {rng.choice(('Post', 'Express', 'Parcels', 'Transport'))}",
            "The carrier of {n} is {v}. | We gave {n} to {v}. | The parcel of {n} travels with {v}.",
            "Which carrier has {n}? | Who carries {n}? | Who brings {n}? | What is the carrier of {n}?",
        ),
    ),
)
