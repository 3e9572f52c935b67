"""PDF: words, ligatures, pages, and text that is not what a reader sees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conduit_lab.core.paths import use_root
from conduit_lab.vectors.documents.document import read_document
from conduit_lab.vectors.documents.pdf import clean, find_problem, read_pages
from conduit_lab.vectors.store import VectorStore
from tests.vectors.documents.test_document import make
from tests.vectors.documents.test_reindex import Words

IMAGE = "q 50 0 0 50 10 10 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q"


def lines(*texts: str) -> str:
    """The operators that write lines of text, one below the other."""
    return "BT /F1 12 Tf 20 180 Td " + " 0 -14 Td ".join(f"({text}) Tj" for text in texts) + " ET"


def pdf(*pages: str, characters: dict[str, str] | None = None) -> bytes:
    """A PDF with these operators on its pages; `characters` maps the letters of its font."""
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", font]
    if characters is not None:
        objects[2] = font.replace(">>", "/ToUnicode 4 0 R >>")
        means = "\n".join(
            f"<{ord(a):02x}> <{b.encode('utf-16-be').hex()}>" for a, b in characters.items()
        )
        objects.append(
            stream(
                "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def\n"
                "1 begincodespacerange <00> <ff> endcodespacerange\n"
                f"{len(characters)} beginbfchar\n{means}\nendbfchar endcmap end end"
            )
        )
    kids = []
    for page in pages:
        objects.append(stream(page))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(kids)}] >>"
    written, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(written))
        written += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(written)}\n%%EOF"
    return (written + head + table + end).encode("latin-1")


def stream(content: str) -> str:
    return f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("BT /F1 12 Tf 20 100 Td [(Moved) -400 (words) -300 (apart)] TJ ET", "Moved words apart"),
        ("BT /F1 12 Tf 20 100 Td [(Ke) 80 (r) -20 (ned)] TJ ET", "Kerned"),
        ("BT /F1 12 Tf 20 100 Td (one) Tj 60 0 Td (two) Tj ET", "one two"),
        (
            lines("The end of a line parts a trans-", "lation, and more."),
            "parts a translation, and",
        ),
        (lines("One line,", "and another."), "One line,\nand another."),
        ("BT /F1 12 Tf 3 Tr 20 100 Td (text behind a scan) Tj ET", "text behind a scan"),
    ],
)
def test_words_are_those_that_a_reader_sees(page: str, text: str) -> None:
    assert text in read_pages("a.pdf", pdf(page)).texts[0]


def test_ligatures_are_plain_letters_and_characters_beyond_16_bits_are_kept() -> None:
    meaning = {"A": "\ufb01", "B": "\ufb04", "C": "\U0001f600", "D": "Ã"} | {
        letter: letter for letter in " nalte"
    }
    data = pdf(lines("Anal baBe", "C D"), characters=meaning | {"b": "b"})
    assert read_pages("a.pdf", data).texts == ["final baffle\n😀 Ã"]


def test_pages_and_offsets_are_exact(tmp_path: Path) -> None:
    path = make(
        tmp_path, "a.pdf", pdf(lines("First", "page"), lines("Second page"), lines("Third"))
    )
    document = read_document(path)
    assert document.text == "First\npage\n\nSecond page\n\nThird"
    assert document.pages == (0, 12, 25)
    assert [document.page(at) for at in (0, 11, 12, 25)] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (pdf(lines("All is well here.")), ""),
        (pdf(lines("text"), IMAGE, IMAGE), "2 pages with images and no text (2, 3)"),
        (pdf(lines("text"), ""), ""),  # a page that is only empty
        (pdf(IMAGE), "has no text: scanned pages need text recognition first"),
        (
            pdf(lines("A", "A"), characters={"A": "\ue001"}),
            "2 characters that its fonts do not map",
        ),
        (
            pdf(lines("A"), characters={"A": "\ufffd"}),
            "1 character that its fonts do not map",
        ),
        (pdf(lines("\\(cid:3\\)\\(cid:17\\)")), "characters that its fonts do not map"),
        (
            pdf(*[lines("thewordsofthislinehavelosttheirspaces")] * 4),
            "words without spaces between them",
        ),
    ],
)
def test_text_that_looks_broken_is_a_problem(tmp_path: Path, data: bytes, problem: str) -> None:
    found = read_document(make(tmp_path, "a.pdf", data)).problem
    assert problem in found
    assert bool(found) == bool(problem)


@pytest.mark.parametrize(
    "text",
    [
        "你好世界" * 100,
        "สวัสดีชาวโลก" * 40,
        "Donaudampfschifffahrtsgesellschaftskapitän " + "fährt auf dem Fluss " * 20,
        "https://example.org/" + "a1" * 200 + " is a link " * 4,
        "a fi\ue001ne text with one mark of its own " * 3,
    ],
)
def test_text_of_other_kinds_is_no_problem(text: str) -> None:
    assert find_problem([text]) == ""


def test_what_utf8_cannot_carry_is_replaced() -> None:
    assert clean("a\0b\ud800c\ud83d\ude00") == "ab\ufffdc\U0001f600"
    assert clean("ﬁnal baﬄe, aﬀair, ﬂoor, oﬃce") == "final baffle, affair, floor, office"
    assert clean("1\x022 a\ufffe b\r\nc\rd") == "1-2 a- b\nc d"


def test_the_report_names_a_broken_text_which_is_stored(tmp_path: Path) -> None:
    make(tmp_path, "docs/a.pdf", pdf(lines("text"), IMAGE))
    with use_root(tmp_path), VectorStore(embedder=Words()) as store:
        done = store.add_documents("docs")
        assert [entry.content for entry in store] == ["text"]
    assert list(done.problems) == ["docs/a.pdf"]
    assert "1 page with images and no text (2)" in done.problems["docs/a.pdf"]


def test_threads_may_read_at_once() -> None:
    data = pdf(*(lines(f"Page {n}") for n in range(30)))
    with ThreadPoolExecutor(4) as threads:
        for read_again in threads.map(lambda _: read_pages("a.pdf", data), range(12)):
            assert read_again.texts == [f"Page {n}" for n in range(30)]
