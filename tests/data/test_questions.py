"""data/questions.csv: customers' questions and the handbook pages that answer them."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from conduit_lab.vectors.questions import Question, read

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "data" / "questions.csv"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "data/handbook").rglob("*.md")
}


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return read(FILE)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_there_are_enough_in_every_style(rows: list[dict[str, str]]) -> None:
    counts = Counter(row["kind"] for row in rows)
    assert set(counts) == {"plain", "paraphrased", "terse", "named", "missing", "off topic"}
    assert sum(bool(row["pages"]) for row in rows) >= 130
    assert min(counts["plain"], counts["paraphrased"], counts["terse"]) >= 30
    assert counts["named"] >= 20
    assert counts["missing"] >= 15
    assert counts["off topic"] >= 30


def test_every_page_answers_several(questions: list[Question]) -> None:
    first = Counter(question.pages[0] for question in questions if question.pages)
    assert first.keys() == PAGES.keys()
    assert min(first.values()) >= 4


def test_pages_exist_and_the_phrase_stands_on_the_first(rows: list[dict[str, str]]) -> None:
    for row in rows:
        pages = row["pages"].split(";") if row["pages"] else []
        assert set(pages) <= PAGES.keys(), row["question"]
        assert len(pages) == len(set(pages)), row["question"]
        assert (
            bool(pages) == bool(row["phrase"]) == (row["kind"] not in ("missing", "off topic"))
        ), row["question"]
        assert not pages or row["phrase"] in PAGES[pages[0]], row["question"]


def test_no_question_comes_twice(rows: list[dict[str, str]]) -> None:
    asked = Counter(" ".join(row["question"].casefold().split()).strip("?. ") for row in rows)
    assert [question for question, count in asked.items() if count > 1] == []
