"""Invented prose of a support desk for the demo writer, from sentences with gaps."""

import random
import re


def _parts(text: str) -> list[str]:
    return text.split("|")


_GAPS = {
    "n": [str(number) for number in range(2, 31)],
    "days": ["days", "working days", "days of delivery", "weeks"],
    "thing": _parts(
        "kettle|toaster|coffee machine|washing machine|dishwasher|vacuum cleaner|blender|fridge|fan|heater|"
        "dryer|freezer"
    ),
    "fault": _parts(
        "does not heat|leaks|makes a loud noise|shows an error|does not start|smells of burning|switches itself off"
    ),
    "euro": [f"€{number}" for number in range(3, 120)],
    "desk": _parts("support desk|repair team|returns centre|order desk|delivery desk|finance desk"),
    "day": _parts("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday"),
    "hello": _parts(
        "Dear customer,|Hello,|Good morning,|Good afternoon,|Hello and thank you for writing."
    ),
    "bye": _parts(
        "Kind regards from the {desk}.|We are happy to help.|Please write to us again if anything is unclear.|"
        "Thank you for your patience.|We are sorry for the trouble."
    ),
}
_TOPICS = {
    "return": (
        "is simple: you have {n} {days} to send something back.|gives you {n} days to change your mind.|"
        "is meant to be fair to everybody.",
        'You need not give a reason.|Open the order in your account, choose "Return" and print the label.|'
        "The label costs {euro} and is deducted from the refund.|If the {thing} is faulty, the return is free.|"
        "Please pack the {thing} well, with all of its accessories.|Clean the {thing} and let it dry for a day.|"
        "Opened filters and gift cards cannot be returned.|The money comes back within {n} working days.|"
        "You may try the {thing} at home as you would in a shop.|"
        "Large appliances are collected on a day of your choice.",
    ),
    "warranty": (
        "covers every {thing} for {n} months.|begins on the day of delivery.|"
        "covers faults in material and workmanship.",
        "If your {thing} {fault}, report it in your account.|Repairs under warranty cost you nothing.|"
        "The invoice is your proof of purchase.|Limescale and damage by dropping are not covered.|"
        "A {thing} that costs less than {euro} is replaced at once.|We pay for the shipping in both directions.|"
        "You can add one more year when you register the {thing} within {n} days.|"
        "Wear parts such as filters and seals are not included.",
    ),
    "delivery": (
        "is simple: delivery is free for orders of {euro} or more.|"
        "is to be with you within {n} working days.|depends on the size of the appliance.",
        "Small appliances travel as a parcel.|A {thing} is brought to the room of your choice.|"
        "You receive a tracking link as soon as the parcel has left us.|The driver calls half an hour before.|"
        "If nobody is at home, the parcel waits at a pick-up point for {n} days.|"
        "Delivery on {day} costs {euro} extra.|You can move the date free of charge until noon on the day before.|"
        "If a parcel is late, write to us and we will find out where it is.",
    ),
    "repair": (
        "is to mend what can be mended.|depends on the age of the {thing}.|is simple: report the fault first.",
        "A repair takes about {n} working days.|The estimate costs {euro} and is credited when you go ahead.|"
        "If your {thing} {fault}, pull the plug and write to us.|Our workshop tests every {thing} before it goes back.|"
        "You have twelve months of warranty on the repair.|A technician comes to your home for large appliances.|"
        "We keep spare parts for {n} years.|If a repair is not worth it, we say so.",
    ),
    "refund": (
        "is simple: the money goes back the way it came.|depends on how you paid.|"
        "is quick: it takes {n} working days at most.",
        "You get a message when the refund has been sent.|A card payment goes back to that card.|"
        "Your bank may need a few days more.|Gift cards are refunded to a gift card.|"
        "A deduction for signs of use comes with photos.|If you do not agree, reply to the message within {n} days.",
    ),
    "privacy": (
        "is short: we sell appliances and not data.|tells you what we store and why.",
        "We store your name, your address and your orders.|Nobody outside gets your data for advertising.|"
        "You can download a copy at any time.|You can close your account whenever you like.|"
        "Invoices are kept for {n} years.|Phone calls are not recorded.",
    ),
}
_ANSWERS = (
    "Thank you for your message about your {thing}.|I am sorry that your {thing} {fault}.|"
    "I have looked at your order.|Thank you for your order.",
    "Please pull the plug and let it cool for {n} minutes.|Could you send us the serial number and a photo?|"
    "We will send you a free label today.|The parcel should reach you on {day}.|"
    "Your refund of {euro} has been sent.|A technician can come on {day}.|"
    "The spare part costs {euro} and is in stock.|Our {desk} will write to you within {n} days.|"
    "You do not have to pay anything for it.|Please check the filter first, since it is often the cause.|"
    "If that does not help, we will replace the {thing}.|You can track the parcel in your account.",
)
_GAP = re.compile(r"\{(\w+)\}")


def prose(rng: random.Random) -> str:
    """Return a paragraph or two."""
    if rng.random() < 0.3:
        openings, bodies = _ANSWERS
        sentences = [
            rng.choice(_GAPS["hello"]),
            rng.choice(openings.split("|")),
            *_some(bodies, rng),
        ]
        return _filled(" ".join([*sentences, rng.choice(_GAPS["bye"])]), rng)
    topics = rng.sample(sorted(_TOPICS), rng.randint(1, 2))
    return "\n\n".join(_policy(topic, rng) for topic in topics)


def _policy(topic: str, rng: random.Random) -> str:
    openings, bodies = _TOPICS[topic]
    begin = rng.choice((f"Our {topic} policy", f"Our {topic} policy", f"The {topic} policy"))
    sentences = [f"{begin} {rng.choice(openings.split('|'))}", *_some(bodies, rng)]
    if rng.random() < 0.5:
        sentences.append(rng.choice(_GAPS["bye"]))
    return _filled(" ".join(sentences), rng)


def _some(bodies: str, rng: random.Random) -> list[str]:
    every = bodies.split("|")
    return rng.sample(every, rng.randint(3, min(6, len(every))))


def _filled(text: str, rng: random.Random) -> str:
    chosen: dict[str, str] = {}  # one thing and one fault per paragraph, but a new number each time

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in ("thing", "fault", "desk"):
            return chosen.setdefault(name, rng.choice(_GAPS[name]))
        return rng.choice(_GAPS[name])

    while _GAP.search(text):
        text = _GAP.sub(value, text)
    return text
