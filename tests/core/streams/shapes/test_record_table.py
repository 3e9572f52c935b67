"""A stream of rows as a table."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conduit_lab.core.streams.shapes.record_table import (
    MAX_CELL_CHARACTERS,
    MAX_TABLE_COLUMNS,
    RecordTable,
    cell_text,
)

Point = namedtuple("Point", "x y")


def table_of(*chunks: Any, start: int = 0) -> RecordTable:
    table = RecordTable()
    for place, chunk in enumerate(chunks, start):
        table.add([chunk], place)
    return table


def html_of(table: RecordTable) -> str:
    return "".join(piece.html() for piece in table.pieces())


@pytest.mark.parametrize(
    "chunk",
    [
        {"x": 1, "y": 2},
        Point(1, 2),
        pd.Series({"x": 1, "y": 2}),
        pd.DataFrame({"x": [1], "y": [2]}),
        [{"x": 1, "y": 2}],
    ],
)
def test_every_kind_of_row_has_its_cells(chunk: Any) -> None:
    assert list(table_of(chunk).rows) == [(0, {"x": "1", "y": "2"})]


def test_the_last_twenty_rows_stay_and_the_others_are_counted() -> None:
    table = table_of(*({"n": n} for n in range(30)))
    assert [place for place, _ in table.rows] == list(range(10, 30))
    assert table.note == "the last 20 of 30 rows; the others: stream.kept"


def test_one_batch_gives_the_same_table_as_single_rows() -> None:
    rows = [{"n": n, "name": "x" * (n % 7)} for n in range(45)]
    batch = RecordTable()
    batch.add(rows, 0)
    assert html_of(batch) == html_of(table_of(*rows))


def test_rows_have_the_numbers_of_their_chunks_after_a_loss() -> None:
    table = table_of({"n": 1})
    table.add([{"n": 9}], 8)
    assert [place for place, _ in table.rows] == [0, 8]


def test_columns_keep_their_place_and_later_ones_follow() -> None:
    table = table_of({"b": 1, "a": 2}, {"a": 3, "c": 4})
    assert list(table.columns) == ["b", "a", "c"]
    assert table.columns["c"].line.count == table.columns["b"].line.count == 2


def test_columns_without_a_place_are_counted_by_name() -> None:
    wide = {f"c{n}": n for n in range(MAX_TABLE_COLUMNS + 2)}
    table = table_of(wide, wide)
    assert len(table.columns) == MAX_TABLE_COLUMNS
    assert table.note == "2 more columns: c12, c13"
    assert table_of({f"c{n}": n for n in range(13)}).note == "1 more column: c12"


def test_a_column_of_numbers_is_aligned_right_until_a_text_comes() -> None:
    table = table_of({"a": 1, "b": None}, {"a": 2.5})
    assert table.columns["a"].right
    assert not table.columns["b"].right  # no number came
    table.add([{"a": "x"}], 2)
    assert not table.columns["a"].right
    table.add([{"a": 3}], 3)
    assert not table.columns["a"].right


def test_a_column_of_many_numbers_has_a_line_in_its_head() -> None:
    table = table_of(*({"n": n, "same": 1, "name": "x"} for n in range(8)))
    assert [column.drawn for column in table.columns.values()] == [True, False, False]
    assert html_of(table).count("<img") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (12345, "12\u2009345"),
        (0.25, "0.25"),
        (1234567.0, "1\u2009234\u2009567"),
        (1e-9, "1e-09"),
        (float("nan"), "nan"),
        (np.float32(2.5), "2.5"),
        (10**30, "1000000000000000000000000"[:23] + "…"),
        (True, "True"),
        ("two\nlines", "two lines"),
        (np.zeros((2, 4), np.uint8), "[image · 4 × 2]"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_the_text_of_a_cell(value: Any, text: str) -> None:
    assert cell_text(value) == text


def test_a_long_cell_is_cut() -> None:
    assert len(cell_text("x" * 100)) == MAX_CELL_CHARACTERS


def test_names_and_cells_stay_text() -> None:
    html = html_of(table_of({"<b>": "<script>", 1: "y"}))
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
