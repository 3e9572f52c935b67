"""Write data/messages.csv: invented messages to an appliance shop, labelled by topic and mood.

A row is a frame (the message's subject), often with an opener and a closer that express the mood.
Held-out rows use only frames and mood phrases absent from train rows, so accuracy on them measures
generalization to new wording instead of memorized templates. Appliances, names and days are shared.
The wordings of both splits were extended a few times after inspecting held-out results of a linear
head, so the held-out rows are new wording to a model, but not a blind test of the data's design.
"""

import argparse
import csv
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEED: Final = 20817
HERE: Final = Path(__file__).resolve().parent
OUT: Final = HERE.parent / "messages.csv"

TOPICS: Final = ("ordering", "delivery", "returns", "warranty", "repairs", "accounts", "products")
MOODS: Final = ("angry", "neutral", "pleased")
ROWS_PER_CELL: Final = {"train": 60, "heldout": 11}

# The kinds of frame for each mood: "any" fits every mood, "problem" states a problem plainly.
TONES: Final = {
    "angry": ("any", "problem", "angry"),
    "neutral": ("any", "problem", "neutral"),
    "pleased": ("any", "pleased"),
}

SMALL: Final = (
    "kettle", "toaster", "coffee machine", "vacuum cleaner", "air purifier", "tower fan", "steam iron", "blender",
)  # fmt: skip
BIG: Final = ("washing machine", "tumble dryer", "dishwasher", "fridge", "oven", "induction hob")
NAMES: Final = (
    "Marta", "Tom", "Priya", "Jonas", "Aisha", "Bernard", "Lucy", "Mateo",
    "Ingrid", "Sam", "Yuki", "Fatima", "Oliver", "Nadia", "Henk", "Chloe",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "August",
    "September",
    "October",
    "November",
)

# Probability that a plain frame has both an opener and a closer; otherwise it has one of them.
BOTH: Final = 0.5

# Typos from hasty typing.
SLIPS: Final = (
    ("please", "pls"), ("Please", "Pls"), ("receive", "recieve"), ("because", "becuase"), ("their", "thier"),
    ("tomorrow", "tommorow"), ("machine", "machne"), ("don't", "dont"), ("can't", "cant"), ("you are", "your"),
    ("would", "woud"), ("really", "realy"), ("which", "wich"), ("address", "adress"), ("until", "untill"),
)  # fmt: skip

# One frame per "- " entry under a heading of topic, split and tone.
FRAMES: Final = (HERE / "frames.md").read_text("utf-8")

# One phrase per "- " entry under a heading of mood, split and place.
PHRASES: Final = (HERE / "phrases.md").read_text("utf-8")


@dataclass(frozen=True)
class Row:
    """One line of the CSV."""

    text: str
    topic: str
    mood: str
    split: str


def parse(block: str) -> dict[tuple[str, str, str], list[str]]:
    """Read a block of headings and "- " entries; an indented line continues the entry above it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    entries: list[str] = []
    for line in block.strip().splitlines():
        if line.startswith("## "):
            first, second, third = line[3:].split()
            entries = found.setdefault((first, second, third), [])
        elif line.startswith("- "):
            entries.append(line[2:])
        else:
            entries[-1] += " " + line.strip()
    return found


def check_apart(found: dict[tuple[str, str, str], list[str]]) -> None:
    """Reject duplicate entries, and sentences that are in both splits."""
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    for (_, split, _), entries in found.items():
        for entry in entries:
            if words(entry) in seen:
                raise ValueError(f"written twice: {entry}")
            seen.add(words(entry))
            for sentence in re.split(r"(?<=[.!?])\s+", entry):
                if split_of.setdefault(words(sentence), split) != split:
                    raise ValueError(f"in both splits: {sentence}")


def words(text: str) -> str:
    """Reduce a text to its lowercase words, ignoring punctuation."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """Return the plural of an appliance's name."""
    return f"{noun}es" if noun.endswith("sh") else f"{noun}s"


