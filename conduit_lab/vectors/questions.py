"""Questions: test questions for a store, with the pages that answer them."""

from __future__ import annotations

import csv
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from conduit_lab.core import paths
from conduit_lab.core.errors import VectorInputError

SEPARATOR = ";"  # between the pages of a question


class Question(NamedTuple):
    """A question and the pages that answer it, if any, best first."""

    text: str
    pages: tuple[str, ...]


def read_questions(source: Any) -> list[Question]:
    """Return the questions of a CSV file (its path), a DataFrame, or an iterable of mappings.

    A row has a `question` and its `pages`: text separated by `;`, or a list; a question without
    pages should have no hits. Other columns are ignored. Raises `VectorInputError` naming the first
    invalid row, and for a repeated question.
    """
    rows: Iterable[Any]
    if isinstance(source, (str, Path)):
        path = paths.resolve(source)
        rows, name = _rows(path), f"questions of {paths.display(path)}"
    elif hasattr(source, "to_dict"):  # a DataFrame
        rows, name = source.to_dict("records"), "questions"
    elif isinstance(source, Iterable):
        rows, name = source, "questions"
    else:
        raise VectorInputError(
            f"questions are a CSV file, a DataFrame or a list of dicts, got {reprlib.repr(source)}"
        )
    questions: dict[str, Question] = {}
    for number, row in enumerate(rows, start=1):
        question = _question(row, f"{name}, row {number}")
        if question.text in questions:
            raise VectorInputError(
                f"{name}, row {number}: {question.text!r} comes twice: leave one out"
            )
        questions[question.text] = question
    return list(questions.values())


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VectorInputError(
            f"questions in {paths.display(path)} cannot be read: {error}"
        ) from None


def _question(row: Any, what: str) -> Question:
    if isinstance(row, Question):
        return row
    if not isinstance(row, Mapping) or not {"question", "pages"} <= row.keys():
        got = list(row) if isinstance(row, Mapping) else reprlib.repr(row)
        raise VectorInputError(f"{what} expects a 'question' and its 'pages', got {got}")
    text, pages = row["question"], row["pages"]
    if isinstance(pages, str):
        pages = pages.split(SEPARATOR)
    elif _is_missing(pages):
        pages = []
    if not isinstance(text, str) or not text.strip():
        raise VectorInputError(f"{what} expects a question in words, got {text!r}")
    if not isinstance(pages, (list, tuple)) or not all(isinstance(page, str) for page in pages):
        raise VectorInputError(f"{what} expects pages as text, got {reprlib.repr(pages)}")
    return Question(text, tuple(dict.fromkeys(page.strip() for page in pages if page.strip())))


def _is_missing(value: Any) -> bool:
    """Return whether `value` is None or pandas' NaN, as for an empty cell of a CSV file."""
    return value is None or (isinstance(value, float) and value != value)
