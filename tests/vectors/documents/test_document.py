from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from conduit_lab.core.errors import InputError
from conduit_lab.core.paths import use_root
from conduit_lab.vectors.documents import document
from conduit_lab.vectors.documents.document import Document, decode, read_document
from conduit_lab.vectors.documents.markup import html_text, markdown_headings
from conduit_lab.vectors.documents.sheet import read_csv, read_frame
from conduit_lab.vectors.documents.sources import find_sources


def write_pdf(
    path: Path, pages: list[str], title: str | None = None, password: str | None = None
) -> Path:
    """Write a PDF with one line of text a page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 200)
        font = DictionaryObject(
            {
                NameObject(k): NameObject(v)
                for k, v in (
                    ("/Type", "/Font"),
                    ("/Subtype", "/Type1"),
                    ("/BaseFont", "/Helvetica"),
                )
            }
        )
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title is not None:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password)
    with path.open("wb") as file:
        writer.write(file)
    return path


def make(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Text and Markdown


def test_a_text_is_the_files_own_with_its_line_ends(tmp_path: Path) -> None:
    document = read_document(make(tmp_path, "a.txt", "one\r\ntwo\rthree\n\nfive é"))
    assert document.text == "one\r\ntwo\rthree\n\nfive é"
    assert (document.kind, document.title) == ("text", "a")
    assert [
        document.line(document.text.index(word)) for word in ("one", "two", "three", "five")
    ] == [1, 2, 3, 5]
    assert document.page(3) is None


def test_the_source_is_the_path_from_the_root(tmp_path: Path) -> None:
    path = make(tmp_path, "docs/a.md", "x")
    with use_root(tmp_path):
        assert read_document("docs/a.md").source == read_document(path).source == "docs/a.md"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert read_document(make(tmp_path, "a.txt", b"\xef\xbb\xbfone")).text == "one"
    assert read_document(make(tmp_path, "b.txt", "zwei ü".encode("utf-16"))).text == "zwei ü"


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("---\ntitle: 'From the front'\n---\n# A heading", "From the front"),
        ("text\n\n## Second\n# First\n", "First"),
        ("no heading", "page"),
    ],
)
def test_a_markdown_title_is_the_front_matters_else_the_first_heading_else_the_name(
    tmp_path: Path, markup: str, title: str
) -> None:
    assert read_document(make(tmp_path, "page.md", markup)).title == title


@pytest.mark.parametrize(
    ("markup", "headings"),
    [
        ("# One\n## Two ##\n", [(1, "One"), (2, "Two")]),
        ("   ### Three", [(3, "Three")]),
        ("    # code\n#no\n####### seven", []),
        ("```\n# no\n```\n# yes", [(1, "yes")]),
        ("~~~~\n# no\n~~~\n# no\n```\n# no\n~~~~\n# yes", [(1, "yes")]),
        ("``` a`b\n# yes", [(1, "yes")]),
        ("Title\n=====\ntext\n-\n", [(1, "Title"), (2, "text")]),
        ("- item\n---\n\n---\n> quote\n===\n| a |\n|---|\n", []),
        ("# **Bold** [link](http://x) `code`", [(1, "Bold link code")]),
        ("# C#\n# \n", [(1, "C#"), (1, "")]),
        ("---\nkey: 1\n# no\n---\n# yes", [(1, "yes")]),
        ("---\n\n# yes\n---\n", [(1, "yes")]),
    ],
)
def test_headings_are_commonmarks(markup: str, headings: list[tuple[int, str]]) -> None:
    assert [(heading.level, heading.text) for heading in markdown_headings(markup)[1]] == headings


@given(
    st.lists(
        st.sampled_from(["# a", "b", "===", "---", "```", "~~~", "key: 1", "", "    c", "#", " "]),
        max_size=12,
    )
)
def test_a_heading_lies_in_its_own_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    begin, headings = markdown_headings(text)
    places = [
        begin,
        *(place for heading in headings for place in (heading.start, heading.end)),
        len(text),
    ]
    assert places == sorted(places)
    for heading in headings:
        assert text[: heading.start].endswith("\n") or heading.start == 0
        assert heading.text in text[heading.start : heading.end]


# HTML


def test_html_becomes_the_paragraphs_that_a_reader_sees(tmp_path: Path) -> None:
    page = (
        "<!doctype html>\n<head><title>The\n page</title><style>p {}</style></head>\n"
        "<h1>Kettles &amp; <b>more</b></h1><p>Boil   <i>slowly</i>\nnow.<br>Wait.</p>"
        "<ul><li>one<li>two</ul>\n<script>if (a < b) {}</script>"
        "<h2><div>Pre</div></h2><pre>a\n  b</pre> tail <!-- hidden -->"
    )
    document = read_document(make(tmp_path, "a.html", page))
    assert (
        document.text
        == "Kettles & more\n\nBoil slowly now.\nWait.\n\none\ntwo\n\nPre\n\na\n  b\n\ntail"
    )
    assert document.title == "The page"
    assert [(h.level, h.text, document.text[h.start : h.end]) for h in document.headings] == [
        (1, "Kettles & more", "Kettles & more"),
        (2, "Pre", "Pre"),
    ]
    lines = {
        word: document.line(document.text.index(word))
        for word in ("Kettles", "Boil", "now", "Pre", "tail")
    }
    assert lines == {"Kettles": 4, "Boil": 4, "now": 5, "Pre": 6, "tail": 7}


@pytest.mark.parametrize(
    "page",
    [
        '<meta charset="windows-1252"><p>caf\xe9'.encode("cp1252"),
        "<meta http-equiv='content-type' content='text/html; charset=iso-8859-1'>café".encode(
            "cp1252"
        ),
        "<p>café".encode(),
        "<meta charset=utf-16>café".encode(),
        "<p>café".encode("utf-16"),
    ],
)
def test_html_is_read_in_the_encoding_that_it_declares(tmp_path: Path, page: bytes) -> None:
    assert read_document(make(tmp_path, "a.htm", page)).text == "café"


@pytest.mark.parametrize("end", ["<!--", "<a ", "<![CDATA[", "</", "<?"])
def test_a_tag_that_the_end_cuts_off_is_no_text(end: str) -> None:
    assert (
        html_text("<p>a < b" + end * 100_000).text == "a < b"
    )  # would take minutes if each were scanned to the end


@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<h1>", "</h1>", "<pre>", "</pre>", "<b>", "word", "two words",
             " ", "\n", "<br>", "<svg>", "</svg>", "<svg/>", "<title>", "</title>", "&lt;",
             "<!--", "-->", "<", ">", "&#10;", "<div>", "<li>"]
        )
    )
)  # fmt: skip
def test_any_html_gives_a_text_whose_places_are_in_order(parts: list[str]) -> None:
    page = html_text("".join(parts))
    assert [at for at, _ in page.lines] == sorted({at for at, _ in page.lines})
    for heading in page.headings:
        assert 0 <= heading.start < heading.end <= len(page.text)
        assert " ".join(page.text[heading.start : heading.end].split())[:200] == heading.text


# PDF


def test_a_pdf_has_pages_and_a_title(tmp_path: Path) -> None:
    document = read_document(
        write_pdf(tmp_path / "a.pdf", ["First page", "", "Third page"], "Manual")
    )
    assert (document.kind, document.title) == ("pdf", "Manual")
    assert [document.page(document.text.index(word)) for word in ("First", "Third")] == [1, 3]
    assert [document.text[start : start + 5] for start in document.pages] == [
        "First",
        "\n\nThi",
        "Third",
    ]
    assert document.line(0) is None


def test_a_pdf_with_a_password_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.pdf needs a password: save it without one"):
        read_document(write_pdf(tmp_path / "a.pdf", ["x"], password="secret"))


@given(st.data())
def test_a_broken_pdf_is_read_or_told_by_its_name(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("pdf")
    whole = bytearray(write_pdf(folder / "a.pdf", ["Some text here", "and there"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = make(folder, "b.pdf", bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        read_document(path).text.encode()
    except InputError as error:
        assert "b.pdf" in str(error)


# What is refused


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            "caf\xe9 au".encode("latin-1"),
            r"a\.txt is not UTF-8 at byte 3 \(0xe9\): save it as UTF-8",
        ),
        ("a.md", b"\x00\x01\x02", r"a\.md is not text, it has a NUL at character 0"),
        ("a.txt", "zwei".encode("utf-16-le"), r"a\.txt is not text, it has a NUL at character 1"),
        (
            "a.html",
            b"<meta charset='klingon'>x",
            r"a\.html declares the unknown encoding 'klingon'",
        ),
        (
            "a.html",
            b"<meta charset='base64'>x",
            r"a\.html declares the unknown encoding 'base64'",
        ),
        ("a.pdf", b"not a pdf at all", r"a\.pdf is not a readable PDF: "),
        ("a.pdf", b"", r"a\.pdf is not a readable PDF: "),
        ("a.docx", b"PK", r"a\.docx is of an unsupported kind: convert it to .*\.md, .*, \.tsv"),
        ("a.csv", b"text\nx", r"a\.csv is a table, not a text"),
    ],
)
def test_a_file_that_is_no_document_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_document(make(tmp_path, name, content))


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(document.MAX_DOCUMENT_BYTES + 1)  # a sparse file: no bytes on disk
    with pytest.raises(
        InputError, match=r"a\.txt has 64\.0 MB, and a document at most 64\.0 MB: split it"
    ):
        read_document(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt cannot be read: No such file"):
        read_document(tmp_path / "a.txt")


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_an_input_error(data: bytes) -> None:
    try:
        text = decode(data, "a.txt")
    except InputError as error:
        assert str(error).startswith("a.txt ")
    else:
        assert text.encode().decode() == text


def test_reading_text_needs_no_optional_package(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "# Hello")
    make(tmp_path, "b.html", "<p>Hello")
    make(tmp_path, "c.csv", "text\nHello")
    code = (
        "import sys\n"
        "for name in ('pypdfium2', 'bs4', 'pandas', 'semantic_text_splitter'):\n"
        "    sys.modules[name] = None\n"
        "from conduit_lab.vectors.documents.document import read_document\n"
        "from conduit_lab.vectors.documents.sheet import read_csv\n"
        f"print(read_document({str(tmp_path / 'a.md')!r}).title,"
        f" read_document({str(tmp_path / 'b.html')!r}).text,"
        f" read_csv({str(tmp_path / 'c.csv')!r}).texts)\n"
        f"read_document({str(tmp_path / 'd.pdf')!r})\n"
    )
    make(tmp_path, "d.pdf", b"%PDF-1.4")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stdout == "Hello Hello ['Hello']\n"
    assert "MissingExtra" in result.stderr
    assert "pip install 'conduit-lab[documents]'" in result.stderr


# Rows


def test_a_csv_row_is_a_text_and_metadata(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        "faq.csv",
        'text,id,price,zip,note\n"two\nlines",1,9.5,0123,\nb,2,10,99999,"x, y"\n',
    )
    rows = read_csv(path)
    assert rows.texts == ["two\nlines", "b"]
    assert rows.metadatas == [
        {"id": 1, "price": 9.5, "zip": "0123"},
        {"id": 2, "price": 10.0, "zip": "99999", "note": "x, y"},
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_header_tells_what_parts_the_cells(tmp_path: Path, mark: str) -> None:
    rows = read_csv(make(tmp_path, "a.csv", f"\ufeffcontent{mark}b\r\nx{mark}1\r\n\r\n"))
    assert (rows.texts, rows.metadatas) == (["x"], [{"b": 1}])


def test_several_columns_become_one_text(tmp_path: Path) -> None:
    rows = read_csv(make(tmp_path, "a.csv", "q,a,n\nWhy?,Because.,1\nHow?,,2\n"), text=["q", "a"])
    assert rows.texts == ["Why?\nBecause.", "How?"]
    assert rows.metadatas == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("007", "007"), ("-0", 0), ("1e3", 1000.0), ("12345678901234567890", "12345678901234567890"),
     ("nan", "nan"),
     ("1_000", "1_000"), ("٣", "٣"), (" 1", " 1"), ("true", "true")],
)  # fmt: skip
def test_only_plain_numbers_become_numbers(tmp_path: Path, cell: str, value: object) -> None:
    got = read_csv(make(tmp_path, "a.csv", f"text,n\nx,{cell}\n")).metadatas[0]["n"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("content", "text", "message"),
    [
        (
            "a,b\n1,2\n",
            None,
            r"a\.csv has no column 'text' or 'content' for the text: pass text=; .* a, b",
        ),
        ("a,b\n1,2\n", "c", r"a\.csv has no column 'c'"),
        ("text,b\n1\n", None, r"a\.csv line 2: expected 2 cells, as in the first row, got 1"),
        ("text,b\n1,2,3\n", None, r"a\.csv line 2: expected 2 cells, as in the first row, got 3"),
        (
            "text,text\n1,2\n",
            None,
            r"a\.csv has a column with a repeated name, 'text': rename it",
        ),
        ("text,\n1,2\n", None, r"a\.csv has a column with an empty name"),
        (
            "text,source\n1,2\n",
            None,
            r"a\.csv has a column with a reserved name, 'source': rename it",
        ),
        ('text\n"open\n', None, r"a\.csv line 2 is not CSV: unexpected end of data"),
    ],
)
def test_a_broken_csv_is_told_with_its_line(
    tmp_path: Path, content: str, text: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_csv(make(tmp_path, "a.csv", content), text)


def test_an_empty_csv_has_no_rows(tmp_path: Path) -> None:
    assert read_csv(make(tmp_path, "a.csv", "")).texts == []
    assert read_csv(make(tmp_path, "b.csv", "text,a\n")).texts == []


def test_a_frame_gives_rows_that_json_can_carry() -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None],
            "day": pd.to_datetime(["2026-01-02", "NaT"]),
            "price": [1.5, np.nan],
            "count": pd.array([1, None], dtype="Int64"),
            "tags": [["x"], None],
            "sizes": [np.array([1, 2]), np.float32(0.5)],
            7: [True, False],
        }
    )
    rows = read_frame(frame, "shop")
    assert rows.texts == ["a", ""]
    assert rows.metadatas == [
        {
            "day": "2026-01-02T00:00:00",
            "price": 1.5,
            "count": 1,
            "tags": ["x"],
            "sizes": [1, 2],
            "7": True,
        },
        {"sizes": 0.5, "7": False},
    ]


def test_a_frame_with_a_name_twice_is_refused() -> None:
    with pytest.raises(InputError, match="shop has a column with a repeated name, 'text'"):
        read_frame(pd.DataFrame([["a", "b"]], columns=["text", "text"]), "shop")


# FoundSources


def test_a_folder_is_its_documents_by_name_with_their_section(tmp_path: Path) -> None:
    for name in ("b/deep/c.md", "b/a.txt", "a.html", ".hidden/x.md", ".x.md", "b/c.png", "README"):
        make(tmp_path, name, "x")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    os.mkfifo(tmp_path / "pipe.md")  # reading it would block forever
    sources = find_sources(tmp_path)
    found = [
        (file.path.relative_to(tmp_path).as_posix(), file.section, file.named)
        for file in sources.files
    ]
    assert found == [("a.html", None, False), ("b/a.txt", "b", False), ("b/deep/c.md", "b", False)]
    assert sources.passed_over == {".png": 1, "README": 1}


def test_a_file_that_is_named_twice_is_there_once(tmp_path: Path) -> None:
    path = make(tmp_path, "a/b.md", "x")
    sources = find_sources([tmp_path, str(path), tmp_path / "a" / ".." / "a" / "b.md"])
    assert [file.path for file in sources.files] == [path]


def test_a_folder_covers_the_documents_below_it(tmp_path: Path) -> None:
    make(tmp_path, "docs/a.md", "x")
    with use_root(tmp_path):
        sources = find_sources("docs")
        assert sources.covers("docs/gone.md")
        assert not sources.covers("docs2/gone.md")
        assert not sources.covers("docs/faq")  # a DataFrame's name
        assert find_sources(".").covers("docs/gone.md")


@pytest.mark.parametrize("given", [7, None, b"docs", [7], "a\0b"])
def test_what_is_no_path_is_refused(given: object) -> None:
    with pytest.raises(
        InputError, match="expected documents as a path, a list of paths or a DataFrame"
    ):
        find_sources(given)


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no document at .*nothing: expected a file or a folder"):
        find_sources([tmp_path, tmp_path / "nothing"])


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(path, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(b"x")
    with pytest.raises(InputError, match="is not UTF-8: rename the file"):
        read_document(find_sources(tmp_path).files[0].path)


def test_the_repr_of_a_document_is_short() -> None:
    assert repr(Document("a.md", "x" * 1000, "markdown", "A")) == (
        "Document(source='a.md', kind='markdown', title='A', begin=0)"
    )