def fill(text: str, rng: random.Random) -> str:
    """Fill the slots of a frame or phrase."""
    small, big = rng.choice(SMALL), rng.choice(BIG)
    item = rng.choice((small, small, big))
    values = {
        "item": item,
        "an": with_article(item),
        "small": small,
        "smalls": plural(small),
        "big": big,
        "bigs": plural(big),
        "name": rng.choice(NAMES),
        "day": rng.choice(DAYS),
        "month": rng.choice(MONTHS),
        "order": f"OM-{rng.randrange(10_000_000, 99_999_999)}",
        "amount": f"€{rng.choice((29, 35, 45, 59, 69, 79, 129, 189, 299, 389, 419, 479, 569, 649))}",
        "n": str(rng.randrange(3, 9)),
    }
    return text.format_map(values)


def join(opener: str, body: str, closer: str) -> str:
    """Join the parts of a message."""
    return " ".join(part for part in (opener, body, closer) if part)


def roughen(text: str, rng: random.Random) -> str:
    """Sometimes imitate hasty typing: typos, no capitals, no final full stop."""
    if rng.random() < 0.15:
        for good, slip in rng.sample(SLIPS, len(SLIPS)):
            slipped = re.sub(rf"\b{good}\b", slip, text, count=1)
            if slipped != text:
                text = slipped
                break
    roll = rng.random()
    if roll < 0.06:
        return text.lower()
    if roll < 0.12 and text.endswith("."):
        return text[:-1]
    return text


class Deck:
    """Entries dealt in random order, each once per round."""

    def __init__(self, entries: list[str], rng: random.Random) -> None:
        """Store the entries and the generator that shuffles them."""
        self._entries = entries
        self._rng = rng
        self._left: list[str] = []

    def deal(self) -> str:
        """Return the next entry."""
        if not self._left:
            self._left = self._rng.sample(self._entries, len(self._entries))
        return self._left.pop()


def make_cell(
    topic: str,
    mood: str,
    split: str,
    frames: dict[tuple[str, str, str], list[str]],
    decks: dict[tuple[str, str, str], Deck],
    taken: set[str],
    rng: random.Random,
) -> list[Row]:
    """Make the rows of one topic, mood and split."""
    decks_by_tone = {tone: Deck(frames[topic, split, tone], rng) for tone in TONES[mood]}
    openers, closers = decks[mood, split, "open"], decks[mood, split, "close"]
    rows: list[Row] = []
    while len(rows) < ROWS_PER_CELL[split]:
        # Most angry and pleased rows express the mood in the frame itself.
        own = mood != "neutral" and rng.random() < 0.65
        size = {
            tone: len(frames[topic, split, tone])
            for tone in TONES[mood]
            if mood == "neutral" or tone != mood
        }
        tone = mood if own else rng.choices(list(size), list(size.values()))[0]
        body = decks_by_tone[tone].deal()
        opener, closer = "", ""
        # Frames that express the mood, and neutral ones, need no phrases around them.
        plain = not own and mood != "neutral"
        if plain or rng.random() < 0.6:
            place, both = rng.random(), BOTH if plain else BOTH / 3
            opener = openers.deal() if place < (1 + both) / 2 else ""
            closer = closers.deal() if place >= (1 - both) / 2 else ""
        text = roughen(fill(join(opener, body, closer), rng), rng)
        if text.lower() not in taken:
            taken.add(text.lower())
            rows.append(Row(text, topic, mood, split))
    return rows


def make_rows() -> list[Row]:
    """Make all rows, train before held-out, shuffled within each split."""
    frames, phrases = parse(FRAMES), parse(PHRASES)
    check_apart(frames | phrases)
    taken: set[str] = set()
    rows: list[Row] = []
    for split in ROWS_PER_CELL:
        # Each split has its own generator: new wording in one does not change the other's rows.
        rng = random.Random(f"{SEED} {split}")
        decks = {key: Deck(entries, rng) for key, entries in phrases.items() if key[1] == split}
        part = [
            row
            for topic in TOPICS
            for mood in MOODS
            for row in make_cell(topic, mood, split, frames, decks, taken, rng)
        ]
        rng.shuffle(part)
        rows += part
    return rows


def main(path: Path = OUT) -> None:
    """Write the CSV."""
    rows = make_rows()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "topic", "mood", "split"))
        writer.writerows((row.text, row.topic, row.mood, row.split) for row in rows)


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    main()
