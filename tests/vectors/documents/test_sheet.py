"""Sheet: the CSV files that people have."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import use_root
from conduit_lab.vectors.documents.sheet import parse_csv
from conduit_lab.vectors.store import VectorStore
from tests.vectors.documents.test_document import make
from tests.vectors.documents.test_reindex import Words, contents


def rows(
    content: str | bytes, text: str | list[str] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    sheet = parse_csv("a.csv", content if isinstance(content, bytes) else content.encode(), text)
    return list(zip(sheet.texts, sheet.metadatas, strict=True))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_what_parts_the_cells_is_found(mark: str, quote: str) -> None:
    cells = [["id", "text", "note"], ["7", 'a, b; c | d "e"\tf', "x"], ["8", "g", "y, z; w"]]
    content = "\r\n".join(
        mark.join(f'"{cell}"'.replace('"e"', '""e""') for cell in row) for row in cells
    )
    if not quote:
        content = "\n".join(
            mark.join(row) for row in [["id", "text", "note"], ["7", "a b", "x"], ["8", "g", "y"]]
        )
        assert rows(content) == [("a b", {"id": 7, "note": "x"}), ("g", {"id": 8, "note": "y"})]
    else:
        assert rows(content) == [
            ('a, b; c | d "e"\tf', {"id": 7, "note": "x"}),
            ("g", {"id": 8, "note": "y, z; w"}),
        ]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("text\nhello, world\na; b\n", [("hello, world", {}), ("a; b", {})]),  # one column
        ('text\n"two\nlines, and more"\n', [("two\nlines, and more", {})]),
        ("text;a, b, c\nx;1\ny;2\n", [("x", {"a, b, c": 1}), ("y", {"a, b, c": 2})]),
        (
            "text;a,b,c,d;e\nx;1;2\ny;3;4\n",
            [("x", {"a,b,c,d": 1, "e": 2}), ("y", {"a,b,c,d": 3, "e": 4})],
        ),
        ("sep=;\ntext;n\nx, y, z;1\n", [("x, y, z", {"n": 1})]),
        ("sep=|\r\ntext|n\r\nx|1\r\n", [("x", {"n": 1})]),
        ("Text;Nr\nx;1\n", [("x", {"Nr": 1})]),
        ("id,CONTENT\n1,x\n", [("x", {"id": 1})]),
        ('text, note\n"a, b", "c, d"\n', [("a, b", {"note": "c, d"})]),
        ('text,note\n"say \\"hi, all\\"",x\n', [('say "hi, all"', {"note": "x"})]),
        (
            'text\tn\n"Unbalanced\t1\n5" pipe\t2\n',
            [('"Unbalanced', {"n": 1}), ('5" pipe', {"n": 2})],
        ),
        ("text,n\n5\" pipe,1\n", [('5" pipe', {"n": 1})]),
        ("\n\ntext,n\n\nx,1\n\n\n,\n", [("x", {"n": 1}), ("", {})]),
    ],
)  # fmt: skip
def test_everyday_files_are_read(content: str, found: list[Any]) -> None:
    assert rows(content) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (",text\n0,x\n1,y\n", [("x", {}), ("y", {})]),  # as pandas writes it
        ('"","text"\n"1","x"\n"2","y"\n', [("x", {}), ("y", {})]),
        ("text,n\n1,x,5\n2,y,6\n", [("x", {"n": 5}), ("y", {"n": 6})]),  # as R writes it
        (",text\nA-7,x\nB-2,y\n", [("x", {"index": "A-7"}), ("y", {"index": "B-2"})]),
        (",text\n3,x\n1,y\n", [("x", {"index": 3}), ("y", {"index": 1})]),
        ("text,n,\nx,1,\ny,2,\n", [("x", {"n": 1}), ("y", {"n": 2})]),
        ("text,n\nx,1,,\ny,2\n", [("x", {"n": 1}), ("y", {"n": 2})]),
    ],
)
def test_a_column_without_a_name_is_an_index_or_nothing(content: str, found: list[Any]) -> None:
    assert rows(content) == found


def test_a_frame_that_was_written_with_its_index_is_itself() -> None:
    frame = pd.DataFrame({"text": ["a", "b, c", "d\ne"], "price": [1.5, 2.25, 3.0]})
    expected = [("a", {"price": 1.5}), ("b, c", {"price": 2.25}), ("d\ne", {"price": 3.0})]
    assert (
        rows(frame.to_csv())
        == rows(frame.to_csv(index=False))
        == rows(frame.to_csv(sep="\t"))
        == expected
    )


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1,5", "-2,25", "3"], [1.5, -2.25, 3.0]),
        (["1.234,56", "12.345.678,9", "7"], [1234.56, 12345678.9, 7.0]),
        (["1.5", "2.25"], [1.5, 2.25]),
        (["1", "2"], [1, 2]),
        (["1,5", "x"], ["1,5", "x"]),
        (["1,5,6", "1,5"], ["1,5,6", "1,5"]),
        (["01,5"], ["01,5"]),
    ],
)
def test_a_decimal_comma_is_read_between_semicolons(cells: list[str], values: list[Any]) -> None:
    content = "text;n\n" + "".join(f"x;{cell}\n" for cell in cells)
    assert [row["n"] for _, row in rows(content)] == values
    quoted = "text,n\n" + "".join(f'x,"{cell}"\n' for cell in cells)
    assert all(
        row["n"] == cell for (_, row), cell in zip(rows(quoted), cells, strict=True) if "," in cell
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_is_read_in_its_encoding(encoding: str) -> None:
    sheet = parse_csv("a.csv", "text;preis\nKöln für „5 €“;1,5\n".encode(encoding))
    assert (sheet.texts, sheet.metadatas) == (["Köln für „5 €“"], [{"preis": 1.5}])
    assert ("was read as Windows-1252" in sheet.problem) == (encoding == "cp1252")


@pytest.mark.parametrize(
    "data", ["text\nДа\n".encode("koi8-r") + b"\x98\x81", "text\nab".encode("utf-16-le")]
)
def test_a_file_of_another_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^a\.csv is not"):
        parse_csv("a.csv", data)


def test_a_cell_may_be_longer_than_the_limit_of_the_module_csv() -> None:
    limit = csv.field_size_limit()
    assert rows(f"text,n\n{'x' * 200_000},1\n") == [("x" * 200_000, {"n": 1})]
    assert csv.field_size_limit() == limit


CELLS = st.text(st.sampled_from("ab ,;|\t\"\n'.é"), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6), st.sampled_from(",;|\t"))
def test_what_the_module_csv_writes_is_read(cells: list[tuple[str, str]], mark: str) -> None:
    import io

    written = io.StringIO()
    writer = csv.writer(written, delimiter=mark, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "note"), *cells])
    found = [(text, {"note": note} if note else {}) for text, note in cells]
    assert rows(written.getvalue()) == found


def test_a_row_that_is_longer_than_a_chunk_is_cut(tmp_path: Path) -> None:
    long = " ".join(f"w{n}" for n in range(150))
    make(tmp_path, "a.csv", f"text,n\nshort ,1\n{long},2\nend,3\n")
    with use_root(tmp_path), VectorStore(embedder=Words()) as store:
        store.add_documents("a.csv")
        entries = list(store)
        assert [len((entry.content or "").split()) for entry in entries] == [1, 64, 64, 22, 1]
        assert [entry.metadata["row"] for entry in entries] == [1, 2, 2, 2, 3]
        assert entries[0].metadata == {"source": "a.csv", "row": 1, "n": 1}
        assert all(long[e.metadata["start"] : e.metadata["end"]] == e.content for e in entries[1:4])
        assert list(contents(store)) == [f"a.csv#{n}" for n in range(1, 6)]
        assert store.add_documents("a.csv").kept == 5
        frame = pd.DataFrame({"text": [long], "start": ["today"]})
        store.add_documents(frame, source="frame")
        assert [store[f"frame#{n}"].metadata["start"] for n in (1, 2, 3)] == ["today"] * 3


def test_a_guessed_encoding_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "docs/a.csv", "text\nKöln\n".encode("cp1252"))
    with use_root(tmp_path), VectorStore(embedder=Words()) as store:
        problem = store.add_documents("docs").problems["docs/a.csv"]
        assert problem.startswith("is not UTF-8 and was read as Windows-1252")
        assert contents(store) == {"docs/a.csv#1": "Köln"}
