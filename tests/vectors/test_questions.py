"""Questions: read from files, tables and dicts, or rejected by the row's number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conduit_lab.core.errors import VectorInputError
from conduit_lab.vectors.questions import Question, read_questions

TEXT = "question,pages,kind\nHow long?,a.md; b.md,plain\nWhy?,,off topic\n"
READ = [Question("How long?", ("a.md", "b.md")), Question("Why?", ())]


def test_a_csv_file(tmp_path: Path) -> None:
    file = tmp_path / "questions.csv"
    file.write_text(TEXT, "utf-8-sig")  # as Excel writes it
    assert read_questions(file) == READ
    assert read_questions(str(file)) == READ


def test_a_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "questions.csv").write_text(TEXT)
    assert read_questions(pandas.read_csv(tmp_path / "questions.csv")) == READ


def test_dicts_and_questions() -> None:
    rows = [
        {"question": "How long?", "pages": ["a.md", "b.md", "a.md"]},
        {"question": "Why?", "pages": None},
    ]
    assert read_questions(iter(rows)) == READ
    assert read_questions(READ) == READ


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, r"row 2 expects a 'question' and its 'pages', got \['question'\]"),
        ("How long?", "row 2 expects a 'question' and its 'pages', got 'How long"),
        ({"question": " ", "pages": "a"}, "row 2 expects a question in words, got ' '"),
        ({"question": 1, "pages": "a"}, "row 2 expects a question in words, got 1"),
        ({"question": "?", "pages": 3}, "row 2 expects pages as text, got 3"),
        ({"question": "?", "pages": ["a", 3]}, "row 2 expects pages as text"),
        ({"question": "Why?", "pages": ""}, "row 2: 'Why[?]' comes twice: leave one out"),
    ],
)
def test_a_row_that_does_not_fit(row: Any, message: str) -> None:
    with pytest.raises(VectorInputError, match=message):
        read_questions([{"question": "Why?", "pages": "a.md"}, row])


def test_what_is_no_list_of_questions() -> None:
    with pytest.raises(
        VectorInputError, match="questions are a CSV file, a DataFrame or a list of dicts, got 7"
    ):
        read_questions(7)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(VectorInputError, match=r"lost\.csv cannot be read: .*No such file"):
        read_questions(tmp_path / "lost.csv")
    (tmp_path / "binary.csv").write_bytes(b"question,pages\n\xff\xfe\n")
    with pytest.raises(VectorInputError, match=r"binary\.csv cannot be read: .*utf-8"):
        read_questions(tmp_path / "binary.csv")
